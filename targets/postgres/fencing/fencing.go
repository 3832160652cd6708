package fencing

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
	"drctl/internal/proc"
	"drctl/targets"
	"drctl/targets/postgres/control"
)

const program = "postgres"

// Held is the setting that Hold makes, in postgresql.auto.conf.
const Held = "default_transaction_read_only"

// Server is a server whose data directory is on this host.
type Server struct {
	in      targets.Instance
	dir     string
	connect func(context.Context) (*pgx.Conn, error)

	mu   sync.Mutex
	conn *pgx.Conn // kept open: when it is needed there may be no free place

	here atomic.Bool // who answers was seen to work in dir
}

// New takes a server by its data directory, and what opens a session of a superuser.
func New(in targets.Instance, connect func(context.Context) (*pgx.Conn, error)) (*Server, error) {
	dir, err := filepath.EvalSymlinks(in.DataDir)
	if in.DataDir == "" || err != nil {
		return nil, fail.New(fail.Invalid, "fencing", in.String(), "name its data directory on this host", err)
	}

	return &Server{in: in, dir: dir, connect: connect}, nil
}

// Instance names the server.
func (s *Server) Instance() string { return s.in.Shard.String() + "@" + s.in.Region }

// Place is the data directory and the program's name.
func (s *Server) Place() (dir string, programs []string) { return s.dir, []string{program} }

// Here reports whether the server that answers at the address was seen to work in the directory. Another
// host may have a directory of that name.
func (s *Server) Here() bool { return s.here.Load() }

// owns reports whether the session's server is the one in the directory: by the process that has
// begun the session, and by the cluster, because another host's process may have the same number.
func (s *Server) owns(ctx context.Context, c *pgx.Conn) bool {
	var session int
	var system string

	if err := c.QueryRow(ctx, "SELECT pg_backend_pid(), system_identifier::text FROM pg_control_system()").Scan(&session, &system); err != nil {
		return false
	}

	if _, own, err := control.Read(s.dir); err != nil || own != system {
		return false
	}

	server := proc.ParentOf(session)

	return slices.ContainsFunc(proc.In(s.dir, program), func(r proc.Resident) bool { return r.Pid == server })
}

// ask runs f on the open session, or on a new one.
func (s *Server) ask(ctx context.Context, f func(*pgx.Conn) error) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()

	for range 2 {
		old := s.conn != nil
		if !old {
			if s.conn, err = s.connect(ctx); err != nil {
				s.conn = nil
				return err
			}
		}

		if err = f(s.conn); err == nil || !s.conn.IsClosed() {
			return err
		}

		s.conn = nil
		if !old || ctx.Err() != nil {
			return err
		}
	}

	return err
}

// Writable reports whether the server is up and no standby. One that does not answer and
// is no standby by its directory may take writes.
func (s *Server) Writable(ctx context.Context) (bool, error) {
	if len(proc.In(s.dir, program)) == 0 {
		return false, nil
	}

	var standby bool

	err := s.ask(ctx, func(c *pgx.Conn) error {
		err := c.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&standby)
		if err == nil && !s.here.Load() {
			s.here.Store(s.owns(ctx, c))
		}

		return err
	})
	if err == nil {
		return !standby, nil
	}

	if _, e := os.Stat(filepath.Join(s.dir, "standby.signal")); e == nil {
		return false, nil
	}

	return true, nil
}

// Hold makes new transactions read-only, ends all sessions of clients, and
// returns when the server lists none.
func (s *Server) Hold(ctx context.Context) error {
	return s.ask(ctx, func(c *pgx.Conn) error {
		if _, err := c.Exec(ctx, "ALTER SYSTEM SET "+Held+" = on"); err != nil {
			return err
		}

		if _, err := c.Exec(ctx, "SELECT pg_reload_conf()"); err != nil {
			return err
		}

		for {
			var left int

			err := c.QueryRow(ctx, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
				WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`).Scan(&left)
			if err != nil || left == 0 {
				return err
			}

			select {
			case <-ctx.Done():
				return fail.Newf(fail.Stalled, "fencing: end sessions", s.in.String(), "%d are left", left)
			case <-time.After(2 * time.Millisecond):
			}
		}
	})
}

// Release takes the setting of Hold back.
func (s *Server) Release(ctx context.Context) error {
	if len(proc.In(s.dir, program)) == 0 {
		return nil
	}

	return s.ask(ctx, func(c *pgx.Conn) error {
		var ours bool // by the file: this session itself may write

		err := c.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_file_settings WHERE name = '`+Held+`'
			AND setting = 'on' AND sourcefile LIKE '%/postgresql.auto.conf')`).Scan(&ours)
		if err != nil || !ours {
			return err
		}

		if _, err := c.Exec(ctx, "ALTER SYSTEM RESET "+Held); err != nil {
			return err
		}
		_, err = c.Exec(ctx, "SELECT pg_reload_conf()")

		return err
	})
}

// Stop asks for a fast shutdown.
func (s *Server) Stop(context.Context) error {
	all := proc.In(s.dir, program)
	if len(all) == 0 {
		return nil
	}

	b, err := os.ReadFile(filepath.Join(s.dir, "postmaster.pid"))
	if err != nil {
		return fail.FromOS("fencing: stop", s.in.String(), err)
	}
	first, _, _ := strings.Cut(string(b), "\n")

	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		return fail.New(fail.Corrupt, "fencing: stop", s.in.String(), "", err)
	}

	for _, p := range all {
		if p.Pid == pid {
			if err := p.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return fail.New(fail.Denied, "fencing: stop", s.in.String(), "run the guard as root or as the server's user", err)
			}
			_ = p.Signal(syscall.SIGCONT) // one that is stopped could not end

			return nil
		}
	}

	return fail.Newf(fail.NotFound, "fencing: stop", s.in.String(), "process %d of postmaster.pid does not work in the data directory", pid)
}
