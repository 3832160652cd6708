package recovery

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"drctl/internal/fail"
	"drctl/internal/timeline"
	"drctl/restore/plan"
	"drctl/targets"
)

const opPlan = "restore: plan"

// ShardInventory is what a vault holds of one shard.
type ShardInventory struct {
	Shard     targets.ShardID
	Kind      targets.Kind
	Bases     []targets.Artifact
	Timelines []timeline.Timeline
	Manifests []Manifest // object stores
	// NoBase says why no base leads to the goal's cut, when that is known and
	// the bases are not listed.
	NoBase string
	// At is where the log stood at the goal's instant, found by reading the
	// stream's time marks (Redis); only for goals with At. NotAt says why the
	// archive cannot tell.
	At    targets.Position
	NotAt error
}

// Manifest is one stored object snapshot.
type Manifest struct {
	AsOf time.Time
	// OrBefore says that the vault only knows when the snapshot was stored: it
	// holds a state of AsOf or of some time before.
	OrBefore bool
	SHA256   string
}

// Inventory is what a vault holds of a group.
type Inventory struct {
	Vault  string
	Cuts   []targets.Cut // sealed ones only
	Shards []ShardInventory
	// Damaged says what could not be read; a plan that needs it will fail.
	Damaged []string
}

// Build plans a goal: it derives its definition and binds that to the inventory.
// It is pure.
//
// Errors: invalid for a contradictory goal; not-found when there is no such cut,
// or when no base and unbroken stream lead to it on a shard. It then says why of
// every base that it tried.
func Build(goal plan.Goal, mode plan.Mode, inv Inventory, now time.Time) (plan.Run, error) {
	const op = opPlan
	if (goal.Cut == "") == goal.At.IsZero() {
		return plan.Run{}, fail.Newf(fail.Invalid, op, goal.Group, "a goal names either a cut or an instant")
	}

	run := plan.Run{ID: "restore-" + goal.Group + "-" + now.UTC().Format("20060102T150405.000"), Goal: goal, Created: now.UTC()}
	if goal.Cut != "" {
		cut, err := pickCut(goal, inv)
		if err != nil {
			return plan.Run{}, err
		}
		run.Cut = cut

		for _, a := range cut.Without {
			run.Warnings = append(run.Warnings, fmt.Sprintf("%s is not in the cut, and not restored: %s", a.Shard, a.Why))
		}
	} else {
		if goal.At.After(now.Add(ClockAllowance)) {
			return plan.Run{}, fail.New(fail.NotFound, op, goal.Group, "choose an instant in the past, or a named cut (drctl cut list)",
				fmt.Errorf("the instant %s is still to come", goal.At.UTC().Format(time.RFC3339)))
		}
		run.Warnings = append(run.Warnings, "a wall-clock instant is not consistent across shards; only a cut is")
	}

	shards, err := chosen(goal, inv, run.Cut)
	if err != nil {
		return plan.Run{}, err
	}
	members := make([]Member, len(shards))

	byShard := make(map[targets.ShardID]ShardInventory, len(shards))
	for i, sh := range shards {
		members[i], byShard[sh.Shard] = Member{sh.Shard, sh.Kind}, sh
	}

	points := targets.PointsByShard([]targets.Cut{run.Cut})
	cuts := sync.OnceValue(func() map[targets.ShardID][]targets.CutPoint { return targets.PointsByShard(inv.Cuts) })
	restores := make(map[targets.ShardID]plan.Step, len(shards))

	def, err := Define(goal, mode, members)
	errs := []error{err}
	run.Definition = def.Hash()

	for _, d := range def.Steps {
		sh := byShard[d.On]
		if d.Do == plan.OpVerify {
			run.Steps = append(run.Steps, verifyStep(d, points[d.On], restores[d.On], &run))
			continue
		}

		s, err := restoreStep(d, goal, sh, run.Cut.ID, points[d.On], cuts)
		if err != nil {
			errs = append(errs, err)
			continue
		}

		if sh.Kind.Traits().Manifest && !(goal.At.IsZero() && goal.Moment.IsZero()) {
			run.Warnings = append(run.Warnings, fmt.Sprintf("%s: the newest snapshot of objects at or before the instant is of %s%s", sh.Shard,
				s.Point.AsOf.UTC().Format(time.RFC3339), orBefore(sh, s.Point)))
		}

		if warning, ok := tooManyPrepared(s); ok {
			run.Warnings = append(run.Warnings, warning)
		}
		run.Steps = append(run.Steps, s)
		restores[s.Shard] = s
	}

	if err := errors.Join(errs...); err != nil {
		hint := "try an older cut (drctl cut list), another region's vault (--vault), or take a new base (drctl backup now)"
		if !goal.At.IsZero() {
			hint = "choose an earlier instant, a named cut (drctl cut list), or another region's vault (--vault)"
		}
		first := slices.IndexFunc(errs, func(err error) bool { return err != nil })

		return plan.Run{}, fail.New(fail.CodeOf(errs[first]), op, goal.Group+" from the vault of "+inv.Vault, hint, err)
	}

	run.Hash = run.Sum()

	return run, nil
}

