package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"drctl/internal/fail"
	"drctl/internal/logs"
	"drctl/internal/proc"
)

const healthStrikes = 3

// child runs one process after another. run is its only goroutine that
// signals, so a process is never signalled after it has been reaped.
type child struct {
	s      *Supervisor
	spec   Child
	log    *slog.Logger
	after  []*child
	before []*child
	stop   chan struct{} // closed when it must end for good
	again  chan struct{} // asks for a restart (capacity 1)
	done   chan struct{}

	mu      sync.Mutex
	ready   bool
	address string
	wake    chan struct{} // closed and replaced whenever ready changes
}

func newChild(s *Supervisor, spec Child) *child {
	return &child{s: s, spec: spec, log: s.log.With(logs.Child, spec.Name),
		stop: make(chan struct{}), again: make(chan struct{}, 1), done: make(chan struct{}), wake: make(chan struct{})}
}

func (c *child) look() (ready bool, address string, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()

	return c.ready, c.address, c.wake
}

func (c *child) set(ready bool, address string) {
	c.mu.Lock()
	moved := ready && c.address != "" && c.address != address

	c.ready = ready
	if ready {
		c.address = address
	}

	close(c.wake)
	c.wake = make(chan struct{})
	c.mu.Unlock()

	if moved {
		for _, b := range c.before { // they hold the old address
			select {
			case b.again <- struct{}{}:
			default:
			}
		}
	}
}

// run starts the process again and again until stop.
func (c *child) run() {
	defer close(c.done)
	defer c.s.change(c.spec.Name, func(st *ChildState) { st.Phase, st.Pid, st.Start = Stopped, 0, 0 })

	backoff, failures, everReady := c.s.o.MinBackoff, 0, false
	for {
		if !c.waitForOthers() {
			return
		}
		began := time.Now()
		wasReady, err := c.once()
		c.set(false, "")

		select {
		case <-c.stop:
			return
		default:
		}

		everReady = everReady || wasReady
		if failures++; wasReady {
			failures = 0
		}

		if time.Since(began) > c.s.o.Calm {
			backoff = c.s.o.MinBackoff
		}

		c.log.Warn("ended; starting it again", logs.Err, err, "in", backoff.String())
		c.s.change(c.spec.Name, func(st *ChildState) {
			st.Phase, st.Pid, st.Start, st.Error = Waiting, 0, 0, err.Error()
			st.Restarts++
		})
		var coded *fail.Error
		// What is in the way may be on its way out: a child of a supervisor that
		// was killed a moment ago.
		forGood := errors.As(err, &coded) && !fail.Retryable(err) && coded.Code != fail.Conflict
		if !everReady && (forGood || failures >= c.s.o.GiveUp) {
			if coded == nil {
				err = fail.New(fail.Unavailable, "up: start", c.spec.Name, "look at its log", err)
			}

			c.s.fatal <- err

			<-c.stop

			return
		}

		select {
		case <-c.stop:
			return
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, c.s.o.MaxBackoff)
	}
}

func (c *child) waitForOthers() bool {
	for _, o := range c.after {
		for {
			ready, _, changed := o.look()
			if ready {
				break
			}

			select {
			case <-c.stop:
				return false
			case <-changed:
			}
		}
	}

	return true
}

func (c *child) lookup(name string) string {
	for _, o := range c.s.children {
		if o.spec.Name == name {
			_, a, _ := o.look()
			return a
		}
	}

	return ""
}

// process is one life of a child.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	exited chan struct{} // it has ended and is not reaped yet
	output sync.WaitGroup
	ready  chan readiness
}

type readiness struct {
	address string
	err     error
}

// once runs the process to its end and says why it ended.
func (c *child) once() (wasReady bool, err error) {
	select {
	case <-c.again: // whatever asked is served by this start
	default:
	}

	p, err := c.start()
	if err != nil {
		return false, err
	}
	id, _ := proc.Of(p.cmd.Process.Pid)
	c.s.change(c.spec.Name, func(st *ChildState) { st.Phase, st.Pid, st.Start = Starting, p.cmd.Process.Pid, id.Start })

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	sick := make(chan error, 1)
	healthy := make(chan struct{})

	limit := time.NewTimer(c.spec.ReadyTimeout)
	defer limit.Stop()
	address := ""

	if c.spec.ReadyLine == nil {
		go c.watch(ctx, "", healthy, sick)
	}
	becomeReady := func() {
		wasReady = true

		limit.Stop()
		c.set(true, address)
		c.log.Info("ready", "pid", p.cmd.Process.Pid, "address", address)
		c.s.change(c.spec.Name, func(st *ChildState) { st.Phase, st.Address, st.Error = Ready, address, "" })
	}

	var reason error
	for reason == nil {
		select {
		case r := <-p.ready:
			if reason = r.err; reason == nil {
				address = r.address
				go c.watch(ctx, address, healthy, sick)
			}
		case <-healthy:
			healthy = nil

			becomeReady()
		case reason = <-sick:
		case <-limit.C:
			if !wasReady {
				reason = fail.Newf(fail.Stalled, "up: start", c.spec.Name, "not ready after %s", c.spec.ReadyTimeout)
			}
		case <-c.again:
			reason = errors.New("a process that it depends on has moved")
		case <-c.stop:
			reason = context.Canceled
		case <-p.exited:
			// A last line, such as the reason for which it refused, may still be on its way.
			select {
			case r := <-p.ready:
				reason = r.err
			case <-time.After(100 * time.Millisecond):
			}

			if end := c.reap(p); reason == nil {
				reason = end
			}

			return wasReady, reason
		}
	}
	polite := errors.Is(reason, context.Canceled) || wasReady && len(sick) == 0
	c.end(p, polite)

	return wasReady, reason
}

