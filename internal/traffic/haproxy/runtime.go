package haproxy

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/human"
)

// maxAnswer bounds what is read of one answer, in bytes.
const maxAnswer = 8 << 20

// socket is the runtime API of one HAProxy: a path, or host:port.
type socket string

// ask sends one line of commands, joined by semicolons, and returns the answer.
// HAProxy closes the connection after it.
func (s socket) ask(ctx context.Context, op string, commands ...string) (string, error) {
	network := "tcp"
	if strings.HasPrefix(string(s), "/") {
		network = "unix"
	}

	// Half-open connections are noticed: a proxy that is gone must not look slow.
	dialer := net.Dialer{Timeout: 5 * time.Second, KeepAlive: 5 * time.Second}

	c, err := dialer.DialContext(ctx, network, string(s))
	if err != nil {
		return "", s.unavailable(ctx, op, err)
	}

	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()

	if _, err := io.WriteString(c, strings.Join(commands, "; ")+"\n"); err != nil {
		return "", s.unavailable(ctx, op, err)
	}

	b, err := io.ReadAll(io.LimitReader(c, maxAnswer))
	if err != nil {
		return "", s.unavailable(ctx, op, err)
	}

	answer := strings.TrimSpace(string(b))
	if strings.Contains(answer, "Permission denied") {
		return "", fail.New(fail.Denied, op, string(s), "give its stats socket level admin", errors.New("HAProxy answered: permission denied"))
	}

	return answer, nil
}

func (s socket) unavailable(ctx context.Context, op string, err error) error {
	if e := fail.FromContext(op, string(s), ctx.Err()); e != nil {
		return e
	}

	return fail.New(fail.Unavailable, op, string(s), "is HAProxy running, and is this its stats socket?", err)
}

// change sends commands that answer nothing, or a line of what was changed. What
// they answered is kept for the error of whoever reads back something else.
func (s socket) change(ctx context.Context, op string, commands ...string) (string, error) {
	answer, err := s.ask(ctx, op, commands...)
	return human.Clean(strings.Join(strings.Fields(answer), " ")), err
}

// server is a server of a backend.
type server struct {
	address string
	maint   bool // no client is sent to it
	drain   bool // only clients that it has already
	running bool
	checked bool // health checks decide whether it runs
}

// The bits of srv_admin_state that take a server out of use, and those that drain it.
const (
	maintBits = 0x01 | 0x02 | 0x20 | 0x40
	drainBits = 0x08 | 0x10
)

// servers reads the servers of a backend, by name.
func (s socket) servers(ctx context.Context, op, backend string) (map[string]server, error) {
	answer, err := s.ask(ctx, op, "show servers state "+backend)
	if err != nil {
		return nil, err
	}

	var names []string
	out := map[string]server{}

	for line := range strings.Lines(answer) {
		fields := strings.Fields(line)
		if len(fields) > 1 && fields[0] == "#" {
			names = fields[1:]
			continue
		}

		if len(fields) < 10 || len(fields) < len(names) || names == nil {
			continue
		}

		row := map[string]string{}
		for i, n := range names {
			row[n] = fields[i]
		}

		admin, aerr := strconv.Atoi(row["srv_admin_state"])
		state, serr := strconv.Atoi(row["srv_op_state"])

		check, cerr := strconv.Atoi(row["srv_check_state"])
		if err := errors.Join(aerr, serr, cerr); err != nil {
			return nil, fail.New(fail.Unsupported, op, string(s), "this version of HAProxy is not known", err)
		}
		const configured, enabled = 0x02, 0x04 // CHK_ST_CONFIGURED, CHK_ST_ENABLED
		out[row["srv_name"]] = server{address: net.JoinHostPort(row["srv_addr"], row["srv_port"]), maint: admin&maintBits != 0,
			drain: admin&drainBits != 0, running: state == 2, checked: check&(configured|enabled) == configured|enabled}
	}

	if names == nil {
		return nil, fail.New(fail.NotFound, op, string(s), "correct the name of the backend", fmt.Errorf("backend %s: HAProxy answered: %s", backend, human.Clean(answer)))
	}

	return out, nil
}

// sessions reads how many sessions each server of a backend has.
func (s socket) sessions(ctx context.Context, op, backend string) (map[string]string, error) {
	const servers = "4" // the type of the rows that are asked for

	answer, err := s.ask(ctx, op, "show stat "+backend+" "+servers+" -1")
	if err != nil {
		return nil, err
	}

	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(answer, "# "))).ReadAll()
	if err != nil || len(rows) == 0 || !slices.Contains(rows[0], "scur") || !slices.Contains(rows[0], "svname") {
		return nil, fail.New(fail.Unsupported, op, string(s), "this version of HAProxy is not known", fmt.Errorf("HAProxy answered: %s", human.Clean(answer)))
	}

	name, current := slices.Index(rows[0], "svname"), slices.Index(rows[0], "scur")

	out := map[string]string{}
	for _, row := range rows[1:] {
		out[row[name]] = row[current]
	}

	return out, nil
}
