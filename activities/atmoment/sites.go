package atmoment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"

	"drctl/activities/inplace"
	"drctl/activities/onhost"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/restore/ahead"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/targets/handover"
)

// Resolver is what can be reached.
type Resolver interface {
	platform.Resolver
	// Host is how the server of an instance is stopped and started; zero is by hand.
	Host(shard targets.ShardID, region string) (stop, start []string)
}

// Restore lays one shard of a restore down, as drctl restore run does. It is called within an activity.
type Restore func(ctx context.Context, run plan.Carried, step string) (plan.StepOut, error)

// Sites are the places of a plan's shards, as a worker on one host sees them.
type Sites struct {
	Place
	Hosts   Resolver
	Drivers map[targets.Kind]targets.Driver
	Host    string // the worker's
	Restore Restore
}

// site is the place of a shard in the region that takes over.
func (a Sites) site(ctx context.Context, run string, d plan.Definition, s plan.StepDef) (inplace.Site, targets.Driver, error) {
	in, err := a.Hosts.Instance(ctx, s.On, d.To)
	if err != nil {
		return inplace.Site{}, nil, err
	}
	driver := a.Drivers[in.Kind]

	r, ok := driver.(handover.Replacing)
	if !ok {
		return inplace.Site{}, nil, fail.New(fail.Unsupported, op, in.String(), "name an empty destination, and restore it there: drctl restore run --into instances", fmt.Errorf("nothing takes the place of a standby of kind %s", in.Kind))
	}

	if in.DataDir == "" {
		return inplace.Site{}, nil, fail.Newf(fail.Invalid, op, in.String(), "its data_dir is not configured")
	}

	if err := onhost.Beside(a.Host, in); err != nil {
		return inplace.Site{}, nil, err
	}
	stop, start := a.Hosts.Host(s.On, d.To)

	return inplace.Site{Run: run, In: in, Into: s.Into, Host: handover.HostCommands{Stop: stop, Start: start}, Does: r.Replacer()}, driver, nil
}

// step is the step of a restore by which a shard comes back.
func step(r plan.Run, id targets.ShardID) (plan.Step, error) {
	for _, s := range r.Steps {
		if s.Op == plan.OpRestore && s.Shard == id {
			return s, nil
		}
	}

	return plan.Step{}, fail.Newf(fail.NotFound, op, id.String(), "the moment does not have the shard")
}

// needs is how much room a restore takes, in bytes.
func needs(s plan.Step) int64 { return s.BaseBytes + s.StreamBytes }

// Check says whether a shard can be laid down in its place. It is asked while nothing is touched.
func (a Sites) Check(ctx context.Context, run string, d plan.Definition, s plan.StepDef) (said string, err error) {
	site, driver, err := a.site(ctx, run, d, s)
	if err != nil {
		return "", err
	}

	_, r, err := a.Read(ctx, d, run, Foreseen)
	if err != nil {
		return "", err
	}

	back, err := step(r, s.On)
	if err != nil {
		return "", err
	}

	if err := current(ctx, driver, site.In, back.Point); err != nil {
		return "", err
	}

	if f, ok := driver.(targets.Fitter); ok {
		if err := f.Fits(ctx, back.Base); err != nil {
			return "", err
		}
	}

	return site.Check(ctx, a.together(ctx, d, r, s))
}

// together is how much room is taken by all shards that are laid down on the volume of one: each has room alone
// where there is not enough for all.
func (a Sites) together(ctx context.Context, d plan.Definition, r plan.Run, s plan.StepDef) (need int64) {
	for _, x := range d.Steps {
		if x.Do != plan.OpRestore || x.On != s.On && !a.sameVolume(ctx, d, x, s) {
			continue
		}

		if back, err := step(r, x.On); err == nil {
			need += needs(back)
		}
	}

	return need
}

// sameVolume reports whether two shards are laid down on one volume of this host.
func (a Sites) sameVolume(ctx context.Context, d plan.Definition, x, y plan.StepDef) bool {
	in, err := a.Hosts.Instance(ctx, x.On, d.To)
	if err != nil || onhost.Beside(a.Host, in) != nil {
		return false
	}

	var one, other syscall.Stat_t
	if errors.Join(syscall.Stat(filepath.Dir(filepath.Clean(x.Into.DataDir)), &one), syscall.Stat(filepath.Dir(filepath.Clean(y.Into.DataDir)), &other)) != nil {
		return false
	}

	return one.Dev == other.Dev
}

