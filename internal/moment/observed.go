package moment

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"drctl/internal/fail"
	"drctl/internal/moment/evidence"
	"drctl/internal/observation"
	"drctl/internal/observation/batches"
	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/internal/vault"
	"drctl/targets"
)

// seen is what one observer saw of a group.
type seen struct {
	observer string
	batches  []observation.Batch // in order of time
	runs     map[targets.ShardID][]run
	samples  []clock.Sample // of all shards, in order of time: for the wall clock
}

// run is what was seen of one run of one server, in order of time.
type run struct {
	server string
	all    []observation.Observation
}

// read reads what was seen of a group between two wall times, by observer, the one that
// saw it last being the last.
func read(ctx context.Context, v *vault.Vault, group string, since, until time.Time) ([]*seen, error) {
	all, err := load(ctx, v, group, since, until)
	return sorted(all), err
}

// load reads batches. Damaged ones are missing, unless all are.
func load(ctx context.Context, v *vault.Vault, group string, since, until time.Time) ([]observation.Batch, error) {
	all, damaged, err := batches.Read(ctx, v, group, since, until)
	if err == nil && len(all) == 0 && len(damaged) > 0 {
		err = errors.Join(damaged...)
	}

	return all, err
}

// name is the key of a batch.
func name(b *observation.Batch) string {
	return vault.ObservationName{Group: b.Group, Observer: b.Observer, Began: b.Began, Ended: b.Ended}.Key()
}

func sorted(all []observation.Batch) (out []*seen) {
	by := map[string]*seen{}
	for _, b := range all {
		s := by[b.Observer]
		if s == nil {
			s = &seen{observer: b.Observer, runs: map[targets.ShardID][]run{}}
			by[b.Observer] = s
			out = append(out, s)
		}
		s.batches = append(s.batches, b)
	}

	for _, s := range out {
		s.sort()
	}

	slices.SortStableFunc(out, func(a, b *seen) int { return a.ended().Compare(b.ended()) })

	return out
}

// began and ended enclose all batches, by the observer's wall clock.
func (s *seen) began() time.Time {
	return slices.MinFunc(s.batches, func(a, b observation.Batch) int { return a.Began.Compare(b.Began) }).Began
}

func (s *seen) ended() time.Time {
	return slices.MaxFunc(s.batches, func(a, b observation.Batch) int { return a.Ended.Compare(b.Ended) }).Ended
}

// sort puts the batches of one observer together.
func (s *seen) sort() {
	slices.SortFunc(s.batches, func(a, b observation.Batch) int {
		return cmp.Or(cmp.Compare(a.Since, b.Since), cmp.Compare(a.Until, b.Until))
	})

	for _, b := range s.batches {
		for _, one := range b.Shards {
			s.add(one)
		}
	}

	byTime := func(a, b observation.Observation) int { return cmp.Compare(a.T0, b.T0) }
	for _, runs := range s.runs {
		for i := range runs {
			slices.SortStableFunc(runs[i].all, byTime)
		}
	}

	slices.SortFunc(s.samples, func(a, b clock.Sample) int { return cmp.Compare(a.T1, b.T1) })
}

func (s *seen) add(one observation.Seen) {
	if len(one.Observations) == 0 {
		return
	}

	for _, o := range one.Observations {
		s.samples = append(s.samples, o.Sample)
	}
	runs := s.runs[one.Shard]

	i := slices.IndexFunc(runs, func(r run) bool { return r.server == one.Server })
	if i < 0 {
		i = len(runs)
		runs = append(runs, run{server: one.Server})
	}
	runs[i].all = append(runs[i].all, one.Observations...)
	s.runs[one.Shard] = runs
}

// refs name the batches.
func (s *seen) refs() (refs []evidence.BatchRef, err error) {
	for _, b := range s.batches {
		content, err := observation.Encode(b)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(content)
		refs = append(refs, evidence.BatchRef{Key: name(&b), SHA256: hex.EncodeToString(sum[:])})
	}

	return refs, nil
}

// wall is what the observer's wall clock showed at an instant.
func (s *seen) wall(t clock.Instant) time.Time {
	at, ok := clock.Wall(s.samples, t)
	if !ok {
		return s.began()
	}

	return at
}

// of is what was seen of a shard's server that was asked last before an instant: the run of the
// server, with what was seen on the timeline that it wrote then. Two servers that both said that they
// wrote that timeline, turn by turn, are refused: the log is of one of them.
func (s *seen) of(shard targets.ShardID, until clock.Instant) (is run, err error) {
	var last *observation.Observation

	for _, r := range s.runs[shard] {
		for i := range r.all {
			if o := &r.all[i]; o.T0 <= until && (last == nil || o.T0 >= last.T0) {
				last, is.server = o, r.server
			}
		}
	}

	if last == nil {
		return is, nil
	}
	begun := until

	for _, r := range s.runs[shard] {
		for _, o := range r.all {
			if r.server == is.server && o.Timeline == last.Timeline {
				is.all = append(is.all, o)
				begun = min(begun, o.T0)
			}
		}
	}

	for _, r := range s.runs[shard] {
		for _, o := range r.all {
			if r.server != is.server && o.Timeline == last.Timeline && begun <= o.T1 && o.T0 <= until {
				return is, fail.New(fail.Conflict, opFind, shard.String(), "find out which of the two is the primary, and stop the other",
					fmt.Errorf("two servers said that they write timeline %s at one time", o.Timeline))
			}
		}
	}

	return is, nil
}

// markers are the places of a Redis master that was seen: while it stood still, or was paused, and
// while it went on. A place where it stood for long is no mark of one instant, and the other way round.
func (s *seen) markers(shard targets.ShardID, within proof.Span) (still, moving proof.Master) {
	still, moving = proof.Master{Shard: shard, Paused: true}, proof.Master{Shard: shard}

	var all []observation.Observation
	for _, r := range s.runs[shard] {
		for _, o := range r.all {
			if o.T1 >= within.From && o.T0 <= within.To {
				all = append(all, o)
			}
		}
	}

	slices.SortStableFunc(all, func(a, b observation.Observation) int { return cmp.Compare(a.T0, b.T0) })

	for _, o := range all {
		m := proof.Marker{Timeline: o.Timeline, Position: o.Inserted, Span: proof.Span{From: o.T0, To: o.T1}}

		switch last := len(still.Markers) - 1; {
		case !o.Paused:
			moving.Markers = append(moving.Markers, m)
		case last < 0 || m.From > still.Markers[last].To:
			still.Markers = append(still.Markers, m)
		}
	}

	return still, moving
}