// verifyStep binds a verification to the point that its shard is restored to. The
// plan and the checks say what the cut lacks of the shard.
func verifyStep(d plan.StepDef, at []targets.CutPoint, of plan.Step, run *plan.Run) plan.Step {
	var warnings []string
	if len(at) > 0 {
		warnings = at[0].Warnings
	}

	for _, w := range warnings {
		run.Warnings = append(run.Warnings, d.On.String()+": "+w)
	}

	return plan.Step{ID: d.ID, Op: d.Do, Shard: d.On, Kind: d.Kind, Needs: d.Needs, Into: d.Into,
		Point: of.Point, Until: of.Until, InDoubt: of.InDoubt, InDoubtSince: of.InDoubtSince, Limit: d.Limit, Warnings: warnings}
}

func pickCut(goal plan.Goal, inv Inventory) (targets.Cut, error) {
	var best targets.Cut
	for _, c := range inv.Cuts {
		if c.Group != goal.Group || c.SealedAt.IsZero() && goal.Moment.IsZero() {
			continue
		}

		if goal.Cut == c.ID || goal.Cut == plan.Latest && c.ID > best.ID && !c.Partial() {
			best = c
		}
	}

	if best.ID == "" {
		hint := "take one with: drctl cut now --group " + goal.Group
		if goal.Cut != plan.Latest {
			hint = "list the sealed cuts with: drctl cut list --group " + goal.Group
		}

		return best, fail.New(fail.NotFound, opPlan, goal.Group, hint,
			fmt.Errorf("the vault of %s holds no sealed cut %q of this group", inv.Vault, goal.Cut))
	}

	return best, nil
}

// chosen returns the inventories of the goal's shards, sorted.
func chosen(goal plan.Goal, inv Inventory, cut targets.Cut) ([]ShardInventory, error) {
	want := slices.Clone(goal.Shards)
	if len(want) == 0 {
		for _, p := range cut.Shards {
			want = append(want, p.Shard)
		}

		if cut.ID == "" {
			for _, s := range inv.Shards {
				want = append(want, s.Shard)
			}
		}
	}

	slices.SortFunc(want, targets.ShardID.Compare)
	want = slices.Compact(want)

	index := make(map[targets.ShardID]int, len(inv.Shards))
	for i := range inv.Shards {
		index[inv.Shards[i].Shard] = i
	}

	var out []ShardInventory
	for _, id := range want {
		i, ok := index[id]
		if !ok {
			return nil, fail.Newf(fail.NotFound, opPlan, id.String(), "the vault of %s holds nothing of this shard", inv.Vault)
		}
		out = append(out, inv.Shards[i])
	}

	if len(out) == 0 {
		return nil, fail.Newf(fail.NotFound, opPlan, goal.Group, "no shards to restore")
	}

	return out, nil
}

// restoreStep binds a restore to the shard's point in the cut, or to the instant of the goal. Cuts are what
// all cuts have of each shard.
func restoreStep(d plan.StepDef, goal plan.Goal, sh ShardInventory, cut string, at []targets.CutPoint, cuts func() map[targets.ShardID][]targets.CutPoint) (s plan.Step, err error) {
	switch {
	case cut != "":
		if len(at) == 0 {
			return s, fail.Newf(fail.NotFound, opPlan, sh.Shard.String(), "cut %s has no point for this shard", cut)
		}

		p := *at[0].ShardPoint
		if sh.Kind.Traits().Manifest && !goal.Moment.IsZero() && p.Position.Manifest == "" {
			p.Position, err = pointAt(p.Position.AsOf, sh)
		}

		if err == nil {
			s, err = stepTo(sh, p.Position, time.Time{})
		}
		s.InDoubt, s.InDoubtSince = p.InDoubt, p.InDoubtSince
	case sh.Kind.Traits().DatedLog:
		s, err = baseForInstant(sh, cuts()[sh.Shard], goal.At)
	default:
		var at targets.Position
		if at, err = pointAt(goal.At, sh); err == nil {
			s, err = stepTo(sh, at, goal.At)
		}
	}
	s.ID, s.Op, s.Shard, s.Kind, s.Needs, s.Limit = d.ID, d.Do, d.On, d.Kind, d.Needs, d.Limit

	s.Into, s.Until = d.Into, goal.At
	if sh.Kind.Traits().Manifest && err == nil {
		var ok bool
		if s.Objects, s.BaseBytes, ok = objects(s.Point.Manifest, at); !ok {
			s.Objects, s.BaseBytes, _ = objects(s.Point.Manifest, cuts()[sh.Shard])
		}
	}

	return s, err
}

