package recovery

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"drctl/internal/fail"
	"drctl/internal/timeline"
	"drctl/restore/plan"
	"drctl/targets"
)

// ClockAllowance is by how much the clocks of the servers, the archiver and the
// coordinator of cuts may differ. It decides only how far the stream is read and
// which instants are refused early. Where a PostgreSQL replay stops is decided,
// and proved, by the commit times in the log itself.
const ClockAllowance = 30 * time.Second

// branch is the way of a shard's log that was live at an instant: timelines from
// the oldest ancestor on, each left where the next one begins.
type branch []timeline.Timeline

// exit is where the branch leaves its i-th timeline.
func (b branch) exit(i int) uint64 {
	if i+1 < len(b) {
		return b[i+1].Parent.Offset
	}

	return b[i].Tip()
}

// Live returns the timeline that the archiver followed at an instant of its own
// clock: the one that it began last by then. Of two equally old ones it is the
// descendant. When none had begun by then, it is the one from which the others
// come. ok is false when there is none at all.
func Live(timelines []timeline.Timeline, at time.Time) (live timeline.Timeline, ok bool) {
	byID := timeline.NewIndex(timelines)

	depth := func(l timeline.Timeline) int { return len(branchTo(byID, l)) }
	for _, l := range timelines {
		order := cmp.Or(l.Began.Compare(live.Began), cmp.Compare(depth(l), depth(live)), cmp.Compare(l.ID, live.ID))
		switch begun := !l.Began.After(at); {
		case !ok:
		case begun && live.Began.After(at), begun && order > 0:
		case !begun && live.Began.After(at) && cmp.Or(cmp.Compare(depth(l), depth(live)), order) < 0:
		default:
			continue
		}
		live, ok = l, true
	}

	return live, ok
}

// branchTo are the timelines that lead to one and itself, the oldest first, as
// far back as they are known.
func branchTo(byID timeline.Index, l timeline.Timeline) (out branch) {
	for s := range byID.Back(targets.Position{Timeline: l.ID}) {
		if s.Known {
			out = append(out, s.Timeline)
		}
	}

	slices.Reverse(out)

	return out
}

// liveBranch is the branch on which the shard was at the instant.
//
// The branch is followed on where its last timeline has exactly one successor
// that begins where it ends: nothing of the instant can be lost by that. It ends
// before a timeline that left bytes of its parent behind: only a replay can tell
// whether those were written before the instant.
func liveBranch(sh ShardInventory, cuts []targets.CutPoint, at time.Time) branch {
	// A timeline was also live when a cut was taken on it: an archiver that
	// had stopped saw it only later.
	ls := slices.Clone(sh.Timelines)
	for i := range ls {
		for _, p := range cuts {
			if p.Position.Timeline == ls[i].ID && p.Cut.QuiescedAt.Before(ls[i].Began) {
				ls[i].Began = p.Cut.QuiescedAt
			}
		}
	}

	l, ok := Live(ls, at.Add(-ClockAllowance))
	if !ok {
		return nil
	}

	b := branchTo(timeline.NewIndex(ls), l)
	for {
		last := b[len(b)-1]

		var next []timeline.Timeline
		for _, x := range ls {
			if x.Origin && x.Parent.Timeline == last.ID && x.Parent.Offset >= last.Tip() && len(b) < len(ls) {
				next = append(next, x)
			}
		}

		if len(next) != 1 { // of two nobody knows which one was gone on with
			return b
		}
		b = append(b, next[0])
	}
}

// firstCut is the position of the first sealed cut on the branch that was
// certainly taken after the instant, if there is one.
func (b branch) firstCut(cuts []targets.CutPoint, at time.Time) (end targets.Position, ok bool) {
	var first *targets.Cut
	for _, p := range cuts {
		c := p.Cut
		if c.SealedAt.IsZero() || !c.QuiescedAt.After(at.Add(ClockAllowance)) || ok && cmp.Or(c.QuiescedAt.Compare(first.QuiescedAt), cmp.Compare(c.ID, first.ID)) > 0 {
			continue
		}

		i := slices.IndexFunc(b, func(l timeline.Timeline) bool { return l.ID == p.Position.Timeline })
		if i < 0 || p.Position.Offset > b.exit(i) {
			continue
		}
		end, first, ok = p.Position, c, true
	}

	return end, ok
}

// reach follows the stream from a base along the branch to the limit, or to the
// first hole before it. closed is when the newest chunk on the way was closed:
// nothing in it is later than that by the archiver's clock.
func (b branch) reach(base, limit targets.Position) (end targets.Position, closed time.Time, err error) {
	begin := slices.IndexFunc(b, func(l timeline.Timeline) bool { return l.ID == base.Timeline })
	if begin < 0 {
		return end, closed, errors.New("it is not on the branch of the log that was live at the instant")
	}

	for i := begin; i < len(b); i++ {
		from, to := b[i].Offset, b.exit(i)
		if i == begin {
			from = base.Offset
		}

		if b[i].ID == limit.Timeline {
			to = limit.Offset
		}

		use, gaps := timeline.Cover(b[i].Chunks, from, to)
		if len(gaps) > 0 {
			to = gaps[0].From
		}

		if i > begin && to <= b[i].Parent.Offset {
			return end, closed, nil // it has nothing yet that its parent has not
		}

		end = targets.Position{Kind: limit.Kind, Timeline: b[i].ID, Offset: max(from, to)}
		for _, c := range use {
			if c.From < end.Offset && c.Closed.After(closed) {
				closed = c.Closed
			}
		}

		if len(gaps) > 0 {
			return end, closed, nil
		}

		if b[i].ID == limit.Timeline {
			return limit, closed, nil
		}
	}

	return end, closed, nil
}

// baseForInstant chooses the base and the stream for an instant. It is for a
// store whose replay stops by itself, by the commit times in its log
// (PostgreSQL).
//
// The stream must end after the instant: at the restore point of a cut that was
// taken later. Without one it ends where the archive ends; then the replay has to
// meet a later commit, or the restore fails.
func baseForInstant(sh ShardInventory, cuts []targets.CutPoint, at time.Time) (plan.Step, error) {
	b := liveBranch(sh, cuts, at)
	if len(b) == 0 {
		return plan.Step{}, fail.Newf(fail.NotFound, opPlan, sh.Shard.String(), "the vault holds no stream")
	}

	limit, cut := b.firstCut(cuts, at)
	if !cut {
		last := b[len(b)-1]
		limit = targets.Position{Kind: sh.Kind, Timeline: last.ID, Offset: last.Tip()}
	}

	return pickBase(sh, func(base targets.Artifact) (targets.Position, error) {
		if base.Finished.After(at) {
			return targets.Position{}, errors.New("it was finished after the instant")
		}

		end, closed, err := b.reach(base.From, limit)
		switch {
		case err != nil || cut && end == limit || !at.After(closed.Add(ClockAllowance)):
		case closed.IsZero():
			err = errors.New("no stream that follows it is archived yet")
		default:
			err = fmt.Errorf("the stream that follows it was archived up to %s only: choose an earlier instant, or a named cut", closed.UTC().Format(time.RFC3339))
		}

		return end, err
	})
}
