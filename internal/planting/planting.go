package planting

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"drctl/internal/atomicfile"
	"drctl/internal/fail"
	"drctl/internal/vault"
)

const op = "game day: fault"

// within bounds how long planting a fault may take, and taking it away each time that it is tried: meanwhile nothing
// else is taken away on this host.
const within = 2 * time.Minute

// Fault is one on record.
type Fault struct {
	// ID names it on this host and in the vaults; Drill, Workflow and RunID whose it is.
	ID       string `json:"id"`
	Drill    string `json:"drill"`
	Workflow string `json:"workflow"`
	RunID    string `json:"run_id"`
	Group    string `json:"group"`
	Host     string `json:"host"`
	// Do is kill, stop, mute, stall or exec, and On what for people.
	Do string `json:"do"`
	On string `json:"on"`
	// Dir is the data directory of the server, and Start a program that starts it.
	Dir   string   `json:"dir,omitempty"`
	Start []string `json:"start,omitempty"`
	Exec  []string `json:"exec,omitempty"`
	Undo  []string `json:"undo,omitempty"`

	Intended time.Time `json:"intended"`
	// Until is when it is taken away at the latest.
	Until   time.Time `json:"until"`
	Planted time.Time `json:"planted,omitzero"`
	// Undoing is when it was first tried to take it away.
	Undoing time.Time `json:"undoing,omitzero"`
	Removed time.Time `json:"removed,omitzero"`
	// Words say what was done, Why why it was taken away, Stays what nobody may take away,
	// and Left why it could not be taken away the last time.
	Words string `json:"words,omitempty"`
	Why   string `json:"why,omitempty"`
	Stays string `json:"stays,omitempty"`
	Left  string `json:"left,omitempty"`
	// Over says by what it was seen, when it was first tried to take it away, that it had ended by itself.
	Over string `json:"over,omitempty"`
	// Untouched says that nothing was broken yet, or never was: there is nothing to undo.
	Untouched bool `json:"untouched,omitempty"`
	// Marked says that the vaults know that it is gone.
	Marked bool `json:"marked,omitempty"`
}

// Keeper keeps the faults of this host.
type Keeper struct {
	// Dir is where the records are.
	Dir string
	// Start starts the server of a killed fault and waits until it takes sessions; MayStart says why it
	// must not.
	Start    func(ctx context.Context, f Fault) error
	MayStart func(ctx context.Context, f Fault) error
	// Program runs a program of the platform's own and returns what it says.
	Program func(ctx context.Context, id string, argv []string) (string, error)
	// Runnable says why a program could not be run here. It is asked of what takes a fault away, before the
	// fault is planted. It may be nil.
	Runnable func(argv []string) error
	// Tell keeps the record where everybody can read it: with the intent, which has to be
	// kept before anything is touched, and once it is gone. It may be nil.
	Tell func(ctx context.Context, f Fault) error
	// Alone says by what others have told why a fault must not be planted now. It is asked once the intent is
	// told, so that of two at once one sees the other. It may be nil.
	Alone func(ctx context.Context, f Fault) error
	// Within bounds how long planting a fault, or taking it away, may take; 0 is two minutes.
	Within time.Duration
	Log    *slog.Logger
}

func (k *Keeper) path(id string) string { return filepath.Join(k.Dir, id+".json") }

// lock keeps other processes of this host off the records until unlock.
func (k *Keeper) lock(ctx context.Context) (unlock func(), err error) {
	if err := atomicfile.MkdirAll(k.Dir, 0o700); err != nil {
		return nil, fail.FromOS(op, k.Dir, err)
	}

	f, err := os.OpenFile(filepath.Join(k.Dir, ".lock"), os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fail.FromOS(op, k.Dir, err)
	}

	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}

		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = f.Close()
			return nil, fail.FromOS(op, k.Dir, err)
		}

		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (k *Keeper) write(f Fault) error {
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fail.New(fail.Internal, op, f.ID, "", err)
	}

	return fail.FromOS(op, k.path(f.ID), atomicfile.Write(k.path(f.ID), b, 0o600))
}

func (k *Keeper) read(id string) (f Fault, err error) {
	b, err := os.ReadFile(k.path(id))
	if errors.Is(err, os.ErrNotExist) {
		return f, fail.Newf(fail.NotFound, op, id, "there is no record of it on this host")
	}

	if err != nil {
		return f, fail.FromOS(op, k.path(id), err)
	}

	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()

	if err := d.Decode(&f); err != nil || f.ID != id {
		return f, fail.New(fail.Corrupt, op, k.path(id), "look at it, and take away by hand what it names", err)
	}

	return f, nil
}

// All are the faults on record that are not known to be gone, the oldest first. Records that cannot be
// read are errors beside them.
func (k *Keeper) All() (out []Fault, err error) {
	entries, err := os.ReadDir(k.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}

	if err != nil {
		return nil, fail.FromOS(op, k.Dir, err)
	}

	var errs []error
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || strings.HasPrefix(id, ".") {
			continue
		}

		f, err := k.read(id)
		if fail.Is(err, fail.NotFound) {
			continue
		}

		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, f)
	}

	sortFaults(out)

	return out, errors.Join(errs...)
}

// Why a fault was taken away: its own time was up, its drill had ended, or somebody has aborted the drill.
const (
	TimeUp  = "its time was up"
	Ended   = "its drill has ended"
	Aborted = "its drill was aborted"
)

