package actions

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"drctl/internal/fail"
	"drctl/internal/stream"
	"drctl/internal/stream/tail"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/restore/losses"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/targets/handover"
)

// comeback is one instance on its way to stand by again.
type comeback struct {
	a     *Activities
	c     Call
	group string
	by    []string // the ways that the plan allows
	req   handover.RejoinRequest
	set   vault.Set // of the region of the present primary first
	sw    handover.Switcher
}

// rejoin makes the side that was left, or that is to take over again, a standby of
// the present primary, by the ways that the plan allows, the cheapest first.
func (a *Activities) rejoin(ctx context.Context, c Call, d plan.Definition, s plan.StepDef) (Done, error) {
	if !s.Kind.Traits().Log {
		return Done{Said: "both sides take writes: there is nothing to follow"}, nil
	}
	// The step's region is where the instance is that comes back.
	old, other := s.Region, d.To
	if old == d.To {
		other = d.From
	}
	b := comeback{a: a, c: c, group: d.Group, by: []string{plan.RejoinAsIs}}

	if s.With.Rejoin != nil && len(s.With.Rejoin.By) > 0 {
		b.by = s.With.Rejoin.By
	}

	var err error
	if b.sw, err = a.switcher(s.Kind); err != nil {
		return Done{}, err
	}

	if b.req.Old, err = a.Platform.Instance(ctx, s.On, old); err != nil {
		return Done{}, err
	}

	if b.req.New, err = a.Platform.Instance(ctx, s.On, other); err != nil {
		return Done{}, err
	}

	if b.set, err = a.vaults(ctx, d.Group, other); err != nil {
		return Done{}, err
	}
	stop, start := a.Platform.Host(s.On, old)
	b.req.Host = handover.HostCommands{Stop: stop, Start: start}
	b.req.MayRewind = slices.Contains(b.by, plan.RejoinRewind)
	b.req.Tail, b.req.Lost = tail.Keeper{Set: b.set, Shard: s.On}, b.lost

	return b.come(ctx)
}

func (b *comeback) come(ctx context.Context) (Done, error) {
	out, err := b.sw.Rejoin(ctx, b.req)

	base := handover.NeedsBase{}
	if !errors.As(err, &base) {
		return came(out, ""), err
	}

	if !slices.Contains(b.by, plan.RejoinRebuild) {
		return Done{}, err
	}

	if !base.Empty {
		return Done{}, b.inTheWay(ctx, err)
	}

	said, err := b.rebuild(ctx)
	if err != nil {
		return Done{}, err
	}
	out, err = b.sw.Rejoin(ctx, b.req)
	out.Method = "rebuilt from the vault"

	return came(out, said), err
}

func came(out handover.Rejoined, said string) Done {
	words := []string{"it came back: " + out.Method}
	for _, k := range out.Kept {
		words = append(words, fmt.Sprintf("its log from %d to %d of %s was kept first", k.From, k.To, k.Timeline))
	}

	if said != "" {
		words = append(words, said)
	}

	return Done{Said: strings.Join(append(words, out.Warnings...), "; ")}
}

// lost keeps what the old side alone has, before it is undone: with the statement of the
// failover that left it, or with this run where none is recorded.
func (b *comeback) lost(ctx context.Context, what handover.Loss) error {
	fork := targets.Position{Kind: b.req.Old.Kind, Timeline: what.Part.Timeline, Offset: what.Part.From}
	id := b.req.Old.Shard

	st, err := losses.At(ctx, b.set, b.group, id, fork)
	if fail.Is(err, fail.NotFound) {
		st, err = losses.Save(ctx, b.set, losses.Statement{Run: b.c.Run + "-" + id.Target + "-" + id.Shard, Group: b.group, From: b.req.Old.Region, To: b.req.New.Region,
			Shards: []losses.Shard{{Shard: id, Kind: b.req.Old.Kind, Fork: fork, Verdict: losses.Unknown}}, Notes: []string{"no failover is recorded that left this log"}})
	}

	if err != nil {
		return err
	}

	return losses.SaveReading(ctx, b.set, b.group, losses.Reading{Run: st.Run, Shard: id, By: b.c.By, Loss: what})
}

