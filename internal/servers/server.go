package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"drctl/internal/fail"
	"drctl/internal/proc"
	"drctl/targets"
)

// Server is a server process that this package started.
type Server struct {
	Name string       `json:"name"`
	Kind targets.Kind `json:"kind"`
	proc.ID
	Dir     string `json:"dir"`
	Address string `json:"address"`
	LogFile string `json:"log_file,omitempty"`
}

// Stop asks the server to stop, waits, and kills it when it does not. Stopping
// what is gone is no error.
func (s Server) Stop(ctx context.Context) error {
	sig := syscall.SIGTERM
	switch s.Kind {
	case targets.Postgres:
		sig = syscall.SIGINT // fast shutdown: sessions are ended, a checkpoint is written
	case PgBouncer:
		sig = syscall.SIGQUIT // at once; SIGTERM waits for clients since 1.23
	}

	if err := s.Signal(sig); err != nil {
		if errors.Is(err, os.ErrProcessDone) {
			return nil
		}

		return fail.New(fail.Denied, "stop server", s.String(), "", err)
	}

	_ = s.Signal(syscall.SIGCONT) // one that was stopped by SIGSTOP could not end

	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()

	for s.Alive() {
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), s.Kill())
		case <-deadline.C:
			return s.Kill()
		case <-time.After(20 * time.Millisecond):
		}
	}

	return nil
}

// Kill ends the server and all its children by force and waits until they are
// gone. Killing what is gone is no error. Shared memory that only it used goes too.
func (s Server) Kill() error {
	err := s.ID.Kill()
	if err == nil {
		releaseMemory(s.Dir)
	}

	var e *fail.Error
	if errors.As(err, &e) {
		e.Op, e.Subject = "kill server", s.String()
	}

	return err
}

// String names the process.
func (s Server) String() string { return fmt.Sprintf("%s (pid %d, %s)", s.Name, s.Pid, s.Address) }

// In lists the servers that run in a directory or below it, known by their
// working directory: PostgreSQL and all its children, Redis and the S3 server
// work in their own. Whatever else stands there, such as somebody's shell, is
// none.
func In(dir string) []Server {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil // there is no such directory
	}

	var out []Server
	for _, r := range proc.In(real, "postgres", "redis-server", "versitygw", "haproxy", "pgbouncer") {
		out = append(out, Server{Name: "unrecorded", ID: r.ID, Dir: r.Dir})
	}

	return out
}
