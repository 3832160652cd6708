package gamedays

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"drctl/activities/outside"
	"drctl/drills/debrief"
	"drctl/drills/gameday"
	"drctl/internal/approval"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/planting"
	"drctl/internal/platform"
	"drctl/internal/report/evidence"
	"drctl/internal/vault"
	"drctl/restore/history"
	"drctl/restore/inventory"
	"drctl/restore/plan"
)

// The names under which activities are registered.
const (
	BeginName  = "BeginGameDay"
	PlantName  = "PlantFault"
	RemoveName = "RemoveFault"
	AskName    = "AskGameDay"
	GuardName  = "GuardGameDay"
	TellName   = "TellGameDay"
	FinishName = "FinishGameDay"
)

const op = "game day"

// Resolver is what can be reached, and what the configuration says of game days.
type Resolver interface {
	platform.Resolver
	// Approvers are the people of a group whose signatures count.
	Approvers(group string) []approval.Person
	// GameDay is a drill of the configuration; not-found when there is none of that name.
	GameDay(name string) (gameday.Definition, error)
	// Plan derives the plan that the drill runs, as a command would.
	Plan(d gameday.Definition) (plan.Definition, error)
	// VerifiedFor is for how long a run shows that a plan of a group works; 0 is for ever.
	VerifiedFor(group string) time.Duration
	// Lab says why the servers of the configuration are not those of a lab.
	Lab() error
	// Ask answers a check that is no program and asks no journal, as a command would:
	// nothing that this process knows already may hide something.
	Ask(ctx context.Context, c client.Client, d gameday.Definition, k gameday.Check) (so bool, words string, err error)
}

// Activities serves them for one worker.
type Activities struct {
	Platform Resolver
	Faults   *planting.Keeper
	// Queue is that of this host, and Host its name.
	Queue, Host     string
	StateDir        string
	Version, Commit string
	Log             *slog.Logger
}

