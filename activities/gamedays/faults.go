package gamedays

import (
	"context"
	"errors"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"

	"drctl/activities/planned"
	"drctl/drills"
	"drctl/drills/gameday"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/planting"
	"drctl/restore/inventory"
	"drctl/restore/plan"
)

// Finished is where the record is.
type Finished = drills.Outcome

// storeAttempts is how often storing a record is tried before files have to do, and
// maxRecord how long one may be that crosses the engine, in bytes.
const (
	storeAttempts = 3
	maxRecord     = 256 << 10
)

var errNotSame = errors.New("this worker's configuration has another drill of that name")

// poll is how often a recovery is asked how far it has come.
const poll = 50 * time.Millisecond

// PlantIn says which fault.
type PlantIn struct {
	Name string `json:"name"`
	Hash string `json:"hash"`
	// Fault is its name within the drill, ID among all that were ever planted.
	Fault string `json:"fault"`
	ID    string `json:"id"`
	// Until is when it is taken away at the latest.
	Until time.Time `json:"until"`
	// Lab says that the gates took the servers for a lab's.
	Lab bool `json:"lab,omitempty"`
	// Recover and Run name the recovery whose steps are waited for, and Plan its plan.
	Recover string   `json:"recover,omitempty"`
	Run     string   `json:"run,omitempty"`
	Plan    plan.Ref `json:"plan,omitzero"`
}

// PlantOut is what was planted, and the queue of the host where it was.
type PlantOut struct {
	gameday.Planted
	Queue string `json:"queue"`
}

// Plant waits for its moment and plants a fault. It is fail.NotFound when the recovery ends
// before that.
func (a *Activities) Plant(ctx context.Context, in PlantIn) (PlantOut, error) {
	out, err := a.plant(ctx, in)
	return out, engine.EncodeError(err)
}

func (a *Activities) plant(ctx context.Context, in PlantIn) (PlantOut, error) {
	d, err := a.same(in.Name, in.Hash)
	if err != nil {
		return PlantOut{}, err
	}

	// Nobody has approved what a lab may do.
	if err := a.Platform.Lab(); err != nil && in.Lab {
		return PlantOut{}, fail.New(fail.Denied, op, in.Fault, "give all workers the same configuration", err)
	}

	f, ok := d.Fault(in.Fault)
	if !ok {
		return PlantOut{}, fail.Newf(fail.NotFound, op, in.Fault, "the drill has no such fault")
	}
	out := PlantOut{Planted: gameday.Planted{Fault: f}, Queue: a.Queue}
	beat := planned.Beat(ctx, planned.Nothing)

	defer beat()

	if f.At == gameday.AtStep {
		if err := a.await(ctx, in, f.Step); err != nil {
			return out, err
		}
	}

	if err := recovering(ctx, in.Recover); err != nil {
		return out, err
	}

	info, now := activity.GetInfo(ctx), time.Now().UTC()

	until := in.Until
	if f.For > 0 && now.Add(f.For).Before(until) {
		until = now.Add(f.For)
	}

	p, err := a.Faults.Plant(ctx, planting.Fault{ID: in.ID, Drill: in.Name, Workflow: info.WorkflowExecution.ID, RunID: info.WorkflowExecution.RunID,
		Group: d.Group, Host: a.Host, Do: f.Do, On: f.On(), Dir: f.Dir, Start: f.Start, Exec: f.Exec, Undo: f.Undo, Intended: now, Until: until})
	out.fill(p)

	return out, err
}

func (o *PlantOut) fill(p planting.Fault) {
	o.Intended, o.Planted.Planted, o.Removed = p.Intended, p.Planted, p.Removed
	o.Words, o.Why, o.Over, o.Stays, o.Left = p.Words, p.Why, p.Over, p.Stays, p.Left
}

