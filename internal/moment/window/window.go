package window

import (
	"context"
	"fmt"
	"slices"
	"time"

	"drctl/internal/observation"
	"drctl/internal/observation/batches"
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
	// Unknown are times of Open in which clocks may have been stepped, or shards not been observed,
	// without anybody noting it.
	Unknown []Hole `json:"unknown,omitempty"`
	Quiet   Quiet  `json:"quiet"`
}

// Quiet is what is known of quiet instants within a window. Logs are not read for it.
type Quiet struct {
	// Found is how many cuts were read out of the logs of the open times: there was a quiet instant
	// at each.
	Found int `json:"found"`
	// From and To are the longest of the open times between two of them, or before and behind them: whether
	// there is a quiet instant in it was not looked at. Zero where there is none.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
}

const (
	// pauseBetween batches of one observer is none worth telling up to this.
	pauseBetween = 10 * time.Second
	// settle is how long an observer has to have seen the servers before a moment can be had.
	settle = 3 * time.Second
)

// Of tells when moments of a group can be had, between two times: from the names of
// batches of observations, of chunks around holes and of cuts, from the records of bases, and from what each
// observer noted of itself in its last batch. No log is read, and no observation. The shards are those with a log.
// Whether there was a quiet instant at a time, only package moment tells: Quiet says what is known of that.
func Of(ctx context.Context, v *vault.Vault, group string, shards []targets.ShardID, limit time.Duration, from, to time.Time) (*Window, error) {
	w := &Window{}

	stretches, err := observed(ctx, v, group, limit, from, to)
	if err != nil {
		return nil, err
	}

	w.open(stretches, limit, from, to)

	for _, s := range stretches {
		if err := w.noted(ctx, v, s, from, to); err != nil {
			return nil, err
		}
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

	slices.SortStableFunc(w.Holes, func(a, b Hole) int { return a.From.Compare(b.From) })

	return w, w.quiet(ctx, v, group, from, to)
}

// stretch is a time in which one observer saw the group without a pause, and its batches.
type stretch struct {
	Open
	batches []vault.ObservationName // in order of when they began
}

// observed are the stretches in which an observer saw the group, in order of when they began.
func observed(ctx context.Context, v *vault.Vault, group string, limit time.Duration, from, to time.Time) (all []*stretch, err error) {
	names, err := batches.List(ctx, v, group, from.Add(-limit-observation.MaxTook), to)
	if err != nil {
		return nil, err
	}
	byObserver := map[string]*stretch{}

	for _, name := range names {
		last := byObserver[name.Observer]
		if last == nil || name.Began.After(last.To.Add(pauseBetween)) {
			last = &stretch{Open: Open{From: name.Began, To: name.Ended, Observer: name.Observer}}
			byObserver[name.Observer] = last
			all = append(all, last)
		}
		last.To = later(last.To, name.Ended)
		last.batches = append(last.batches, name)
	}

	return all, nil
}

// open opens the window where an observer saw the group all the time.
func (w *Window) open(all []*stretch, limit time.Duration, from, to time.Time) {
	known := from

	for _, s := range all {
		o := s.Open
		o.ProvenFrom = o.From.Add(limit + settle)
		o.From = later(o.From.Add(settle), from)
		o.ProvenFrom = later(o.ProvenFrom, o.From)
		o.To = earlier(o.To, to)

		if !o.From.Before(o.To) {
			continue
		}

		w.gap(known, o.From, len(w.Open) > 0)
		w.Open = append(w.Open, o)
		known = later(known, o.To)
	}

	w.gap(known, to, false)
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
func (w *Window) close(h Hole) { w.closeOf(h, "") }

// closeOf takes a hole out of what one observer saw, or all of them.
func (w *Window) closeOf(h Hole, observer string) {
	var open []Open
	for _, o := range w.Open {
		if observer != "" && o.Observer != observer {
			open = append(open, o)
			continue
		}

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
