package actions

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"

	"drctl/activities/atmoment"
	"drctl/activities/onhost"
	"drctl/activities/outside"
	"drctl/activities/planned"
	"drctl/activities/steps"
	"drctl/internal/engine"
	"drctl/internal/epoch"
	"drctl/internal/fail"
	"drctl/internal/logs"
	"drctl/internal/platform"
	"drctl/internal/proof/shardlog"
	"drctl/internal/traffic"
	"drctl/restore/ahead"
	"drctl/restore/plan"
	"drctl/targets"
)

// The names under which activities are registered.
const (
	BeginName   = "BeginRecovery"
	SectionName = "RunSection"
	DoName      = "DoAction"
	UndoName    = "UndoAction"
	EndName     = "EndRecovery"
)

const op = "recovery plan"

// Resolver is what can be reached, the routes of clients with it.
type Resolver interface {
	platform.Resolver
	// Routes are those of a group, with what moves them. The caller closes them.
	Routes(ctx context.Context, group string) (traffic.Set, error)
	// Host is how the server of an instance is stopped and started; zero is by hand.
	Host(shard targets.ShardID, region string) (stop, start []string)
	// Witnessed reports whether there are voters enough for epochs, Epochs are those of a
	// group, and Lease is that of one which is claimed.
	Witnessed() bool
	Epochs(ctx context.Context, group string) (*epoch.Log, error)
	Lease() time.Duration
}

// Call says which step of which run is meant.
type Call struct {
	// Run names the run and its journals.
	Run   string    `json:"run"`
	By    string    `json:"by"` // who asked for the run
	Plan  plan.Ref  `json:"plan"`
	Mode  plan.Mode `json:"mode"`
	Epoch uint64    `json:"epoch"`
	// Behind is the newest epoch that was there when the run began: see epoch.Bid.
	Behind string `json:"behind,omitempty"`
	// Take is how often the run was taken up by another engine.
	Take int `json:"take,omitempty"`
	// Step is a step's id, or the name of a section.
	Step string `json:"step"`
	// Outs are what earlier steps returned that later ones rest on, by id.
	Outs map[string]json.RawMessage `json:"outs,omitempty"`
	// Waived are the words by which people let a fence or a feed count as done, by id.
	Waived map[string]string `json:"waived,omitempty"`
}

// Done is what a step did.
type Done struct {
	// Out is for later steps.
	Out json.RawMessage `json:"out,omitempty"`
	// Said is for people.
	Said string `json:"said,omitempty"`
}

// Activities serves them for one worker.
type Activities struct {
	Platform Resolver
	Drivers  map[targets.Kind]targets.Driver
	// Process names this process in journals, and Host the host that it is on.
	Process, Host string
	Log           *slog.Logger
	// Restore and Logs are for a recovery to a proven moment; Version is drctl's.
	Restore atmoment.Restore
	Logs    map[targets.Kind]shardlog.Opener
	Version string

	hosted onhost.Hosted
	plans  planned.Plans
}

