package drills

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"drctl/internal/human"
	"drctl/internal/report/evidence"
	"drctl/targets"
)

// The phases of the way back, in order.
const (
	Detect  = "detect"
	Decide  = "decide"
	Prepare = "prepare"
	Restore = "restore"
	Verify  = "verify"
	CutOver = "cut-over"
	CleanUp = "clean-up"
)

var phases = []string{Detect, Decide, Prepare, Restore, Verify, CutOver}

// Timing is what Measure needs to know.
type Timing struct {
	// Ordered is when the recovery was ordered: the start of the drill. Ended is when
	// all results were known. Both are by one clock, the engine's; those of steps are by
	// the clocks of the hosts that ran them, and measure phases alone.
	Ordered, Ended time.Time
	// Disaster is the instant of the (simulated) disaster; zero when the drill
	// simulates none. Declared is when it was noticed and declared.
	Disaster, Declared time.Time
	Steps              []evidence.Step
	Cut                targets.Cut
	Sample             evidence.Sample
}

// Measure computes RTO and RPO from what happened. It is pure. What cannot be
// told is not recorded, with the reason; steps that failed or did not run are
// listed in Incomplete and leave the RTO open.
func Measure(t Timing) evidence.Measured {
	m := evidence.Measured{Lost: evidence.Unknown[int64]("no journal from outside the stores was compared")}
	m.Phases = measurePhases(t)

	done := 0
	for _, s := range t.Steps {
		if s.Phase == CleanUp {
			continue // removing the sandbox is no part of the way back
		}

		if s.Outcome != evidence.StepDone {
			m.Incomplete = append(m.Incomplete, s.ID)
			continue
		}

		if _, ok := s.Finished.Get(); ok {
			done++
		}
	}
	from := t.Ordered

	m.RTOMethod = "clock of the engine, from the order to recover (the start of the drill) until the result of the last verification was known; " +
		"detection and decision are not part of it"
	if !t.Disaster.IsZero() {
		from = t.Disaster
		m.RTOMethod = "from the simulated disaster, as it was told, until the result of the last verification was known, by the clock of the engine"
	}

	switch {
	case len(m.Incomplete) > 0:
		m.RTO = evidence.Unknown[time.Duration]("the recovery did not come to its end")
	case done == 0:
		m.RTO = evidence.Unknown[time.Duration]("no step ran")
	case t.Ended.Before(from):
		m.RTO = evidence.Unknown[time.Duration]("the clock went backwards during the drill")
	default:
		m.RTO = evidence.Known(t.Ended.Sub(from))
	}

	measureLoss(&m, t)

	return m
}

func measurePhases(t Timing) []evidence.Phase {
	out := make([]evidence.Phase, 0, len(phases))
	for _, name := range phases {
		p := evidence.Phase{Name: name}
		for _, s := range t.Steps {
			from, ok1 := s.Started.Get()

			to, ok2 := s.Finished.Get()
			if s.Phase != name || !ok1 || !ok2 {
				continue
			}

			if p.Started.IsZero() || from.Before(p.Started) {
				p.Started = from
			}
			p.Finished = later(p.Finished, to)
		}

		if name == Detect && !t.Disaster.IsZero() && !t.Declared.IsZero() {
			p.Started, p.Finished = t.Disaster, t.Declared
		}

		if name == Decide && !t.Declared.IsZero() {
			p.Started, p.Finished = t.Declared, t.Ordered
		}

		switch {
		case !p.Started.IsZero() && !p.Finished.Before(p.Started):
			p.Took = evidence.Known(p.Finished.Sub(p.Started))
		case (name == Detect || name == Decide) && !t.Disaster.IsZero():
			p.Took = evidence.Unknown[time.Duration]("not told apart: " + human.Duration(t.Ordered.Sub(t.Disaster)) +
				" from the disaster to the order to recover are part of the RTO")
		case name == Detect || name == Decide:
			p.Took = evidence.Unknown[time.Duration]("not exercised: the drill began with the order to recover")
		case name == CutOver:
			p.Took = evidence.Unknown[time.Duration]("not exercised: a restore drill moves no traffic")
		default:
			p.Took = evidence.Unknown[time.Duration]("no step of this phase ran")
		}

		if _, ok := p.Took.Get(); !ok {
			p.Started, p.Finished = time.Time{}, time.Time{}
		}
		out = append(out, p)
	}

	return out
}

// measureLoss takes the age of the recovered point of every shard, at a
// reference: the disaster; without one, the order to recover for the newest cut.
// For a drawn cut it is the moment just before the next cut could have been used,
// the worst that a disaster in that interval could have cost.
func measureLoss(m *evidence.Measured, t Timing) {
	ref := t.Ordered

	m.RPOMethod = "per store: instant of the order to recover, minus the instant before which every acknowledged write is inside the cut"
	switch {
	case !t.Disaster.IsZero():
		ref = t.Disaster
		m.RPOMethod = "per store: instant of the simulated disaster, minus the instant before which every acknowledged write is inside the cut"
	case !t.Sample.Next.IsZero() && strings.HasPrefix(t.Sample.Method, methodRandom):
		ref = t.Sample.Next
		m.RPOMethod = "per store: the worst case for this cut, the instant at which the next cut was sealed, minus the instant before which every acknowledged write is inside the cut"
	}

	worst, after := time.Duration(-1), false
	for _, p := range t.Cut.Shards {
		at := t.Cut.QuiescedAt
		// An object store's instant may lie a little off the barrier; the earlier
		// one is the safe statement.
		if as := p.Position.AsOf; !as.IsZero() && as.Before(at) {
			at = as
		}
		loss := ref.Sub(at)
		after = after || loss < 0
		m.Stores = append(m.Stores, evidence.StoreRPO{Shard: p.Shard.String(), RecoveredTo: at, Reference: ref, Loss: loss})
		worst = max(worst, loss)
	}

	order := map[string]targets.ShardID{}
	for _, p := range t.Cut.Shards {
		order[p.Shard.String()] = p.Shard
	}

	slices.SortFunc(m.Stores, func(a, b evidence.StoreRPO) int {
		return cmp.Or(order[a.Shard].Compare(order[b.Shard]), cmp.Compare(a.Shard, b.Shard))
	})

	switch {
	case len(m.Stores) == 0:
		m.RPO = evidence.Unknown[time.Duration]("the cut names no shard")
	case t.Cut.QuiescedAt.IsZero():
		m.RPO = evidence.Unknown[time.Duration]("the cut does not say when it was taken")
	case after:
		m.Stores = nil
		m.RPO = evidence.Unknown[time.Duration]("the cut lies after the instant to which loss is measured")
	default:
		m.RPO = evidence.Known(worst)
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}

	return a
}
