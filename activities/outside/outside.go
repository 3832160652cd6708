package outside

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/trust"
	"drctl/restore/plan"
)

const op = "recovery plan"

// most is how much of what a program or a server says is kept, in bytes.
const most = 4096

// Program runs a program of the platform's own, without a shell. Its success is its
// exit status.
func Program(ctx context.Context, step string, x *plan.Exec, env ...string) (said string, err error) {
	if x == nil || len(x.Command) == 0 || !filepath.IsAbs(x.Command[0]) {
		return "", fail.Newf(fail.Invalid, op, step, "it needs the absolute path of a program")
	}

	if err := trust.Program(op, x.Command[0]); err != nil {
		return "", err
	}

	cmd := exec.CommandContext(ctx, x.Command[0], x.Command[1:]...)
	cmd.Dir, cmd.WaitDelay = "/", 5*time.Second
	cmd.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DRCTL_STEP=" + step}, env...)

	out := &first{}
	cmd.Stdout, cmd.Stderr = out, out

	if err := cmd.Run(); err != nil {
		return "", fail.New(fail.Unverified, op, step, "see what the program says", fmt.Errorf("%s: %w: %s", x.Command[0], errors.Join(ctx.Err(), err), out.text()))
	}

	return out.text(), nil
}

// Runnable says why Program would not run a program on this host.
func Runnable(op string, argv []string) error {
	if len(argv) == 0 || !filepath.IsAbs(argv[0]) {
		return fail.Newf(fail.Invalid, op, strings.Join(argv, " "), "it needs the absolute path of a program")
	}

	if _, err := exec.LookPath(argv[0]); err != nil {
		return fail.New(fail.NotFound, op, argv[0], "install it on this host", err)
	}

	return trust.Program(op, argv[0])
}

// first keeps the beginning of what is written.
type first struct{ b bytes.Buffer }

func (f *first) Write(p []byte) (int, error) {
	f.b.Write(p[:min(len(p), most-min(most, f.b.Len()))])
	return len(p), nil
}

func (f *first) text() string { return strings.TrimSpace(strings.ToValidUTF8(f.b.String(), "?")) }

// Request makes a call of the platform's own. Any status of 200 to 299 is success.
func Request(ctx context.Context, step string, x *plan.HTTP) (said string, err error) {
	if x == nil || x.URL == "" {
		return "", fail.Newf(fail.Invalid, op, step, "it names no URL")
	}

	method := x.Method
	if method == "" {
		method = http.MethodPost
	}

	req, err := http.NewRequestWithContext(ctx, method, x.URL, nil)
	if err != nil {
		return "", fail.New(fail.Invalid, op, step, "", err)
	}

	res, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
	if err != nil {
		return "", fail.New(fail.Unavailable, op, step, "", err)
	}
	defer res.Body.Close()

	body, _ := io.ReadAll(io.LimitReader(res.Body, most))
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return "", fail.Newf(fail.Unverified, op, step, "%s %s answered %s: %s", method, x.URL, res.Status, strings.ToValidUTF8(string(body), "?"))
	}

	return res.Status, nil
}

// Warm rebuilds a cache, by a call or by a program.
func Warm(ctx context.Context, step string, x *plan.Warm) (said string, err error) {
	if x.HTTP != nil {
		return Request(ctx, step, x.HTTP)
	}

	return Program(ctx, step, x.Exec)
}
