package postmaster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"drctl/internal/fail"
	"drctl/internal/proc"
)

// poll is how often a lock file, and who it names, is looked at: it is waited for while nobody can write.
const poll = time.Millisecond

// What a server says of itself in its lock file.
const (
	Starting = "starting"
	Stopping = "stopping"
	Standby  = "standby"
	Ready    = "ready"
)

// Server is the server that runs on a data directory.
type Server struct {
	proc.ID
	Dir    string // real path
	Port   int
	Status string
}

// Find finds the server that runs on a data directory. Not-found when none does:
// also when a lock file is left of one that was killed.
func Find(dir string) (Server, error) {
	const op = "find server"

	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return Server{}, fail.FromOS(op, dir, err)
	}
	path := filepath.Join(real, "postmaster.pid")

	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return Server{}, fail.Newf(fail.NotFound, op, dir, "no server runs there")
	}

	if err != nil {
		return Server{}, fail.FromOS(op, path, err)
	}

	lines := strings.Split(string(b), "\n")

	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil {
		return Server{}, fail.New(fail.Unavailable, op, path, "try again: the server may be writing it", err)
	}

	id, ok := proc.Lives(pid, real, "postgres", "postmaster")
	if !ok {
		if _, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); errors.Is(err, os.ErrPermission) {
			return Server{}, fail.New(fail.Denied, op, dir, "run as root or as the user of the server", fmt.Errorf("process %d of its lock file cannot be looked at", pid))
		}

		return Server{}, fail.Newf(fail.NotFound, op, dir, "no server runs there: process %d of its lock file is gone, or another program", pid)
	}

	s := Server{ID: id, Dir: real}
	if len(lines) > 3 {
		s.Port, _ = strconv.Atoi(strings.TrimSpace(lines[3]))
	}

	if len(lines) > 7 {
		s.Status = strings.TrimSpace(lines[7])
	}

	return s, nil
}

// Owns reports whether a session's process is a child of this server on this host.
func (s Server) Owns(backend int) bool { return s.Alive() && proc.ParentOf(backend) == s.Pid }

// Stop stops the server cleanly ("fast": sessions are ended, a checkpoint is
// written, standbys get all of the log) and waits until its process is gone. One
// that is gone is no error. Stalled: it was told to stop and has not ended yet.
func (s Server) Stop(ctx context.Context) error { return s.end(ctx, syscall.SIGINT) }

// Abort ends the server without a checkpoint, as a crash does, and waits until its
// process is gone: only for one that does not end otherwise.
func (s Server) Abort(ctx context.Context) error { return s.end(ctx, syscall.SIGQUIT) }

func (s Server) end(ctx context.Context, sig syscall.Signal) error {
	const op = "stop server"

	if err := s.Signal(sig); errors.Is(err, os.ErrProcessDone) {
		return nil
	} else if err != nil {
		return fail.New(fail.Denied, op, s.Dir, "run as root or as the user of the server", err)
	}

	if err := s.Gone(ctx); err != nil {
		return fail.New(fail.Stalled, op, s.Dir, "see its log; a session or a standby may keep it from ending",
			fmt.Errorf("process %d was told to stop and has not ended: %w", s.Pid, err))
	}

	return nil
}