// Lay lays a shard down at the run's moment, in the place of its standby. silent is asked before
// anything is touched.
func (a Sites) Lay(ctx context.Context, run string, d plan.Definition, s plan.StepDef, silent func() error) (out Laid, err error) {
	if !s.Kind.Traits().Log || a.Restore == nil {
		return out, fail.New(fail.Unsupported, op, s.ID, "restore it with: drctl restore run --into instances", fmt.Errorf("nothing lays a shard of kind %s down in a failover", s.Kind))
	}

	site, driver, err := a.site(ctx, run, d, s)
	if err != nil {
		return out, err
	}

	b, r, err := a.Read(ctx, d, run, Settled)
	if err != nil {
		return out, err
	}

	back, err := step(r, s.On)
	if err != nil {
		return out, err
	}

	if err := errors.Join(silent(), current(ctx, driver, site.In, back.Point)); err != nil {
		return out, err
	}

	if _, err := site.Clear(ctx, needs(back)); err != nil {
		return out, err
	}

	n, err := site.Lay(ctx, back.Base, func(ctx context.Context) (plan.StepOut, error) { return a.Restore(ctx, b.Restore, back.ID) })
	if err != nil {
		return out, err
	}

	out = b.Given(back, n.Standing.At)
	out.Bytes = needs(back)

	if n.Place.Dir == n.Standing.Dir {
		out.Kept, out.Host = n.Place.Kept, site.In.Host
	}

	for _, f := range n.Out.Findings {
		switch {
		case f.Check != targets.CheckPrepared:
		case f.Severity == targets.Passed:
			out.Ended = append(out.Ended, f.Got+": "+f.Detail)
		default:
			out.InDoubt = append(out.InDoubt, f.Detail)
		}
	}

	return out, nil
}

// Back gives a standby its place back.
func (a Sites) Back(ctx context.Context, run string, d plan.Definition, s plan.StepDef) error {
	site, _, err := a.site(ctx, run, d, s)
	if err != nil {
		return err
	}

	return site.Back(ctx)
}

// Wake starts the server of a shard that was laid down, on this host.
func (a Sites) Wake(ctx context.Context, run string, d plan.Definition, id targets.ShardID) error {
	for _, s := range d.Steps {
		if s.Do != plan.OpRestore || s.On != id {
			continue
		}

		site, _, err := a.site(ctx, run, d, s)
		if err != nil {
			return err
		}

		return site.Wake(ctx)
	}

	return fail.Newf(fail.NotFound, op, id.String(), "the plan lays no such shard down")
}

// WakeAnywhere is Wake by a worker of the shard's host. call says to that worker which run is meant.
func (a Sites) WakeAnywhere(ctx context.Context, run string, call json.RawMessage, d plan.Definition, id targets.ShardID) error {
	in, err := a.Hosts.Instance(ctx, id, d.To)
	if err != nil {
		return err
	}

	if onhost.Beside(a.Host, in) == nil {
		return a.Wake(ctx, run, d, id)
	}

	g, err := a.Hosts.Group(d.Group)
	if err != nil {
		return err
	}

	return onhost.Switch{By: onhost.Engine{}, To: onhost.Ask{Place: platform.Place{Region: in.Region, Host: in.Host},
		Queue: platform.Queue(g.Queue(in.Region), in.Host, platform.Base), Shard: id, Kind: in.Kind, Call: call}}.Wake(ctx)
}

// Line is the line of a shard's old side by the vault: the new one does not run yet.
func (a Sites) Line(ctx context.Context, d plan.Definition, id targets.ShardID, k targets.Kind) (ahead.Line, error) {
	v, err := a.Hosts.Vault(ctx, d.To)
	if err != nil {
		return ahead.Line{}, err
	}

	return ahead.End(ctx, v, id, k)
}

// Points are where the shards of a plan were laid down to, by what the steps have returned.
func Points(d plan.Definition, outs map[string]json.RawMessage) (map[targets.ShardID]targets.Position, error) {
	all := map[targets.ShardID]targets.Position{}

	for _, s := range d.Steps {
		if s.Do != plan.OpRestore || !s.Kind.Traits().Log {
			continue
		}

		var laid Laid
		if err := json.Unmarshal(outs[s.ID], &laid); err != nil {
			return nil, fail.New(fail.Conflict, op, s.ID, "", fmt.Errorf("what it has laid down is not known: %w", err))
		}
		all[s.On] = laid.Point
	}

	return all, nil
}
