package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"drctl/internal/atomicfile"
	"drctl/internal/fail"
	"drctl/internal/proc"
)

const (
	stateFile = "up.json"
	lockFile  = "up.lock"
)

// State is what the state file says of a supervisor and its children.
type State struct {
	Pid      int          `json:"pid"`
	Start    uint64       `json:"start_ticks"` // of /proc/<pid>/stat: guards against a reused pid
	Started  time.Time    `json:"started"`
	Children []ChildState `json:"children"`
}

// ChildState is one child as it stands.
type ChildState struct {
	Name     string    `json:"name"`
	Phase    Phase     `json:"phase"`
	Pid      int       `json:"pid,omitempty"`
	Start    uint64    `json:"start_ticks,omitempty"`
	Address  string    `json:"address,omitempty"`
	Restarts int       `json:"restarts"`
	Since    time.Time `json:"since"`
	Error    string    `json:"error,omitempty"` // why it ended last
}

// Phase is where a child is in its life.
type Phase string

// The phases.
const (
	Waiting  Phase = "waiting"  // for others, or for its next start
	Starting Phase = "starting" // running, not ready
	Ready    Phase = "ready"
	Stopping Phase = "stopping"
	Stopped  Phase = "stopped"
)

// Child returns the state of a child by name.
func (s State) Child(name string) (ChildState, bool) {
	for _, c := range s.Children {
		if c.Name == name {
			return c, true
		}
	}

	return ChildState{}, false
}

// Alive reports whether the supervisor that wrote the state still runs.
func (s State) Alive() bool { return proc.ID{Pid: s.Pid, Start: s.Start}.Alive() }

// Alive reports whether the child's process still runs.
func (c ChildState) Alive() bool { return proc.ID{Pid: c.Pid, Start: c.Start}.Alive() }

// ReadState reads the state that a supervisor keeps in dir; not-found when
// none has run there. Ask Alive whether it still does.
func ReadState(dir string) (State, error) {
	const op = "up: read state"
	file := filepath.Join(dir, stateFile)

	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, fail.New(fail.NotFound, op, file, "start it with: drctl up", errors.New("nothing has run here"))
	}

	if err != nil {
		return State{}, fail.New(fail.Denied, op, file, "", err)
	}

	var s State
	if err := json.Unmarshal(b, &s); err != nil {
		return State{}, fail.New(fail.Corrupt, op, file, "", err)
	}

	return s, nil
}

func writeState(dir string, s State) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}

	return atomicfile.Write(filepath.Join(dir, stateFile), append(b, '\n'), 0o600)
}

// Lock takes a state directory for this process; conflict, naming the pid, when
// another has it. The lock goes with the process or with the returned call.
func Lock(dir string) (unlock func(), err error) {
	const op = "up: lock state directory"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fail.New(fail.Denied, op, dir, "", err)
	}

	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fail.New(fail.Denied, op, dir, "", err)
	}

	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		b, _ := io.ReadAll(io.LimitReader(f, 32))
		_ = f.Close()

		return nil, fail.New(fail.Conflict, op, dir, "stop that process first, or use another state directory",
			fmt.Errorf("drctl up runs here with pid %s", strings.TrimSpace(string(b))))
	}

	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}

	if err != nil {
		_ = f.Close()
		return nil, fail.New(fail.Exhausted, op, dir, "", err)
	}

	return func() { _ = f.Close() }, nil
}
