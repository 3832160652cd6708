package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"drctl/internal/fail"
	"drctl/targets"
)

// Proc is a server process that this package started. Start is the process's
// start time in clock ticks since boot: together with Pid it names one
// process for ever, so that a reused pid is never signalled.
type Proc struct {
	Name    string       `json:"name"`
	Kind    targets.Kind `json:"kind"`
	Pid     int          `json:"pid"`
	Start   uint64       `json:"start"`
	Dir     string       `json:"dir"`
	Address string       `json:"address"`
	LogFile string       `json:"log_file,omitempty"`
}

// stat reads state, parent and start time of a process.
func stat(pid int) (state byte, ppid int, start uint64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, 0, err
	}
	// The name in brackets may hold anything, so fields are counted from the last bracket.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return 0, 0, 0, fmt.Errorf("/proc/%d/stat is too short", pid)
	}
	ppid, _ = strconv.Atoi(f[1])
	start, err = strconv.ParseUint(f[19], 10, 64)
	return f[0][0], ppid, start, err
}

// StartTicks is the start time of a running process, for a record of it.
func StartTicks(pid int) (uint64, error) {
	_, _, s, err := stat(pid)
	return s, err
}

// Alive reports whether this very process still runs.
func (p Proc) Alive() bool {
	state, _, start, err := stat(p.Pid)
	return err == nil && start == p.Start && state != 'Z'
}

// Signal sends a signal to this very process; none is sent to another that
// took its pid: a handle pins the process before its start time is compared.
// A process that is gone is os.ErrProcessDone.
func (p Proc) Signal(s syscall.Signal) error {
	if p.Pid <= 1 {
		return os.ErrProcessDone
	}
	fd, err := unix.PidfdOpen(p.Pid, 0)
	switch {
	case errors.Is(err, syscall.ESRCH):
		return os.ErrProcessDone
	case err != nil: // a kernel without handles
		if !p.Alive() {
			return os.ErrProcessDone
		}
		return syscall.Kill(p.Pid, s)
	}
	defer func() { _ = unix.Close(fd) }()
	if !p.Alive() {
		return os.ErrProcessDone
	}
	if err := unix.PidfdSendSignal(fd, s, nil, 0); !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return os.ErrProcessDone
}

// Stop asks the server to stop, waits, and kills it when it does not. Stopping
// what is gone is no error.
func (p Proc) Stop(ctx context.Context) error {
	sig := syscall.SIGTERM
	if p.Kind == targets.Postgres {
		sig = syscall.SIGINT // fast shutdown: sessions are ended, a checkpoint is written
	}
	if err := p.Signal(sig); err != nil {
		if errors.Is(err, os.ErrProcessDone) {
			return nil
		}
		return fail.New(fail.Denied, "stop server", p.String(), "", err)
	}
	_ = p.Signal(syscall.SIGCONT) // one that was stopped by SIGSTOP could not end
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for p.Alive() {
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), p.Kill())
		case <-deadline.C:
			return p.Kill()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// Kill sends SIGKILL to the process and all its descendants and waits until
// they are gone.
func (p Proc) Kill() error {
	// Frozen first, so that it starts no child behind the listing.
	if err := p.Signal(syscall.SIGSTOP); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fail.New(fail.Denied, "kill server", p.String(), "run as root or as the user that started it", err)
	}
	all := descendants(p)
	for _, c := range all {
		_ = c.Signal(syscall.SIGKILL)
	}
	end := time.Now().Add(10 * time.Second)
	for _, c := range all {
		for c.Alive() {
			if time.Now().After(end) {
				return fail.Newf(fail.Internal, "kill server", p.String(), "process %d does not end", c.Pid)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return nil
}

// String names the process.
func (p Proc) String() string { return fmt.Sprintf("%s (pid %d, %s)", p.Name, p.Pid, p.Address) }

// descendants returns p and every process below it. PostgreSQL's children
// have sessions of their own, so a process group does not hold them.
func descendants(p Proc) []Proc {
	if !p.Alive() {
		return nil
	}
	out := []Proc{p}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	type entry struct {
		pid, ppid int
		start     uint64
	}
	var es []entry
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d))
		if _, ppid, start, err := stat(pid); err == nil {
			es = append(es, entry{pid, ppid, start})
		}
	}
	for i := 0; i < len(out); i++ {
		for _, e := range es {
			if e.ppid == out[i].Pid && !slices.ContainsFunc(out, func(x Proc) bool { return x.Pid == e.pid }) {
				out = append(out, Proc{Pid: e.pid, Start: e.start, Name: p.Name})
			}
		}
	}
	return out
}

// FreePort returns a free TCP port on loopback. Somebody else may take it
// before it is used: callers that start servers try again.
//
// Ports are taken from below the range that the kernel gives to outgoing
// connections, so that a server that is started again finds its own.
func FreePort() (int, error) { return Tools{}.FreePort() }

// FreePort is FreePort, but for the ports that are Taken.
func (t Tools) FreePort() (int, error) {
	const first, last = 14000, 31999
	var err error
	for range 500 {
		port := first + rand.IntN(last-first+1)
		if slices.Contains(t.Taken, port) {
			continue
		}
		var l net.Listener
		if l, err = net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, fail.New(fail.Exhausted, "find a free port", "127.0.0.1", "stop servers that are not needed", err)
}

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
func (t Tools) start(ctx context.Context, l launch) (Proc, error) {
	cred, err := t.Credential()
	if err != nil {
		return Proc{}, err
	}
	logf, err := os.OpenFile(l.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return Proc{}, ioError("open log", l.logFile, err)
	}
	defer logf.Close()
	if err := t.Own(l.logFile); err != nil {
		return Proc{}, err
	}
	cmd := exec.Command(l.path, l.args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = l.dir, logf, logf
	cmd.Env = append([]string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "HOME=" + l.dir, "TZ=UTC"}, l.env...)
	if l.asSelf {
		cred = nil
	}
	if err := reachable(l.dir, cred); err != nil {
		return Proc{}, err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Setsid: true}
	if !l.detached {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGINT
		if l.kind != targets.Postgres {
			cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
		}
	}
	if err := startLocked(cmd); err != nil {
		return Proc{}, fail.New(fail.Unavailable, "start server", l.name, "is the program executable for user "+t.RunAs+"?", err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	p := Proc{Name: l.name, Kind: l.kind, Pid: cmd.Process.Pid, Dir: l.dir, Address: l.address, LogFile: l.logFile}
	if p.Start, err = StartTicks(p.Pid); err != nil {
		return p, t.died(l, nil)
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
			return p, t.died(l, nil)
		case <-ctx.Done():
			return p, errors.Join(ctx.Err(), p.Kill())
		case <-limit.C:
			return p, errors.Join(fail.New(fail.Stalled, "start server", l.name, "see its log: "+tail(l.logFile), fmt.Errorf("not ready after %s", l.timeout)), p.Kill())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// died explains an early end by the end of the server's log.
func (t Tools) died(l launch, cause error) error {
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
	if cause == nil {
		cause = errors.New("the server ended while starting")
	}
	return fail.New(code, "start server", l.name, "its log ends with: "+last, cause)
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