// Register registers every activity under its constant name.
func (a *Activities) Register(r worker.ActivityRegistry) {
	for name, f := range map[string]any{BeginName: a.Begin, PlantName: a.Plant, RemoveName: a.Remove, AskName: a.Ask, GuardName: a.Guard, TellName: a.Tell, FinishName: a.Finish} {
		r.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
}

// FaultsIn is where a host keeps the records of what was planted on it.
func FaultsIn(state string) string { return filepath.Join(state, "planted") }

// Program runs a program for the keeper of faults.
func Program(ctx context.Context, id string, argv []string) (string, error) {
	return outside.Program(ctx, id, &plan.Exec{Command: argv}, "DRCTL_FAULT="+id)
}

// Runnable says why a program could not be run here.
func Runnable(argv []string) error { return outside.Runnable(op, argv) }

// BeginIn names the drill.
type BeginIn struct {
	Name string `json:"name"`
	// Recover is the id of recoveries of its group.
	Recover string `json:"recover"`
	// Hash is of the drill that a person was shown and has said yes to; "" when nobody was.
	Hash string `json:"hash,omitempty"`
}

// Begun is the drill as this worker's configuration has it, and what its gates say.
type Begun struct {
	Drill gameday.Definition `json:"drill"`
	Hash  string             `json:"hash"` // of the drill
	// Lab says that the servers are a lab's: nobody had to approve.
	Lab   bool                `json:"lab,omitempty"`
	Gates []evidence.Precheck `json:"gates"`
	// Approved are who has approved.
	Approved []string `json:"approved,omitempty"`
	// Plan is kept in the vaults; zero when no recovery is run.
	Plan   plan.Ref          `json:"plan,omitzero"`
	Order  plan.Outline      `json:"order,omitzero"`
	Mode   plan.Mode         `json:"mode,omitempty"`
	From   string            `json:"from,omitempty"`
	To     string            `json:"to,omitempty"`
	Queues map[string]string `json:"queues"`
}

// Begin evaluates the gates and keeps the plan. It plants nothing.
func (a *Activities) Begin(ctx context.Context, in BeginIn) (Begun, error) {
	out, err := a.begin(ctx, in)
	return out, engine.EncodeError(err)
}

func (a *Activities) begin(ctx context.Context, in BeginIn) (Begun, error) {
	d, err := a.Platform.GameDay(in.Name)
	if err != nil {
		return Begun{}, err
	}

	if in.Hash != "" && in.Hash != d.Hash() {
		return Begun{}, fail.New(fail.Conflict, op, in.Name, "restart the workers that have an older configuration, or use the one that they have", errNotSame)
	}

	g, err := a.Platform.Group(d.Group)
	if err != nil {
		return Begun{}, err
	}
	out := Begun{Drill: d, Hash: d.Hash(), Queues: g.Queues}

	set, err := a.vaults(ctx, d.Group)
	if err != nil {
		return out, err
	}

	if d.Runs() {
		p, err := a.Platform.Plan(d)
		if err != nil {
			out.Gates = []evidence.Precheck{{Name: gameday.GatePlan, At: time.Now().UTC(), Detail: err.Error()}}
			return out, nil
		}

		to, err := a.Platform.Vault(ctx, p.To)
		if err != nil {
			return out, err
		}

		if out.Plan, err = inventory.SaveDefinition(ctx, vault.Set{Vaults: []*vault.Vault{to}, Durability: 1}, p); err != nil {
			return out, err
		}
		out.Order, out.Mode, out.From, out.To = p.Outline(p.Mode).Folded(), p.Mode, p.From, p.To
	}

	busy := a.busy(ctx, set, in.Recover, d.Group)
	if busy != nil && !fail.Is(busy, fail.Conflict) {
		return out, busy
	}

	st := gameday.Standing{Busy: busy, Lab: a.Platform.Lab(), Plan: out.Plan.SHA256, People: a.Platform.Approvers(d.Group), Now: time.Now().UTC()}
	if out.Lab = st.Lab == nil; !out.Lab {
		st.Verified = verified(ctx, set, d.Group, out, a.Platform.VerifiedFor(d.Group))

		if st.Approvals, err = Approvals(ctx, set, d, st.Plan); err != nil {
			return out, err
		}
		out.Approved = gameday.Approvers(d, st)
	}
	out.Gates = gameday.Gates(d, st)

	return out, nil
}

// verified says by what the plan has been shown to work, or why it has not.
func verified(ctx context.Context, set vault.Set, group string, b Begun, lasts time.Duration) gameday.Verified {
	if b.Plan.SHA256 == "" {
		return gameday.Verified{}
	}
	past := history.Read(ctx, set, group, time.Now(), lasts)
	v := past.Verified(history.Ask{Plan: b.Plan.SHA256, To: b.To, Mode: b.Mode})

	if !v.Verified {
		why := v.Why
		if err := past.Err(); err != nil {
			why += "; " + err.Error()
		}

		return gameday.Verified{Why: why}
	}

	return gameday.Verified{Run: v.By, At: v.At}
}

// vaults are those of a group that answer.
func (a *Activities) vaults(ctx context.Context, group string) (vault.Set, error) {
	g, err := a.Platform.Group(group)
	if err != nil {
		return vault.Set{}, err
	}

	set, err := a.Platform.Set(ctx, group, g.Home)
	if err != nil {
		return set, err
	}

	if set, err = set.Answering(ctx); err != nil {
		return set, err
	}
	set.Durability = 1

	return set, nil
}

// same is the drill as this worker's own configuration has it, which has to be the one that
// passed the gates.
func (a *Activities) same(name, hash string) (gameday.Definition, error) {
	d, err := a.Platform.GameDay(name)
	if err == nil && d.Hash() != hash {
		err = fail.New(fail.Conflict, op, name, "restart the workers that have an older configuration, and run the drill again", errNotSame)
	}

	return d, err
}

// TellIn is what people are told.
type TellIn struct {
	Name  string `json:"name"`
	Hash  string `json:"hash"`
	State string `json:"state"` // begins, passed, failed
	Words string `json:"words"`
}

// Tell runs the program by which the drill tells people.
func (a *Activities) Tell(ctx context.Context, in TellIn) error {
	d, err := a.same(in.Name, in.Hash)
	if err != nil {
		return engine.EncodeError(err)
	}

	_, err = outside.Program(ctx, "tell", &plan.Exec{Command: d.Tell}, "DRCTL_DRILL="+in.Name, "DRCTL_STATE="+in.State, "DRCTL_WORDS="+in.Words)

	return engine.EncodeError(err)
}

// FinishIn is what the drill did.
type FinishIn = gameday.Seen

// Finish writes the record, whatever came of the drill, to this worker's state directory and
// to the vaults that answer.
func (a *Activities) Finish(ctx context.Context, in FinishIn) (out Finished, err error) {
	w := debrief.Writer{Platform: a.Platform, StateDir: a.StateDir, Version: a.Version, Commit: a.Commit, Log: a.Log}
	out, err = w.GameDay(ctx, in, activity.GetInfo(ctx).Attempt < storeAttempts)

	if out.Problem == "" || len(out.Record) > maxRecord {
		out.Record = nil
	}

	return out, engine.EncodeError(err)
}
