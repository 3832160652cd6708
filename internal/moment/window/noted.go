package window

import (
	"context"
	"fmt"
	"slices"
	"time"

	"drctl/internal/fail"
	"drctl/internal/observation"
	"drctl/internal/observation/batches"
	"drctl/internal/vault"
	"drctl/targets"
)

// mostReads is how many batches of one stretch are read at most. One that is read tells of all before it, up to
// as many holes as a batch names.
const mostReads = 100

// noted closes the window where an observer noted that a clock was stepped, or that a shard was not observed.
func (w *Window) noted(ctx context.Context, v *vault.Vault, s *stretch, from, to time.Time) error {
	left, until := s.batches, earlier(s.To, to)

	for range mostReads {
		if len(left) == 0 || !until.After(later(from, s.From)) {
			return nil
		}
		last := left[len(left)-1]

		b, err := batches.Get(ctx, v, last)
		if fail.Is(err, fail.Corrupt) || fail.Is(err, fail.Unsupported) || fail.Is(err, fail.NotFound) {
			left = left[:len(left)-1]
			continue
		}

		if err != nil {
			return err
		}

		if b.Noted.IsZero() {
			break
		}

		// What came behind the batch is in no other: it, or they, cannot be read.
		if b.Ended.Add(settle).Before(until) {
			w.unknown(s, later(from, b.Ended), until)
		}

		for _, h := range b.Holes {
			w.closeNoted(s, h, from, to)
		}
		until = earlier(until, b.Noted)
		left = slices.DeleteFunc(slices.Clone(left), func(o vault.ObservationName) bool { return o.Ended.After(b.Noted) || o == last })
	}

	w.unknown(s, later(from, s.From), until)

	return nil
}

func (w *Window) unknown(s *stretch, from, to time.Time) {
	if from.Before(to) {
		w.Unknown = append(w.Unknown, Hole{From: from, To: to, Cause: "observer " + s.Observer + " has not noted steps of clocks and shards that it did not see"})
	}
}

// closeNoted closes what an observer saw, and not what another one saw at that time.
func (w *Window) closeNoted(s *stretch, h observation.Hole, from, to time.Time) {
	cause := "it was not observed: " + h.Why
	if h.Stepped() {
		cause = "its clock was stepped by " + by(h)
		// Stamps that the clock showed twice are of two times.
		if h.Least < 0 {
			h.From, h.To = h.From.Add(h.Least), h.To.Add(-h.Least)
		}
	}

	one := Hole{From: later(h.From, from), To: earlier(h.To, to), Shard: h.Shard, Cause: cause}
	if !one.From.Before(one.To) || slices.Contains(w.Holes, one) {
		return
	}

	w.closeOf(one, s.Observer)
}

// by says by how much a clock was stepped.
func by(h observation.Hole) string {
	least, most := h.Least.Round(time.Microsecond), h.Most.Round(time.Microsecond)
	if least == most {
		return least.String()
	}

	return fmt.Sprintf("%s to %s", least, most)
}

// quiet notes of which moments it is known that there was a quiet instant, by the names of the
// evidence of cuts.
func (w *Window) quiet(ctx context.Context, v *vault.Vault, group string, from, to time.Time) error {
	var found []time.Time
	for i, err := range v.Store().List(ctx, vault.CutsPrefix(group), vault.CutsPrefix(group)+targets.IDTime(from)) {
		if err != nil {
			return err
		}

		at, ok := vault.ParseEvidenceKey(i.Key)
		if at.After(to) {
			break
		}

		if ok {
			found = append(found, at)
		}
	}

	for _, o := range w.Open {
		last := o.From
		for _, at := range found {
			if at.Before(o.From) || at.After(o.To) {
				continue
			}

			w.Quiet.Found++
			w.unlooked(last, at)
			last = at
		}

		w.unlooked(last, o.To)
	}

	return nil
}

// unlooked keeps the longest time in which nobody looked for a quiet instant.
func (w *Window) unlooked(from, to time.Time) {
	if to.Sub(from) > max(w.Quiet.To.Sub(w.Quiet.From), time.Second) {
		w.Quiet.From, w.Quiet.To = from, to
	}
}
