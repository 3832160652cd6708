package postmaster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"drctl/internal/fail"
	"drctl/internal/proc"
)

const opStart = "start server"

// Start starts the server of a data directory with the program and the arguments
// that it was started with before, as the owner of the directory, and waits until
// it takes sessions. It outlives this process. One that runs already is waited for.
func Start(ctx context.Context, dir string) (Server, error) {
	if s, err := written(ctx, dir); err == nil {
		return s, s.await(ctx, nil, "")
	} else if !fail.Is(err, fail.NotFound) {
		return Server{}, err
	}

	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return Server{}, fail.FromOS(opStart, dir, err)
	}

	args, err := LastCommand(real)
	if err != nil {
		return Server{}, err
	}

	cred, err := owner(real)
	if err != nil {
		return Server{}, err
	}

	out, err := output(real, cred)
	if err != nil {
		return Server{}, err
	}
	defer out.Close()

	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = real, out, out
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "HOME=" + real, "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Setsid: true}

	if err := proc.Start(cmd); err != nil {
		return Server{}, fail.New(fail.Unavailable, opStart, dir, "can the owner of the directory run the program?", err)
	}

	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()

	s := Server{Dir: real}
	if s.ID, err = proc.Of(cmd.Process.Pid); err != nil {
		err = died(dir, out.Name())
	} else {
		err = s.await(ctx, ended, out.Name())
	}

	if err == nil || ctx.Err() != nil {
		return s, err
	}

	// Somebody else has started it at the same time, and was first.
	if other, ferr := written(ctx, dir); ferr == nil && other.ID != s.ID {
		return other, other.await(ctx, nil, "")
	}

	return s, err
}

// writtenWithin is how long a server may take between making its lock file and
// writing it.
const writtenWithin = 2 * time.Second

// written is Find that waits for a lock file that is being written. A server that
// starts and finds one ends, too.
func written(ctx context.Context, dir string) (s Server, err error) {
	ctx, cancel := context.WithTimeout(ctx, writtenWithin)
	defer cancel()

	for {
		if s, err = Find(dir); !fail.Is(err, fail.Unavailable) {
			return s, err
		}

		select {
		case <-ctx.Done():
			return s, err
		case <-time.After(poll):
		}
	}
}

// await waits until the server takes sessions.
func (s *Server) await(ctx context.Context, ended <-chan struct{}, log string) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()

	for {
		if now, err := Find(s.Dir); err == nil && now.ID == s.ID && (now.Status == Ready || now.Status == Standby) {
			*s = now
			return nil
		}

		select {
		case <-ended:
			return died(s.Dir, log)
		case <-ctx.Done():
			return fail.New(fail.Stalled, opStart, s.Dir, "see its log; it may still come up", fmt.Errorf("it takes no sessions yet: %w", context.Cause(ctx)))
		case <-tick.C:
			if !s.Alive() {
				return died(s.Dir, log)
			}
		}
	}
}

// optsFile is where a server leaves how it was started.
const optsFile = "postmaster.opts"

// WriteCommand makes a program and its arguments those by which Start starts the server of a
// directory that has not been started by them yet.
func WriteCommand(dir string, command []string) error {
	text := command[0]
	for _, a := range command[1:] {
		text += ` "` + a + `"`
	}

	return WriteOwned(filepath.Join(dir, optsFile), []byte(text+"\n"))
}

// LastCommand is what the server left in postmaster.opts: the program, and every
// argument in double quotes, which the server does not escape.
func LastCommand(dir string) ([]string, error) {
	path := filepath.Join(dir, optsFile)

	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fail.New(fail.NotFound, opStart, dir, "start it by hand, or configure a command that starts it", err)
	}

	program, rest, _ := strings.Cut(strings.TrimSpace(string(b)), ` "`)
	if !filepath.IsAbs(program) {
		return nil, fail.New(fail.Unsupported, opStart, path, "start it by hand, or configure a command that starts it", errors.New("it does not name the server's program"))
	}

	args := []string{program}
	if rest = strings.TrimSuffix(rest, `"`); rest != "" {
		args = append(args, strings.Split(rest, `" "`)...)
	}

	return args, nil
}

// owner is who the server runs as: the owner of its directory.
func owner(dir string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}

	uid, gid, err := Owner(dir)
	if err == nil && uid == 0 {
		err = errors.New("it belongs to root, and PostgreSQL refuses to run as root")
	}

	if err != nil {
		return nil, fail.New(fail.Denied, opStart, dir, "give the directory to the server's user", err)
	}

	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// Owner is the user and the group that a file belongs to.
func Owner(path string) (uid, gid int, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, 0, err
	}

	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, errors.New("the system does not tell who owns it")
	}

	return int(st.Uid), int(st.Gid), nil
}

// output is where the server's first words go: the log beside its directory, or
// nowhere where there can be none.
func output(dir string, cred *syscall.Credential) (*os.File, error) {
	path := dir + ".log"

	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil && cred != nil {
		err = f.Chown(int(cred.Uid), int(cred.Gid))
	}

	if err == nil {
		return f, nil
	}

	if f, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
		return nil, fail.FromOS(opStart, os.DevNull, err)
	}

	return f, nil
}

// died quotes the end of the server's log.
func died(dir, log string) error {
	last := ""
	if b, err := os.ReadFile(log); err == nil && log != os.DevNull {
		lines := strings.Split(strings.TrimSpace(string(b[max(0, len(b)-2000):])), "\n")
		last = strings.Join(lines[max(0, len(lines)-6):], " | ")
	}

	return fail.New(fail.Unavailable, opStart, dir, "see its log: "+last, errors.New("the server ended while it started"))
}
