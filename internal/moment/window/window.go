package window

import (
	"context"
	"fmt"
	"slices"
	"time"

	"drctl/internal/observation"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/targets"
)

// Open is a time in which any moment can be had, to about the pauses between observations.
type Open struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// ProvenFrom is from when on moments can be proven to be whole in global transactions: before,
	// what was half done is not known, and they are ordered at best.
	ProvenFrom time.Time `json:"proven_from"`
	Observer   string    `json:"observer"`
}

// Hole is a time in which no moment can be had.
type Hole struct {
	From  time.Time       `json:"from"`
	To    time.Time       `json:"to"`
	Shard targets.ShardID `json:"shard,omitzero"`
	Cause string          `json:"cause"`
}

// Window says from when to when moments can be had.
type Window struct {
	Open  []Open `json:"open"`
	Holes []Hole `json:"holes"`
}

const (
	// pauseBetween batches of one observer is none worth telling up to this.
	pauseBetween = 10 * time.Second
	// settle is how long an observer has to have seen the servers before a moment can be had.
	settle = 3 * time.Second
)

// Of tells when moments of a group can be had, between two times, from names alone: those of
// batches of observations, of chunks around holes, and the records of bases. The shards are those with a log. Whether there was a quiet
// instant at a time, only package moment tells. It says what holes there are and why.
func Of(ctx context.Context, v *vault.Vault, group string, shards []targets.ShardID, limit time.Duration, from, to time.Time) (*Window, error) {
	w := &Window{}
	if err := w.observed(ctx, v, group, limit, from, to); err != nil {
		return nil, err
	}

	for _, s := range shards {
		holes, err := unrecoverable(ctx, v, s, from, to)
		if err != nil {
			return nil, err
		}

		for _, h := range holes {
			w.close(h)
		}
	}

	slices.SortFunc(w.Holes, func(a, b Hole) int { return a.From.Compare(b.From) })

	return w, nil
}

// observed opens the window where one observer saw the group all the time.
func (w *Window) observed(ctx context.Context, v *vault.Vault, group string, limit time.Duration, from, to time.Time) error {
	prefix := vault.ObservationsPrefix(group)
	byObserver := map[string]*Open{}

	var all []*Open
	for info, err := range v.Store().List(ctx, prefix, vault.ObservationsFrom(group, from.Add(-limit-observation.MaxTook))) {
		if err != nil {
			return err
		}

		name, ok := vault.ParseObservationKey(info.Key)
		if !ok {
			continue
		}

		if name.Began.After(to) {
			break
		}

		last := byObserver[name.Observer]
		if last != nil && !name.Began.After(last.To.Add(pauseBetween)) {
			if name.Ended.After(last.To) {
				last.To = name.Ended
			}

			continue
		}
		last = &Open{From: name.Began, To: name.Ended, ProvenFrom: name.Began, Observer: name.Observer}
		byObserver[name.Observer] = last
		all = append(all, last)
	}
	known := from

	for _, o := range all {
		o.ProvenFrom = o.From.Add(limit + settle)
		o.From = o.From.Add(settle)

		if o.From.Before(from) {
			o.From = from
		}

		if o.To.After(to) {
			o.To = to
		}

		if !o.From.Before(o.To) {
			continue
		}

		if o.ProvenFrom.Before(o.From) {
			o.ProvenFrom = o.From
		}

		w.gap(known, o.From, len(w.Open) > 0)
		w.Open = append(w.Open, *o)

		if o.To.After(known) {
			known = o.To
		}
	}

	w.gap(known, to, false)

	return nil
}

// gap notes a time of which no observer saw anything.
func (w *Window) gap(from, to time.Time, again bool) {
	if to.Sub(from) <= settle {
		return
	}
	cause := "nobody observed the group's servers"

	if again {
		cause = "the observer was started anew, or was away"
	}
	w.Holes = append(w.Holes, Hole{From: from, To: to, Cause: cause})
}

// close takes a hole out of the window.
func (w *Window) close(h Hole) {
	var open []Open
	for _, o := range w.Open {
		if h.From.After(o.From) {
			first := o
			first.To = earlier(o.To, h.From)
			open = append(open, first)
		}

		if h.To.Before(o.To) && h.To.After(o.From) {
			o.From = h.To
			o.ProvenFrom = later(o.ProvenFrom, h.To)
			open = append(open, o)
		} else if !h.To.After(o.From) {
			open = append(open, o)
		}
	}
	w.Open = slices.DeleteFunc(open, func(o Open) bool { return !o.From.Before(o.To) })
	w.Open = slices.Compact(w.Open)
	w.Holes = append(w.Holes, h)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}

	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}

	return b
}

// unrecoverable are the times to which a shard cannot be brought back: before its first base, and
// from a hole of its log to the first base behind it.
func unrecoverable(ctx context.Context, v *vault.Vault, shard targets.ShardID, from, to time.Time) (holes []Hole, err error) {
	bases, err := v.Bases(ctx, shard)
	if err != nil {
		return nil, err
	}

	slices.SortFunc(bases, func(a, b targets.Artifact) int { return a.Finished.Compare(b.Finished) })

	if len(bases) == 0 {
		return []Hole{{From: from, To: to, Shard: shard, Cause: "there is no base of it"}}, nil
	}

	if first := bases[0].Finished; first.After(from) {
		holes = append(holes, Hole{From: from, To: earlier(first, to), Shard: shard, Cause: "there is no base of it that is so old"})
	}

	lines, err := stream.Outline(ctx, v, shard)
	if err != nil {
		return nil, err
	}

	for _, l := range lines {
		for _, h := range l.Unfilled() {
			began, ended := to, to
			for _, b := range bases {
				if b.Until.Timeline == l.ID && b.Until.Offset >= h.To {
					ended = earlier(ended, b.Finished)
				}
			}

			if began, err = closedBefore(ctx, v, shard, l.ID, h.From, began); err != nil {
				return nil, err
			}

			if began.Before(to) && ended.After(from) {
				holes = append(holes, Hole{From: later(began, from), To: earlier(ended, to), Shard: shard,
					Cause: fmt.Sprintf("its log has a hole of %d bytes, until the next base", h.To-h.From)})
			}
		}
	}

	return holes, nil
}

// closedBefore is when the last chunk before an offset was closed, of those that begin a little before it.
func closedBefore(ctx context.Context, v *vault.Vault, shard targets.ShardID, timeline string, at uint64, otherwise time.Time) (time.Time, error) {
	const little = 1 << 20
	prefix := vault.TimelinePrefix(shard, timeline)
	found := false

	for info, err := range v.Store().List(ctx, prefix, fmt.Sprintf("%s%016X", prefix, at-min(at, little))) {
		if err != nil {
			return otherwise, err
		}

		c, ok := vault.ParseChunkKey(info.Key)
		if ok && c.From >= at {
			if !found { // then it was closed before this one
				otherwise = c.Closed
			}

			break
		}

		if ok && (!found || c.Closed.After(otherwise)) {
			otherwise, found = c.Closed, true
		}
	}

	return otherwise, nil
}