// Plant plants a fault, once: a repeat returns what the first call did. Conflict: it was
// taken away already, or others have planted something. Unverified: an attempt before may have planted it, and
// it was taken away instead. Not-found: no server runs there, so that nothing was touched.
func (k *Keeper) Plant(ctx context.Context, f Fault) (Fault, error) {
	if err := vault.ValidName(f.ID); err != nil {
		return f, err
	}

	unlock, err := k.lock(ctx)
	if err != nil {
		return f, err
	}
	defer unlock()

	old, err := k.read(f.ID)

	switch {
	case fail.Is(err, fail.NotFound):
		if err := errors.Join(k.aborted(f), k.ready(f)); err != nil {
			return f, err
		}

		f.Untouched = true
		if err := k.write(f); err != nil {
			return f, err
		}
	case err != nil:
		return f, err
	case !old.Removed.IsZero():
		return old, fail.Newf(fail.Conflict, op, f.ID, "it was taken away already: %s", old.Why)
	case !old.Planted.IsZero():
		return old, nil
	case old.Untouched: // an attempt before came no further
		f = old
	default:
		old, err := k.remove(ctx, old, "it was not known whether it had been planted")
		return old, errors.Join(fail.Newf(fail.Unverified, op, f.ID, "it is not known whether it was planted: it was taken away"), err)
	}

	if err := k.announce(ctx, f); err != nil {
		return f, err
	}

	return k.touch(ctx, f)
}

// aborted is a conflict when somebody has aborted the drill of a fault on this host: its engine may not know.
func (k *Keeper) aborted(f Fault) error {
	all, err := k.All()
	if slices.ContainsFunc(all, func(x Fault) bool { return x.RunID == f.RunID && x.Why == Aborted }) {
		return fail.Newf(fail.Conflict, op, f.ID, "somebody has aborted its drill on this host")
	}

	return err
}

// announce tells others of the intent, and looks whether they have one.
func (k *Keeper) announce(ctx context.Context, f Fault) error {
	if k.Tell != nil {
		if err := k.Tell(ctx, f); err != nil {
			return err
		}
	}

	if k.Alone == nil {
		return nil
	}

	return k.Alone(ctx, f)
}

// touch breaks what a fault names.
func (k *Keeper) touch(ctx context.Context, f Fault) (Fault, error) {
	f.Untouched = false
	if err := k.write(f); err != nil {
		return f, err
	}

	words, err := k.doWithin(ctx, f)
	if err != nil {
		f.Untouched = f.Do == "kill" && fail.Is(err, fail.NotFound) // who was not killed is not started

		f, rerr := k.remove(ctx, f, "it could not be planted")

		return f, errors.Join(err, rerr)
	}

	f.Words, f.Planted = words, time.Now().UTC()

	return f, k.write(f)
}

func (k *Keeper) doWithin(ctx context.Context, f Fault) (words string, err error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(k.Within, within))
	defer cancel()

	return k.do(ctx, f)
}

// Remove takes a fault away. It may be repeated; one that is not on record is not found.
func (k *Keeper) Remove(ctx context.Context, id, why string) (Fault, error) {
	unlock, err := k.lock(ctx)
	if err != nil {
		return Fault{}, err
	}
	defer unlock()

	f, err := k.read(id)
	if err != nil {
		return f, err
	}

	return k.remove(ctx, f, why)
}

// remove is Remove under the lock. It goes on when the caller is stopped.
func (k *Keeper) remove(parent context.Context, f Fault, why string) (Fault, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(parent), cmp.Or(k.Within, within))
	defer cancel()

	if f.Removed.IsZero() {
		if f.Undoing.IsZero() { // only now can it be seen whether it was in effect
			f.Undoing, f.Over = time.Now().UTC(), over(f)
			if err := k.write(f); err != nil {
				return f, err
			}
		}

		stays, err := k.undo(ctx, f)
		if err != nil {
			f.Left = err.Error()
			return f, errors.Join(err, k.write(f))
		}
		f.Removed, f.Why, f.Stays, f.Left = time.Now().UTC(), why, stays, ""

		if err := k.write(f); err != nil {
			return f, err
		}
	}

	if !f.Marked && k.Tell != nil {
		if err := k.Tell(ctx, f); err != nil {
			k.Log.WarnContext(ctx, "game day: a fault is gone, and no vault could be told", "fault", f.ID, "err", err)
			return f, nil // the next sweep tells it
		}
	}
	f.Marked = true

	return f, k.write(f)
}

// keepMarked is how long the record of a fault that is gone stays on this host.
const keepMarked = 24 * time.Hour

// Sweep takes away what is left: faults whose time is up, and those of which ended says why they go, such as Ended; "" is
// for those that stay. It returns those that are still there.
func (k *Keeper) Sweep(ctx context.Context, ended func(Fault) string) (left []Fault, err error) {
	all, err := k.All()
	errs := []error{err}

	for _, f := range all {
		now, why := time.Now(), ""

		switch {
		case f.Marked:
			if now.Sub(f.Removed) > keepMarked {
				_ = os.Remove(k.path(f.ID))
			}

			continue
		case !f.Removed.IsZero(): // the vaults are told
			why = f.Why
		case !now.Before(f.Until):
			why = TimeUp
		default:
			why = ended(f)
		}

		if why == "" {
			left = append(left, f)
			continue
		}

		g, err := k.Remove(ctx, f.ID, why)
		errs = append(errs, err)

		if err == nil && f.Removed.IsZero() {
			k.Log.InfoContext(ctx, "game day: took a fault away", "fault", f.ID, "drill", f.Drill, "on", f.On, "reason", why, "stays", g.Stays)
		}

		if g.Removed.IsZero() {
			left = append(left, g)
		}
	}

	return left, errors.Join(errs...)
}

func sortFaults(all []Fault) {
	slices.SortFunc(all, func(a, b Fault) int { return cmp.Or(a.Intended.Compare(b.Intended), strings.Compare(a.ID, b.ID)) })
}