// inTheWay says how to have an instance rebuilt whose directory still has something. What
// can be read of its log is kept first: it may be what was lost.
func (b *comeback) inTheWay(ctx context.Context, why error) error {
	dir, kept := filepath.Clean(b.req.Old.DataDir), "what it has alone could not be read: see it before you delete it"

	if teller, ok := b.sw.(handover.LossTeller); ok {
		if fork, err := b.fork(ctx); err == nil {
			what, err := teller.Lost(ctx, handover.LossRequest{Old: b.req.Old, New: b.req.New, Fork: fork, Tail: b.req.Tail})
			if err == nil {
				err = b.lost(ctx, what)
			}

			if err == nil {
				kept = "what it has alone was kept: drctl recovery loss --group " + b.group
			}
		}
	}

	return fail.New(fail.Conflict, op, b.req.Old.String(), fmt.Sprintf("mv %s %s && %s", shellQuote(dir), shellQuote(dir+".left"), b.again()),
		fmt.Errorf("it has to be rebuilt from the vault, and its directory is not empty; nothing here deletes it, and %s: %w", kept, why))
}

// again is the command by which it is tried again.
func (b *comeback) again() string {
	return fmt.Sprintf("drctl failback run --group %s --from %s --to %s", b.group, b.req.New.Region, b.req.Old.Region)
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// fork is where the last failover that is recorded left the old side.
func (b *comeback) fork(ctx context.Context) (targets.Position, error) {
	runs, err := losses.Runs(ctx, b.set, b.group)
	if err != nil {
		return targets.Position{}, err
	}

	for _, run := range slices.Backward(runs) {
		st, err := losses.Load(ctx, b.set, b.group, run)
		if err != nil {
			return targets.Position{}, err
		}

		for _, s := range st.Shards {
			if s.Shard == b.req.Old.Shard && st.From == b.req.Old.Region {
				return s.Fork, nil
			}
		}
	}

	return targets.Position{}, fail.Newf(fail.NotFound, op, b.req.Old.String(), "no failover is recorded that left it")
}

// rebuild lays the instance down from a vault, with all the log that it has of the
// present primary.
func (b *comeback) rebuild(ctx context.Context) (string, error) {
	r, ok := b.sw.(handover.Rebuilder)
	if !ok {
		return "", fail.New(fail.Unsupported, op, b.req.Old.String(), "build it anew from its primary", errors.New("stores of this kind are not rebuilt as standbys"))
	}

	// Which timeline is the present one the primary itself says.
	driver, err := b.a.driver(b.req.New.Kind)
	if err != nil {
		return "", err
	}

	now, err := driver.Reach(ctx, b.req.New)
	if err != nil {
		return "", err
	}

	var errs []error

	for _, v := range b.set.Vaults {
		lead, at, err := b.lead(ctx, v, now.Position)
		if err != nil {
			errs = append(errs, err)
			continue
		}

		dir := filepath.Clean(b.req.Old.DataDir)

		found, err := r.LayDown(ctx, b.req.Old, targets.RestoreRequest{Base: lead.Base, Point: at, Path: lead.Spans, WorkDir: dir + ".drctl"}, stream.NewSource(v, b.req.Old.Shard))
		if err != nil {
			return "", err
		}

		said := fmt.Sprintf("base %s of the vault of %s; its settings are those of that base's server, with its own port: look at them", lead.Base.ID, v.Region())
		for _, f := range found {
			said += "; " + f.Detail
		}

		return said, nil
	}

	return "", fail.New(fail.CodeOf(errs[0]), op, b.req.Old.String(), "take a base of the present primary, then run it again: drctl backup now --group "+b.group+" && "+b.again(),
		fmt.Errorf("no vault leads to the present primary: %w", errors.Join(errs...)))
}

// lead finds the base and the log that lead to the end of the primary's log in a vault.
func (b *comeback) lead(ctx context.Context, v *vault.Vault, now targets.Position) (stream.Lead, targets.Position, error) {
	id := b.req.Old.Shard

	ls, err := stream.Outline(ctx, v, id)
	if err != nil {
		return stream.Lead{}, targets.Position{}, err
	}

	l := timeline.Find(ls, now.Timeline)
	if l == nil {
		return stream.Lead{}, targets.Position{}, fail.Newf(fail.NotFound, op, id.String(), "the vault of %s has no log of timeline %s, which the primary writes", v.Region(), now.Timeline)
	}
	at := targets.Position{Kind: now.Kind, Timeline: l.ID, Offset: l.Tip()}

	lead, err := stream.NewTrail(v, id).To(ctx, at)
	if err == nil && !lead.Held() {
		err = fail.Newf(fail.NotFound, op, id.String(), "no base of the vault of %s leads to %s: %s", v.Region(), at, lead.Why)
	}

	return lead, at, err
}
