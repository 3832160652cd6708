package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"drctl/internal/fail"
	"drctl/internal/proc"
	"drctl/targets"
)

// launch is how a server process is started.
type launch struct {
	name     string
	kind     targets.Kind
	path     string
	args     []string
	env      []string
	dir      string
	address  string
	logFile  string
	detached bool
	asSelf   bool // not as RunAs
	// ready reports readiness; errNotYet means ask again.
	ready   func() error
	timeout time.Duration
}

var errNotYet = errors.New("not ready yet")

// start starts the process and waits until it is ready. A detached one
// outlives this process; any other is ended by the kernel when this process dies.
func (b Binaries) start(ctx context.Context, l launch) (Server, error) {
	cred, err := b.RunAs.Credential()
	if err != nil {
		return Server{}, err
	}

	logf, err := os.OpenFile(l.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return Server{}, fail.FromOS("open log", l.logFile, err)
	}
	defer logf.Close()

	if err := b.RunAs.Own(l.logFile); err != nil {
		return Server{}, err
	}

	cmd := exec.Command(l.path, l.args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = l.dir, logf, logf

	cmd.Env = append([]string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "HOME=" + l.dir, "TZ=UTC"}, l.env...)
	if l.asSelf {
		cred = nil
	} else if err := b.RunAs.CanEnter(l.dir); err != nil {
		return Server{}, err
	}

	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Setsid: true}
	if !l.detached {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGINT
		if l.kind != targets.Postgres {
			cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
		}
	}

	if err := proc.Start(cmd); err != nil {
		return Server{}, fail.New(fail.Unavailable, "start server", l.name, "is the program executable for user "+string(b.RunAs)+"?", err)
	}

	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()

	p := Server{Name: l.name, Kind: l.kind, ID: proc.ID{Pid: cmd.Process.Pid}, Dir: l.dir, Address: l.address, LogFile: l.logFile}
	if p.ID, err = proc.Of(p.Pid); err != nil {
		return p, died(l)
	}

	if l.ready == nil {
		return p, nil
	}

	if l.timeout == 0 {
		l.timeout = time.Minute
	}

	limit := time.NewTimer(l.timeout)
	defer limit.Stop()

	for {
		err := l.ready()
		if err == nil {
			return p, nil
		}

		if !errors.Is(err, errNotYet) {
			return p, errors.Join(err, p.Kill())
		}

		select {
		case <-exited:
			return p, died(l)
		case <-ctx.Done():
			return p, errors.Join(ctx.Err(), p.Kill())
		case <-limit.C:
			return p, errors.Join(fail.New(fail.Stalled, "start server", l.name, "see its log: "+tail(l.logFile), fmt.Errorf("not ready after %s", l.timeout)), p.Kill())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// died explains an early end by the end of the server's log.
func died(l launch) error {
	last := tail(l.logFile)

	code := fail.Unavailable
	switch {
	case strings.Contains(last, "No space left on device"):
		code = fail.Exhausted
	case strings.Contains(last, "in use") || strings.Contains(last, "could not bind"):
		code = fail.Conflict
	case strings.Contains(last, "Cannot allocate memory"), strings.Contains(last, "could not map anonymous shared memory"):
		code = fail.Exhausted
	case strings.Contains(last, "Permission denied"):
		code = fail.Denied
	}

	return fail.New(code, "start server", l.name, "its log ends with: "+last, errors.New("the server ended while starting"))
}

// tail returns the last lines of a file.
func tail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()

	if st, err := f.Stat(); err == nil && st.Size() > 2000 {
		_, _ = f.Seek(-2000, 2)
	}
	b := make([]byte, 2000)
	n, _ := f.Read(b)
	lines := strings.Split(strings.TrimSpace(string(b[:n])), "\n")

	return strings.Join(lines[max(0, len(lines)-6):], " | ")
}

// onPort starts a server on a port, or on free ones until one is still free.
func (b Binaries) onPort(port int, start func(port int) (Server, error)) (Server, error) {
	for try := 1; ; try++ {
		use := port
		if use == 0 {
			var err error
			if use, err = b.FreePort(); err != nil {
				return Server{}, err
			}
		}

		p, err := start(use)
		if fail.Is(err, fail.Conflict) && port == 0 && try < 5 {
			continue
		}

		return p, err
	}
}

func named(name, kind, dir string) string {
	if name != "" {
		return name
	}

	return kind + dir
}

func logOf(file, dir string) string {
	if file != "" {
		return file
	}

	return dir + ".log"
}
