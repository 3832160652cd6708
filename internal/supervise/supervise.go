package supervise

import (
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"slices"
	"sync"
	"time"

	"drctl/internal/fail"
	"drctl/internal/logs"
	"drctl/internal/proc"
)

// Child is one process to keep running. Zero durations take the defaults named.
type Child struct {
	Name string
	// Command makes the command for each start; address gives the address of
	// another child that is ready ("" when it has none). Its SysProcAttr,
	// Stdin, Stdout and Stderr are set by the supervisor: standard input is a
	// pipe that closes when the supervisor goes.
	Command func(address func(child string) string) (*exec.Cmd, error)
	// After names the children that must be ready before this one starts, and
	// that are stopped after it.
	After []string
	// ReadyLine looks at lines of standard output until it says ready; the
	// address is what other children and the state file get. A line that it
	// does not want is forwarded to the log. An error that no retry can mend
	// ends the supervisor when the child has never been ready. Nil: ready when Health first passes, or at once.
	ReadyLine func(line string) (ready bool, address string, err error)
	// Record, when set, may change a log record of the child before its level
	// decides whether it is logged.
	Record func(slog.Record) slog.Record
	// Health is asked every HealthEvery (5 s) while ready; after 3 failures in
	// a row the child is killed and started again. Nil is always healthy.
	Health       func(ctx context.Context, address string) error
	HealthEvery  time.Duration
	ReadyTimeout time.Duration // from start to ready, else killed (60 s)
	StopTimeout  time.Duration // from SIGTERM to SIGKILL (30 s)
}

// Options of a supervisor. Zero durations take the defaults named.
type Options struct {
	StateDir   string // made when missing
	Children   []Child
	MinBackoff time.Duration // before the first restart (200 ms); doubles
	MaxBackoff time.Duration // (15 s)
	Calm       time.Duration // running this long resets the backoff (30 s)
	// GiveUp is how often a child that has never been ready may fail before
	// the supervisor stops everything with its error (5).
	GiveUp int
	Log    *slog.Logger // nil discards
}

// Event is a change of a child's state.
type Event struct {
	At    time.Time
	Child ChildState
}

// Supervisor keeps children running.
type Supervisor struct {
	o        Options
	log      *slog.Logger
	unlock   func()
	children []*child
	levels   [][]*child // by what they wait for
	events   chan Event
	fatal    chan error

	mu    sync.Mutex
	state State
	dirty error // of the last write of the state file
}

// New takes the state directory and makes a supervisor; conflict, naming the
// pid, when another has the directory. Run or Close must follow.
func New(o Options) (*Supervisor, error) {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&o.MinBackoff, 200*time.Millisecond)
	def(&o.MaxBackoff, 15*time.Second)
	def(&o.Calm, 30*time.Second)

	if o.GiveUp <= 0 {
		o.GiveUp = 5
	}

	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}

	s := &Supervisor{o: o, log: o.Log, events: make(chan Event, 256), fatal: make(chan error, len(o.Children)+1)}
	for _, spec := range o.Children {
		def(&spec.HealthEvery, 5*time.Second)
		def(&spec.ReadyTimeout, time.Minute)
		def(&spec.StopTimeout, 30*time.Second)
		s.children = append(s.children, newChild(s, spec))
	}

	if err := s.order(); err != nil {
		return nil, err
	}

	unlock, err := Lock(o.StateDir)
	if err != nil {
		return nil, err
	}
	s.unlock = unlock

	self, err := proc.Self()
	if err != nil {
		unlock()
		return nil, err
	}

	s.state = State{Pid: self.Pid, Start: self.Start, Started: time.Now().UTC()}
	for _, c := range s.children {
		s.state.Children = append(s.state.Children, ChildState{Name: c.spec.Name, Phase: Waiting, Since: s.state.Started})
	}

	if err := writeState(o.StateDir, s.state); err != nil {
		unlock()
		return nil, fail.New(fail.Exhausted, "up: write state", o.StateDir, "", err)
	}

	return s, nil
}

// order sorts the children into levels; invalid when names clash or circle.
func (s *Supervisor) order() error {
	const op = "up: order children"

	byName := map[string]*child{}
	for _, c := range s.children {
		if c.spec.Name == "" || byName[c.spec.Name] != nil {
			return fail.Newf(fail.Invalid, op, c.spec.Name, "the name is empty or given twice")
		}
		byName[c.spec.Name] = c
	}

	placed := map[string]bool{}
	for len(placed) < len(s.children) {
		var level []*child
		for _, c := range s.children {
			free := func(n string) bool { return placed[n] }
			if !placed[c.spec.Name] && all(c.spec.After, free) {
				level = append(level, c)
			}
		}

		if len(level) == 0 {
			return fail.Newf(fail.Invalid, op, "", "children wait for each other, or for one that does not exist")
		}

		for _, c := range level {
			placed[c.spec.Name] = true
			for _, n := range c.spec.After {
				c.after = append(c.after, byName[n])
				byName[n].before = append(byName[n].before, c)
			}
		}
		s.levels = append(s.levels, level)
	}

	return nil
}

func all(names []string, ok func(string) bool) bool {
	return !slices.ContainsFunc(names, func(n string) bool { return !ok(n) })
}

// Events tells of every change of state. It is closed when Run returns. Events
// that nobody takes are dropped beyond 256; State is always current.
func (s *Supervisor) Events() <-chan Event { return s.events }

// State is the current state.
func (s *Supervisor) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.state
	st.Children = slices.Clone(st.Children)

	return st
}

// WaitReady returns when every child is ready at once, or ctx ends.
func (s *Supervisor) WaitReady(ctx context.Context) error {
	for {
		waits := ""
		for _, c := range s.State().Children {
			if c.Phase != Ready {
				waits = c.Name
				if c.Error != "" {
					waits += " (" + c.Error + ")"
				}
			}
		}

		if waits == "" {
			return nil
		}

		select {
		case <-ctx.Done():
			return fail.New(fail.Stalled, "up: wait until ready", waits, "", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Run starts the children and keeps them running until ctx ends, then stops
// them in order and returns nil. It returns an error, after stopping all, when
// a child fails for good.
func (s *Supervisor) Run(ctx context.Context) error {
	defer s.unlock()
	defer close(s.events)

	for _, c := range s.children {
		go c.run()
	}

	var err error
	select {
	case <-ctx.Done():
		s.log.Info("stopping")
	case err = <-s.fatal:
		s.log.Info("stopping after a failure")
	}

	for i := len(s.levels) - 1; i >= 0; i-- {
		for _, c := range s.levels[i] {
			close(c.stop)
		}

		for _, c := range s.levels[i] {
			<-c.done
		}
	}

	s.mu.Lock()
	defer s.mu.Unlock()

	if s.dirty != nil {
		err = errors.Join(err, fail.New(fail.Exhausted, "up: write state", s.o.StateDir, "", s.dirty))
	}

	return err
}

// change updates one child's state, writes the file and tells.
func (s *Supervisor) change(name string, f func(*ChildState)) {
	s.mu.Lock()
	defer s.mu.Unlock()

	for i := range s.state.Children {
		c := &s.state.Children[i]
		if c.Name != name {
			continue
		}

		f(c)
		c.Since = time.Now().UTC()

		if err := writeState(s.o.StateDir, s.state); err != nil {
			if s.dirty == nil {
				s.log.Error("the state file cannot be written", "dir", s.o.StateDir, logs.Err, err)
			}
			s.dirty = err
		} else {
			s.dirty = nil
		}

		select {
		case s.events <- Event{At: c.Since, Child: *c}:
		default:
		}

		return
	}
}
