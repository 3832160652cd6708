package comeback

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"drctl/internal/fail"
	"drctl/internal/stream"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/restore/losses"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/targets/handover"
)

const op = "recovery plan"

// Side is one instance on its way to stand by again.
type Side struct {
	Run, By, Group string
	// Ways are those that the plan allows.
	Ways []string
	Req  handover.RejoinRequest
	// Set are the vaults, that of the region of the present primary first.
	Set      vault.Set
	Switcher handover.Switcher
	// Driver is that of the store.
	Driver targets.Driver
}

// Come makes it a standby and says in words what was done. It may be repeated.
func (b *Side) Come(ctx context.Context) (string, error) {
	out, err := b.Switcher.Rejoin(ctx, b.Req)

	base := handover.NeedsBase{}
	if !errors.As(err, &base) {
		return came(out, ""), err
	}

	if !slices.Contains(b.Ways, plan.RejoinRebuild) {
		return "", err
	}

	if !base.Empty {
		return "", b.inTheWay(ctx, err)
	}

	said, err := b.rebuild(ctx)
	if err != nil {
		return "", err
	}
	out, err = b.Switcher.Rejoin(ctx, b.Req)
	out.Method = "rebuilt from the vault"

	return came(out, said), err
}

func came(out handover.Rejoined, said string) string {
	words := []string{"it came back: " + out.Method}
	for _, k := range out.Kept {
		words = append(words, fmt.Sprintf("its log from %d to %d of %s was kept first", k.From, k.To, k.Timeline))
	}

	if said != "" {
		words = append(words, said)
	}

	return strings.Join(append(words, out.Warnings...), "; ")
}

// Lost keeps what the old side alone has, before it is undone: with the statement of the
// failover that left it, or with this run where none is recorded.
func (b *Side) Lost(ctx context.Context, what handover.Loss) error {
	fork := targets.Position{Kind: b.Req.Old.Kind, Timeline: what.Part.Timeline, Offset: what.Part.From}
	id := b.Req.Old.Shard

	st, err := losses.At(ctx, b.Set, b.Group, id, fork)
	if fail.Is(err, fail.NotFound) {
		st, err = losses.Save(ctx, b.Set, losses.Statement{Run: b.Run + "-" + id.Target + "-" + id.Shard, Group: b.Group, From: b.Req.Old.Region, To: b.Req.New.Region,
			Shards: []losses.Shard{{Shard: id, Kind: b.Req.Old.Kind, Fork: fork, Verdict: losses.Unknown}}, Notes: []string{"no failover is recorded that left this log"}})
	}

	if err != nil {
		return err
	}

	return losses.SaveReading(ctx, b.Set, b.Group, losses.Reading{Run: st.Run, Shard: id, By: b.By, Loss: what})
}

// inTheWay says how to have an instance rebuilt whose directory still has something. What
// can be read of its log is kept first: it may be what was lost.
func (b *Side) inTheWay(ctx context.Context, why error) error {
	dir, kept := filepath.Clean(b.Req.Old.DataDir), "what it has alone could not be read: see it before you delete it"

	if teller, ok := b.Switcher.(handover.LossTeller); ok {
		if fork, err := b.fork(ctx); err == nil {
			what, err := teller.Lost(ctx, handover.LossRequest{Old: b.Req.Old, New: b.Req.New, Fork: fork, Tail: b.Req.Tail})
			if err == nil {
				err = b.Lost(ctx, what)
			}

			if err == nil {
				kept = "what it has alone was kept: drctl recovery loss --group " + b.Group
			}
		}
	}

	return fail.New(fail.Conflict, op, b.Req.Old.String(), fmt.Sprintf("mv %s %s && %s", shellQuote(dir), shellQuote(dir+".left"), b.again()),
		fmt.Errorf("it has to be rebuilt from the vault, and its directory is not empty; nothing here deletes it, and %s: %w", kept, why))
}

// again is the command by which it is tried again.
func (b *Side) again() string {
	return fmt.Sprintf("drctl failback run --group %s --from %s --to %s", b.Group, b.Req.New.Region, b.Req.Old.Region)
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// fork is where the last failover that is recorded left the old side.
func (b *Side) fork(ctx context.Context) (targets.Position, error) {
	runs, err := losses.Runs(ctx, b.Set, b.Group)
	if err != nil {
		return targets.Position{}, err
	}

	for _, run := range slices.Backward(runs) {
		st, err := losses.Load(ctx, b.Set, b.Group, run)
		if err != nil {
			return targets.Position{}, err
		}

		for _, s := range st.Shards {
			if s.Shard == b.Req.Old.Shard && st.From == b.Req.Old.Region {
				return s.Fork, nil
			}
		}
	}

	return targets.Position{}, fail.Newf(fail.NotFound, op, b.Req.Old.String(), "no failover is recorded that left it")
}

// rebuild lays the instance down from a vault, with all the log that it has of the
// present primary.
func (b *Side) rebuild(ctx context.Context) (string, error) {
	r, ok := b.Switcher.(handover.Rebuilder)
	if !ok {
		return "", fail.New(fail.Unsupported, op, b.Req.Old.String(), "build it anew from its primary", errors.New("stores of this kind are not rebuilt as standbys"))
	}

	// Which timeline is the present one the primary itself says.
	now, err := b.Driver.Reach(ctx, b.Req.New)
	if err != nil {
		return "", err
	}

	var errs []error

	for _, v := range b.Set.Vaults {
		lead, at, err := b.lead(ctx, v, now.Position)
		if err != nil {
			errs = append(errs, err)
			continue
		}

		dir := filepath.Clean(b.Req.Old.DataDir)

		found, err := r.LayDown(ctx, b.Req.Old, targets.RestoreRequest{Base: lead.Base, Point: at, Path: lead.Spans, WorkDir: dir + ".drctl"}, stream.NewSource(v, b.Req.Old.Shard))
		if err != nil {
			return "", err
		}

		said := fmt.Sprintf("base %s of the vault of %s; its settings are those of that base's server, with its own port: look at them", lead.Base.ID, v.Region())
		for _, f := range found {
			said += "; " + f.Detail
		}

		return said, nil
	}

	return "", fail.New(fail.CodeOf(errs[0]), op, b.Req.Old.String(), "take a base of the present primary, then run it again: drctl backup now --group "+b.Group+" && "+b.again(),
		fmt.Errorf("no vault leads to the present primary: %w", errors.Join(errs...)))
}

// lead finds the base and the log that lead to the end of the primary's log in a vault.
func (b *Side) lead(ctx context.Context, v *vault.Vault, now targets.Position) (stream.Lead, targets.Position, error) {
	id := b.Req.Old.Shard

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