// start forks the process and begins to read its output.
func (c *child) start() (*process, error) {
	cmd, err := c.spec.Command(c.lookup)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, exited: make(chan struct{}), ready: make(chan readiness, 1)}
	// Its own group: a Ctrl-C at a terminal reaches it through the supervisor,
	// in order, and what it leaves behind can be found.
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, nil, nil

	var stdout, stderr io.ReadCloser
	if p.stdin, err = cmd.StdinPipe(); err == nil {
		if stdout, err = cmd.StdoutPipe(); err == nil {
			stderr, err = cmd.StderrPipe()
		}
	}

	if err != nil {
		return nil, fail.New(fail.Exhausted, "up: start", c.spec.Name, "", err)
	}

	if err := proc.StartChild(cmd); err != nil {
		return nil, fail.New(fail.Invalid, "up: start", c.spec.Name, "check that the program is there and may be run", err)
	}

	p.output.Add(2)

	go c.read(p, stdout, slog.LevelInfo, c.reports(p))
	// What is no record there is a complaint.
	go c.read(p, stderr, slog.LevelWarn, nil)
	go func() {
		// Learn of the end without reaping, so that the pid stays ours until
		// its group has been dealt with.
		var info unix.Siginfo
		for {
			err := unix.Waitid(unix.P_PID, cmd.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}

		close(p.exited)
	}()

	return p, nil
}

// reports takes the lines in which the process says that it is ready, or why it
// is not. A reason that comes later is an error like any other.
func (c *child) reports(p *process) func(line string) bool {
	told := false

	return func(line string) bool {
		if c.spec.ReadyLine == nil {
			return false
		}

		ready, address, err := c.spec.ReadyLine(line)
		switch {
		case !ready && err == nil:
			return false
		case !told:
			told = true

			p.ready <- readiness{address, err}
		case err != nil:
			c.log.Error("it fails", logs.Err, err, logs.Code, string(fail.CodeOf(err)))
		default:
			return false
		}

		return true
	}
}

func (c *child) read(p *process, r io.Reader, plain slog.Level, taken func(string) bool) {
	defer p.output.Done()

	s := logs.Stream{Log: c.log, Plain: plain, Edit: c.spec.Record}
	s.Read(r, taken)
}

// watch reports the first health, then sickness.
func (c *child) watch(ctx context.Context, address string, healthy chan<- struct{}, sick chan<- error) {
	if c.spec.Health == nil {
		close(healthy)
		return
	}

	strikes, up, every := 0, false, 100*time.Millisecond
	for {
		hctx, cancel := context.WithTimeout(ctx, max(c.spec.HealthEvery, time.Second))
		err := c.spec.Health(hctx, address)

		cancel()

		switch {
		case err == nil && !up:
			up, every = true, c.spec.HealthEvery

			close(healthy)
		case err == nil:
			strikes = 0
		case up:
			if strikes++; strikes == healthStrikes {
				sick <- fail.New(fail.Stalled, "up: health", c.spec.Name, "", err)
				return
			}
		}

		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}
	}
}

// end stops the process: politely when it may be listening, then by force.
func (c *child) end(p *process, polite bool) {
	c.s.change(c.spec.Name, func(st *ChildState) { st.Phase = Stopping })

	if polite {
		_ = p.stdin.Close()

		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.exited:
		case <-time.After(c.spec.StopTimeout):
			c.log.Warn("did not stop in time; killing it", "limit", c.spec.StopTimeout.String())
		}
	}
	_ = p.cmd.Process.Kill()
	<-p.exited

	if err := c.reap(p); err != nil {
		c.log.Debug("stopped", logs.Err, err)
	}
}

// reap kills what the process left in its group, then takes its exit status.
func (c *child) reap(p *process) error {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)

	read := make(chan struct{})
	go func() { p.output.Wait(); close(read) }()

	select {
	case <-read:
	case <-time.After(2 * time.Second): // something outside its group holds the pipe; Wait closes our end
	}
	err := p.cmd.Wait()
	_ = p.stdin.Close()

	if err == nil {
		return errors.New("it ended by itself (exit status 0)")
	}

	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 2 {
		return fail.New(fail.Invalid, "up: start", c.spec.Name, "look at its log", fmt.Errorf("it refused its arguments or configuration: %w", err))
	}

	return err
}
