package inplace

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"drctl/internal/atomicfile"
	"drctl/internal/fail"
	"drctl/restore/plan"
	"drctl/targets/handover"
)

// Phase is how far a place is.
type Phase string

// The phases, in their order.
const (
	Noted    Phase = "noted"    // the standby may be on its way out
	Cleared  Phase = "cleared"  // its directory is aside, and a new one is there
	Restored Phase = "restored" // the shard is laid down
	Settled  Phase = "settled"  // and has the configuration of its server
	Woken    Phase = "woken"    // and its server may take writes: nothing is taken back any more

	Returning Phase = "returning" // it is being taken back
)

// Note is what lies beside a standby's directory from before it is stopped on.
type Note struct {
	Run      string            `json:"run"`
	Instance string            `json:"instance"`
	Standing handover.Standing `json:"standing"`
	Place    handover.Place    `json:"place"`
	Phase    Phase             `json:"phase"`
	At       time.Time         `json:"at"`
	// Out is what the restore did.
	Out *plan.StepOut `json:"out,omitempty"`
}

// aside says whether the standby's own directory makes room; else the shard is laid down beside it.
func (n Note) aside() bool { return n.Place.Dir == n.Standing.Dir }

// path is where the note of this run lies.
func (s Site) path() string { return s.left() + ".json" }

// left is what a standby's directory is called that made room for this run.
func (s Site) left() string { return filepath.Clean(s.In.DataDir) + ".left-" + s.Run }

// Note reads the note; ok is false where there is none.
func (s Site) Note() (n Note, ok bool, err error) {
	b, err := os.ReadFile(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return n, false, nil
	}

	if err == nil {
		err = json.Unmarshal(b, &n)
	}

	if err != nil {
		return n, false, fail.New(fail.Corrupt, op, s.path(), "see where the standby's directory is, and lay the note aside", err)
	}

	return n, true, nil
}

func (s Site) write(n Note) error {
	n.At = time.Now().UTC()

	b, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return fail.New(fail.Internal, op, s.path(), "", err)
	}

	return fail.FromOS(op, s.path(), atomicfile.Write(s.path(), append(b, '\n'), 0o600))
}