// await waits until a step of the recovery that the pattern means has begun; of a section, until one was done.
func (a *Activities) await(ctx context.Context, in PlantIn, pattern string) error {
	c := activity.GetClient(ctx)

	d, err := inventory.LoadDefinition(ctx, a.Platform.Vault, in.Plan)
	if err != nil {
		return err
	}

	tick := time.NewTicker(poll)
	defer tick.Stop()

	for {
		now, err := state(ctx, c, in.Recover)
		if err == nil && now.Run == in.Run {
			hit, ended := now.reached(pattern)
			if !hit {
				hit = a.inside(ctx, in, d, now, pattern)
			}

			if hit {
				return nil
			}

			if ended {
				return fail.Newf(fail.NotFound, op, pattern, "the recovery has ended, and no such step had begun")
			}
		}

		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// progress is what is read of how far a recovery has come.
type progress struct {
	gameday.Recovered
}

// stateQuery is how a recovery is asked (workflows/recovery.State).
const stateQuery = "state"

func state(ctx context.Context, c client.Client, id string) (p progress, err error) {
	ctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()

	v, err := c.QueryWorkflow(ctx, id, "", stateQuery)
	if err != nil {
		return p, err
	}

	return p, v.Get(&p.Recovered)
}

// waiting and skipped are the states of steps that have not begun.
const (
	waiting = ""
	skipped = "skipped"
)

// reached reports whether a step that is meant has begun, and whether the recovery is over.
func (p progress) reached(pattern string) (hit, ended bool) {
	for _, s := range p.Steps {
		if gameday.Matches(pattern, s.ID) && s.Status != waiting && s.Status != skipped {
			return true, false
		}

		for _, x := range s.Inside {
			if gameday.Matches(pattern, x.ID) && x.Status != waiting && x.Status != skipped {
				return true, false
			}
		}
	}

	return false, p.Verdict != "" && p.Verdict != "open"
}

// inside looks into the journals of the sections that run.
func (a *Activities) inside(ctx context.Context, in PlantIn, d plan.Definition, now progress, pattern string) bool {
	v, err := a.Platform.Vault(ctx, d.To)
	if err != nil {
		return false
	}

	for _, s := range now.Steps {
		if s.Op != string(plan.OpSection) || s.Status == waiting {
			continue
		}

		entries, err := planned.Journal{Vault: v, Group: d.Group, Run: in.Run, Section: s.ID}.Read(ctx)
		if err != nil {
			continue
		}

		for _, e := range entries {
			for _, x := range e.Events {
				if x.Step != "" && gameday.Matches(pattern, x.Step) {
					return true
				}
			}
		}
	}

	return false
}

// RemoveIn names what is taken away.
type RemoveIn struct {
	ID  string `json:"id"`
	Why string `json:"why"`
	// Group is that of the drill, whose vaults know what other hosts have planted.
	Group string `json:"group"`
}

// Remove takes a fault of this host away. The answer is zero when nothing was ever touched. Unavailable: another host,
// or a record that this one has no more, may have it.
func (a *Activities) Remove(ctx context.Context, in RemoveIn) (gameday.Planted, error) {
	stop := planned.Beat(ctx, planned.Nothing)
	defer stop()

	f, err := a.Faults.Remove(ctx, in.ID, in.Why)
	if fail.Is(err, fail.NotFound) {
		return gameday.Planted{}, engine.EncodeError(a.elsewhere(ctx, in))
	}

	if err == nil && f.Untouched {
		return gameday.Planted{}, nil
	}

	var out PlantOut
	out.fill(f)

	return out.Planted, engine.EncodeError(err)
}

// elsewhere says by the vaults that a fault of which this host has no record may be there all the same.
func (a *Activities) elsewhere(ctx context.Context, in RemoveIn) error {
	set, err := a.vaults(ctx, in.Group)
	if err != nil {
		return err
	}

	left, err := planting.Left(ctx, set, in.Group)

	for _, f := range left {
		if f.ID == in.ID {
			return fail.Newf(fail.Unavailable, op, in.ID, "the worker of %s may have planted it: it is taken away there, when its worker runs", f.Host)
		}
	}

	return err
}
