package upkeep

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/platform"
	"drctl/internal/stream"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

// Removal asks for one base to be removed.
type Removal struct {
	Shard targets.ShardID `json:"shard"`
	// Base names it with its snapshots, so that a repeat finishes what broke off
	// after the record had gone.
	Base vault.BaseRef `json:"base"`
	// Force removes it though sealed cuts or the policy's window need it. A shard's
	// last base stays.
	Force bool `json:"force,omitempty"`
}

// Loss is what can no longer be recovered from a vault without a base.
type Loss struct {
	// Cuts are the sealed cuts, of every group, that no other base leads to.
	Cuts []vault.CutRef `json:"cuts"`
	// From and Until bound the instants within the policy's window that no other
	// base leads to; zero when there are none. Until is zero too when the instants
	// go on until now.
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`
}

// Any reports whether anything is lost.
func (l Loss) Any() bool { return len(l.Cuts) > 0 || !l.From.IsZero() }

// String says it in a line: "cut a, b and 3 more, and the instants from x until y".
func (l Loss) String() string {
	const most = 3

	var parts []string
	if len(l.Cuts) > 0 {
		var ids []string
		for _, c := range l.Cuts[:min(len(l.Cuts), most)] {
			ids = append(ids, c.ID)
		}
		s := "cut " + strings.Join(ids, ", ")

		if n := len(l.Cuts) - most; n > 0 {
			s += fmt.Sprintf(" and %d more", n)
		}
		parts = append(parts, s)
	}

	if !l.From.IsZero() {
		until := "now"
		if !l.Until.IsZero() {
			until = l.Until.UTC().Format(time.RFC3339)
		}
		parts = append(parts, "the instants from "+l.From.UTC().Format(time.RFC3339)+" until "+until)
	}

	return strings.Join(parts, ", and ")
}

// LookAtRemoval finds a base in any of the group's vaults and asks every one of
// them what its removal would do, before anything is removed from any. The error
// joins why vaults refuse it; what would be lost is told all the same.
func LookAtRemoval(ctx context.Context, p platform.Resolver, g platform.Group, id string, force bool) (r Removal, lost Loss, would []Retention, err error) {
	var vs []*vault.Vault

	var missing error
	for _, region := range g.Policy.Vaults {
		v, err := p.Vault(ctx, region)
		if err != nil {
			return r, lost, nil, err
		}
		vs = append(vs, v)

		b, err := FindBase(ctx, v, g, id)
		switch {
		case err == nil:
			r = Removal{Shard: b.Shard, Base: vault.BaseRef{ID: b.ID, Snapshots: vault.SnapshotsOf(b)}, Force: force}
		case fail.Is(err, fail.NotFound):
			missing = err
		default:
			return r, lost, nil, err
		}
	}

	if r.Base.ID == "" {
		return r, lost, nil, missing
	}

	now := time.Now().UTC()
	lost.Cuts = []vault.CutRef{}

	var refused []error
	for _, v := range vs {
		_, here, err := without(ctx, v, g, r, now)
		if err != nil {
			return r, lost, nil, err
		}

		for _, c := range here.Cuts {
			if !slices.Contains(lost.Cuts, c) {
				lost.Cuts = append(lost.Cuts, c)
			}
		}

		if lost.From.IsZero() {
			lost.From, lost.Until = here.From, here.Until
		}
		out, err := RemoveBase(ctx, v, g, r, now, true)
		would, refused = append(would, out), append(refused, err)
	}

	return r, lost, would, errors.Join(refused...)
}

// FindBase finds a base of a group's shards in a vault by its id; fail.NotFound
// when there is none, with the ids that are like it.
func FindBase(ctx context.Context, v *vault.Vault, g platform.Group, id string) (targets.Artifact, error) {
	var damaged error

	var ids []string
	for _, s := range g.Shards {
		bases, err := v.Bases(ctx, s.Shard)

		damaged = errors.Join(damaged, err)

		if i := slices.IndexFunc(bases, func(b targets.Artifact) bool { return b.ID == id }); i >= 0 {
			return bases[i], nil
		}

		for _, b := range bases {
			ids = append(ids, b.ID)
		}
	}

	if damaged != nil {
		return targets.Artifact{}, damaged
	}

	return targets.Artifact{}, fail.New(fail.NotFound, "backup", "", cmp.Or(human.Meant(id, ids), "list them with: drctl backup list"),
		fmt.Errorf("there is no base %s in the vault of %s", id, v.Region()))
}

// without returns the shard's other bases in the vault, and what is lost when the
// one that is to go is gone. It fails on any damaged record: it must not decide on
// half of what there is.
func without(ctx context.Context, v *vault.Vault, g platform.Group, r Removal, now time.Time) (others []targets.Artifact, lost Loss, err error) {
	bases, err := v.Bases(ctx, r.Shard)
	if err != nil {
		return nil, lost, err
	}

	ls, err := stream.Load(ctx, v, r.Shard)
	if err != nil {
		return nil, lost, err
	}

	groups, err := v.Groups(ctx)
	if err != nil {
		return nil, lost, err
	}

	is := func(b targets.Artifact) bool { return b.ID == r.Base.ID }
	others = slices.DeleteFunc(slices.Clone(bases), is)
	good, _ := usable(ls, bases, "")
	rest := slices.DeleteFunc(slices.Clone(good), is)

	i := slices.IndexFunc(good, is)
	if i < 0 { // it is not here, or was never of use
		return others, lost, nil
	}
	b := good[i]
	// A log that is not all here yet counts for the base that goes, and not for the
	// others: what is in doubt is kept.
	another := func(to targets.Position) bool {
		return slices.ContainsFunc(rest, func(o targets.Artifact) bool { return leadsTo(ls, o, to) })
	}

	for _, name := range groups {
		cuts, err := v.Cuts(ctx, name)
		if err != nil {
			return nil, lost, err
		}

		for _, c := range cuts {
			p, ok := c.Point(r.Shard)
			if ok && oldestBase(ls, []targets.Artifact{b}, p.Position) == 0 && !another(p.Position) {
				lost.Cuts = append(lost.Cuts, vault.CutRef{Group: name, ID: c.ID})
			}
		}
	}

	if !another(b.Until) {
		lost.From, lost.Until = window(b, rest, now.Add(-g.Policy.Retention.KeepBasesFor))
	}

	return others, lost, nil
}

// window is from when until when only the base leads to the instants that the
// policy keeps, which begin with since: until the next base was finished.
func window(b targets.Artifact, rest []targets.Artifact, since time.Time) (from, until time.Time) {
	for _, o := range rest { // by the time of their end
		if o.Finished.After(b.Finished) {
			until = o.Finished
			break
		}
	}

	if !until.IsZero() && !until.After(since) {
		return time.Time{}, time.Time{}
	}

	if from = b.Finished; from.Before(since) {
		from = since
	}

	return from, until
}

// leadsTo reports whether the log leads from the base, which is whole by then, to
// the position.
func leadsTo(ls []timeline.Timeline, b targets.Artifact, to targets.Position) bool {
	_, from := timeline.Path(ls, b.From, to)
	_, until := timeline.Path(ls, b.Until, to)

	return from == nil && until == nil
}

// RemoveBase removes one base from a vault, through the vault's retention, and keeps
// a report of it there. One that is not there any more is no error. It refuses
// (fail.Conflict) the last base of a shard, and one that sealed cuts or the policy's
// window need unless the removal is forced. It must not run while a base of the
// shard is taken.
func RemoveBase(ctx context.Context, v *vault.Vault, g platform.Group, r Removal, now time.Time, dry bool) (Retention, error) {
	const op = "backup: remove base"
	out := Retention{Region: v.Region()}
	subject := r.Base.ID + " from the vault of " + v.Region()

	_, err := v.Base(ctx, r.Shard, r.Base.ID)

	here := err == nil
	if err != nil && !fail.Is(err, fail.NotFound) {
		return out, err
	}

	others, lost, err := without(ctx, v, g, r, now)
	if err != nil {
		return out, err
	}

	switch {
	case len(others) == 0 && !here:
		return out, nil
	case len(others) == 0:
		return out, fail.New(fail.Conflict, op, subject, "take another first: drctl backup now --shard "+r.Shard.String(), errors.New("it is the last base of "+r.Shard.String()))
	case lost.Any() && !r.Force:
		return out, fail.New(fail.Conflict, op, subject, "to give them up repeat it with --force "+r.Base.ID, fmt.Errorf("no other base leads to %s", lost))
	}

	shard := vault.ShardRetention{Shard: r.Shard, Bases: []vault.BaseRef{r.Base}}
	for _, b := range others {
		shard.KeptBases = append(shard.KeptBases, vault.BaseRef{ID: b.ID, Snapshots: vault.SnapshotsOf(b)})
	}
	// The policy is the default one: a base in the making is left, and packs are
	// rewritten as by the daily retention.
	out.Plan = vault.RetentionPlan{Made: now.UTC(), Policy: vault.RetentionPolicy{Grace: 24 * time.Hour, MaxUnused: "20%"}, Shards: []vault.ShardRetention{shard}}
	if here {
		out.Bases = 1
	}

	var rerr error

	out.Result, rerr = v.Retain(ctx, out.Plan, vault.RetainOptions{DryRun: dry})
	if dry {
		return out, rerr
	}

	if rerr != nil {
		out.Error = rerr.Error()
	}
	// Not an id of the daily retention's reports, whose errors this must not hide.
	out.Report = targets.IDTime(now) + "-" + g.Name + "-base-" + r.Base.ID
	_, serr := (vault.Set{Vaults: []*vault.Vault{v}}).SaveReport(ctx, RetentionReports, out.Report, out)

	return out, errors.Join(rerr, serr)
}