// Register registers every activity under its constant name.
func (a *Activities) Register(r worker.ActivityRegistry) {
	for name, f := range map[string]any{BeginName: a.Begin, SectionName: a.Section, DoName: a.Do, UndoName: a.Undo, EndName: a.End, onhost.ActivityName: a.Hand} {
		r.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
}

// find returns the plan of a call, and the step where it names one.
func (a *Activities) find(ctx context.Context, c Call) (plan.Definition, plan.StepDef, error) {
	d, err := a.load(ctx, c.Plan)
	if err != nil {
		return d, plan.StepDef{}, err
	}
	s, ok := d.Step(c.Step)

	if !ok {
		return d, s, fail.Newf(fail.NotFound, op, c.Step, "the plan has no such step")
	}

	return d, s, nil
}

func (a *Activities) load(ctx context.Context, ref plan.Ref) (plan.Definition, error) {
	return a.plans.Load(ctx, a.Platform.Vault, ref)
}

// driver returns the driver of a kind.
func (a *Activities) driver(k targets.Kind) (targets.Driver, error) {
	if d, ok := a.Drivers[k]; ok {
		return d, nil
	}

	return nil, fail.Newf(fail.Unsupported, "driver", string(k), "this build knows no such kind of store")
}

// Do does one step outside of a section.
func (a *Activities) Do(ctx context.Context, c Call) (Done, error) {
	d, s, err := a.find(ctx, c)
	if err != nil {
		return Done{}, engine.EncodeError(err)
	}

	stop := planned.Beat(ctx, planned.Nothing)
	defer stop()

	if err := a.superseded(ctx, c, d, false); err != nil {
		return Done{}, engine.EncodeError(err)
	}

	done, ok, err := a.already(ctx, c, d, s)
	if err != nil || ok {
		return done, engine.EncodeError(err)
	}

	if done, err = a.do(ctx, c, d, s); err != nil {
		return done, engine.EncodeError(err)
	}

	// How routes were before cannot be read again: that has to be kept.
	if err := a.keep(ctx, c, d, done); err != nil && s.ID == planned.RoutesStep(d) {
		return done, engine.EncodeError(err)
	} else if err != nil {
		a.Log.WarnContext(ctx, "that a step was done is not kept", "run", c.Run, "step", s.ID, logs.Err, err)
	}

	return done, nil
}

// Undo takes one step outside of a section back.
func (a *Activities) Undo(ctx context.Context, c Call) error {
	d, s, err := a.find(ctx, c)
	if err != nil {
		return engine.EncodeError(err)
	}

	stop := planned.Beat(ctx, planned.Nothing)
	defer stop()

	if err := errors.Join(a.superseded(ctx, c, d, true), a.mayUndo(ctx, c, d)); err != nil {
		return engine.EncodeError(err)
	}

	switch {
	case s.Undo == nil:
		err = fail.Newf(fail.Unsupported, op, s.ID, "nothing takes this step back")
	case s.Undo.Exec != nil:
		_, err = program(ctx, s.ID, s.Undo.Exec)
	case s.Undo.HTTP != nil:
		_, err = outside.Request(ctx, s.ID, s.Undo.HTTP)
	case s.Do == plan.OpReroute:
		err = a.rerouteBack(ctx, c, d, s)
	case s.Do == plan.OpClaim:
		err = a.giveBack(ctx, c, d)
	case s.Do == plan.OpRestore:
		err = a.sites().Back(ctx, c.Run, d, s)
	case s.Do == plan.OpFence: // what keeps an old side silent is not taken away by a program
	default:
		err = fail.Newf(fail.Unsupported, op, s.ID, "nothing takes this step back by itself")
	}

	return engine.EncodeError(err)
}

// hands are those of a plan; the caller closes them and the routes.
func (a *Activities) hands(ctx context.Context, c Call, d plan.Definition) (h *steps.Hands, done func(), err error) {
	h = &steps.Hands{To: d.To, Epoch: c.Epoch, Shards: map[targets.ShardID]steps.Shard{}, Defs: map[string]plan.StepDef{}, Given: c.Outs, Vouched: c.Waived}
	done = func() {
		h.Close()
		h.Routes.Close()
	}

	for _, s := range d.Steps {
		h.Defs[s.ID] = s

		if s.Do != plan.OpPromote {
			continue
		}

		if h.Shards[s.On], err = a.shard(ctx, c, d, s); err != nil {
			done()
			return nil, nil, err
		}
	}

	if h.Routes, err = a.routes(ctx, d); err != nil {
		done()
		return nil, nil, err
	}

	if out, ok := c.Outs[planned.RoutesStep(d)]; ok {
		if err := json.Unmarshal(out, &h.Was); err != nil {
			done()
			return nil, nil, fail.New(fail.Corrupt, op, c.Step, "", err)
		}
	}

	if err := a.provable(ctx, h, c, d); err != nil {
		done()
		return nil, nil, err
	}
	h.Newer = func(ctx context.Context) error { return a.newer(ctx, d, c.Epoch) }

	h.InDoubt, h.Resolve = a.resolver().Of(d)

	if d.Mode == plan.ModeFailover {
		h.Line = func(ctx context.Context, id targets.ShardID) (ahead.Line, error) {
			return a.line(ctx, c, d, id)
		}
	}

	if d.Choice != plan.Proven {
		return h, done, nil
	}

	if err := a.laidDown(h, c, d); err != nil {
		done()
		return nil, nil, err
	}

	return h, done, nil
}