// objects is how much a manifest names, which a cut that was sealed with it
// knows; zeros when none does.
func objects(manifest string, cuts []targets.CutPoint) (n, bytes int64, known bool) {
	for _, p := range cuts {
		if p.Position.Manifest == manifest && p.Objects > 0 {
			return p.Objects, p.Bytes, true
		}
	}

	return 0, 0, false
}

// stepTo leads to an exact position. A base that was finished after until is
// not used, so that what it holds is not later.
func stepTo(sh ShardInventory, point targets.Position, until time.Time) (plan.Step, error) {
	if sh.Kind.Traits().Manifest {
		if point.Manifest == "" {
			return plan.Step{}, fail.Newf(fail.NotFound, opPlan, sh.Shard.String(), "the point names no object manifest")
		}

		return plan.Step{Point: point}, nil
	}

	return pickBase(sh, func(b targets.Artifact) (targets.Position, error) {
		if !until.IsZero() && b.Finished.After(until) {
			return point, errors.New("it was finished after the instant")
		}

		return point, nil
	})
}

// pickBase takes the newest base from which an unbroken stream leads to the end,
// or says of every base why not. endFor names the end for a base.
func pickBase(sh ShardInventory, endFor func(targets.Artifact) (targets.Position, error)) (plan.Step, error) {
	bases := slices.Clone(sh.Bases)
	// Of two that finished at once the greater id comes first: a plan and its
	// hash must not depend on the order in which a vault lists them.
	slices.SortFunc(bases, func(a, b targets.Artifact) int {
		return cmp.Or(b.Finished.Compare(a.Finished), cmp.Compare(b.ID, a.ID))
	})

	var why []error
	for _, b := range bases {
		end, err := endFor(b)
		if err == nil {
			// The image is whole only from Until on, so the end must not lie before it.
			_, err = timeline.Path(sh.Timelines, b.Until, end)
		}

		var path []targets.Span
		if err == nil {
			path, err = timeline.Path(sh.Timelines, b.From, end)
		}

		if err != nil {
			why = append(why, fmt.Errorf("base %s: %w", b.ID, err))
			continue
		}

		s := plan.Step{Base: b, Point: end, Path: path, BaseBytes: b.Bytes}
		for _, sp := range path {
			s.StreamBytes += int64(sp.To - sp.From)
			for _, l := range sh.Timelines {
				if l.ID == sp.Timeline {
					use, _ := timeline.Cover(l.Chunks, sp.From, sp.To)
					s.Chunks += len(use)
				}
			}
		}

		return s, nil
	}

	if len(bases) == 0 {
		why = append(why, errors.New(cmp.Or(sh.NoBase, "there is no base")))
	}

	return plan.Step{}, fail.New(fail.NotFound, opPlan, sh.Shard.String(), "", errors.Join(why...))
}

// pointAt turns an instant into a position of a shard whose log has no times
// in it: an object store's newest snapshot by then, or what the time marks of
// the stream say.
func pointAt(at time.Time, sh ShardInventory) (targets.Position, error) {
	if !sh.Kind.Traits().Manifest {
		if sh.At.Timeline == "" {
			why := sh.NotAt
			if why == nil {
				why = fmt.Errorf("the archived stream does not cover %s", at.UTC().Format(time.RFC3339))
			}

			return targets.Position{}, fail.New(fail.NotFound, opPlan, sh.Shard.String(), "", why)
		}

		return sh.At, nil
	}

	var best Manifest
	for _, m := range sh.Manifests {
		if !m.AsOf.After(at) && cmp.Or(m.AsOf.Compare(best.AsOf), cmp.Compare(m.SHA256, best.SHA256)) > 0 {
			best = m
		}
	}

	if best.SHA256 == "" {
		return targets.Position{}, fail.Newf(fail.NotFound, opPlan, sh.Shard.String(), "there is no object snapshot at or before %s", at.UTC().Format(time.RFC3339))
	}

	return targets.Position{Kind: targets.S3, AsOf: best.AsOf, Manifest: best.SHA256}, nil
}

// orBefore says of a snapshot whose instant the vault does not know what is known.
func orBefore(sh ShardInventory, at targets.Position) string {
	for _, m := range sh.Manifests {
		if m.SHA256 == at.Manifest && m.AsOf.Equal(at.AsOf) && m.OrBefore {
			return ", when it was stored: it was begun before"
		}
	}

	return ""
}
