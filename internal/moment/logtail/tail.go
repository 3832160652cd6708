package logtail

import (
	"context"
	"maps"
	"slices"

	"drctl/internal/fail"
	"drctl/internal/observation"
	"drctl/internal/proof/shardlog"
	"drctl/internal/stream"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

const op = "moment: read log"

// longest is how many bytes of log are remembered at most where transactions have
// been open or prepared for so long that a shorter memory would know less.
const longest = 1 << 30

// Span is what of a log a stretch was made of: reading exactly these bytes anew
// makes the same stretch.
type Span struct {
	Shard targets.ShardID `json:"shard"`
	// Timelines are those on the way from Start, oldest first.
	Timelines []shardlog.Timeline `json:"timelines"`
	// Start and To are where the bytes begin and end. The stretch was wanted from From on.
	Start uint64 `json:"start"`
	From  uint64 `json:"from"`
	To    uint64 `json:"to"`
}

// Timeline is that of the stretch.
func (s Span) Timeline() string { return s.Timelines[len(s.Timelines)-1].Name }

// Wanted is what is asked of a log.
type Wanted struct {
	Timeline string
	// Start is where to begin reading, so that tags are known from well before From
	// on; less is read where the log has a hole, or begins later.
	Start uint64
	// Afresh is where to begin instead where nothing is remembered; 0 for Start.
	Afresh uint64
	// Known is from where on tags are to be known, if what is remembered tells that.
	Known uint64
	// From is where the stretch is to begin. To is where the log may end at the earliest; what
	// the vault does not hold of it is left out.
	From, To uint64
}

// Tail is the end of one shard's log in one vault, as far as it was read. It is for
// one goroutine at a time.
type Tail struct {
	shard   targets.ShardID
	opener  shardlog.Opener
	archive archive

	// Two readings of one log: an old one, which is used, and one that began later
	// and takes over once it is long enough.
	readings []*reading
	end      uint64            // up to where both have read
	floor    uint64            // no stretch can begin before
	chunks   map[string]uint64 // those that were there, behind the beginning of the older reading
}

// reading is a log that is being read from a place on.
type reading struct {
	log  shardlog.Log
	span Span
}

// New makes a tail that remembers nothing yet.
func New(v *vault.Vault, opener shardlog.Opener, shard targets.ShardID) *Tail {
	return &Tail{shard: shard, opener: opener,
		archive: archive{v: v, shard: shard, log: stream.NewReader(v, shard), records: map[string]timeline.Record{}}}
}

// Read returns the stretch that is wanted, with what was observed, and what it was
// made of. It remembers what it read.
func (t *Tail) Read(ctx context.Context, w Wanted, seen []observation.Observation) (*shardlog.Result, Span, error) {
	way, held, err := t.plan(ctx, &w)
	if err != nil {
		return nil, Span{}, err
	}

	if !t.fits(w, held) {
		t.readings = nil
	} else if err := t.extend(ctx, w.To, held); err != nil {
		t.readings = nil // it may have read some of it; or what came does not go with what is remembered
		if !fail.Is(err, fail.Corrupt) && !fail.Is(err, fail.NotFound) {
			return nil, Span{}, err
		}
	}

	if t.readings == nil {
		if w.Afresh > 0 && w.Afresh < w.Start {
			w.Start = w.Afresh
			if way, held, err = t.plan(ctx, &w); err != nil {
				return nil, Span{}, err
			}
		}

		if err := t.begin(ctx, w, way); err != nil {
			return nil, Span{}, err
		}
	}

	t.know(held)

	return t.stretch(w, seen)
}

// know remembers which chunks were there. Where what is wanted begins goes back and forth a little, so
// those of before are known still, as long as what they hold is remembered.
func (t *Tail) know(held []timeline.Chunk) {
	if t.chunks == nil {
		t.chunks = map[string]uint64{}
	}

	for _, c := range held {
		t.chunks[c.Key] = c.From
	}

	begin := t.readings[0].span.Start
	maps.DeleteFunc(t.chunks, func(_ string, from uint64) bool { return from < begin })
}

// Once is Read that neither uses nor changes what is remembered.
func (t *Tail) Once(ctx context.Context, w Wanted, seen []observation.Observation) (*shardlog.Result, Span, error) {
	if w.Afresh > 0 {
		w.Start = min(w.Start, w.Afresh)
	}

	way, _, err := t.plan(ctx, &w)
	if err != nil {
		return nil, Span{}, err
	}

	r, err := t.read(ctx, Span{Shard: t.shard, Timelines: way, Start: w.Start, From: w.From, To: w.To})
	if err != nil {
		return nil, Span{}, err
	}
	res, err := r.log.Stretch(w.From, seen)

	return res, r.span, err
}

// Again reads the bytes of a span anew, whatever is remembered. The way there must be
// the one that the vault's records of the timelines tell of.
func (t *Tail) Again(ctx context.Context, s Span, seen []observation.Observation) (*shardlog.Result, error) {
	if s.Shard != t.shard || len(s.Timelines) == 0 || s.To < s.From || s.From < s.Start {
		return nil, fail.Newf(fail.Invalid, op, t.shard.String(), "[%d,%d) is no part of its log", s.From, s.To)
	}

	way, start, err := t.archive.way(ctx, s.Timeline(), s.Start)
	if err != nil {
		return nil, err
	}

	if start != s.Start || !slices.Equal(way, s.Timelines) {
		return nil, fail.Newf(fail.Corrupt, op, t.shard.String(), "the records of the timelines lead from %d over %v, and not from %d over %v", start, way, s.Start, s.Timelines)
	}

	r, err := t.read(ctx, s)
	if err != nil {
		return nil, err
	}

	return r.log.Stretch(s.From, seen)
}

// plan finds the way to what is wanted, and takes back what the vault does not hold.
func (t *Tail) plan(ctx context.Context, w *Wanted) (way []shardlog.Timeline, held []timeline.Chunk, err error) {
	w.Start = min(w.Start, w.From)

	if way, w.Start, err = t.archive.way(ctx, w.Timeline, w.Start); err != nil {
		return nil, nil, err
	}

	begin := w.Start
	if len(way) > 1 {
		begin = way[len(way)-1].Begin
	}
	w.From = max(w.From, begin)

	since := begin
	if len(t.readings) > 0 && t.readings[0].span.Timeline() == w.Timeline {
		since = min(since, t.end) // so that all that are read are known
	}

	if held, err = t.archive.chunks(ctx, w.Timeline, since, w.To); err != nil {
		return nil, nil, err
	}

	// What begins before the place is not listed: the reader finds it.
	if len(held) > 0 {
		_, gaps := timeline.Cover(held, max(begin, held[0].From), w.To)
		for _, g := range gaps {
			if g.To <= w.From {
				way, w.Start = way[len(way)-1:], g.To
				continue
			}
			w.To = max(g.From, w.From)

			break
		}
	}

	w.Start = t.opener.LogStart(w.Start)
	w.From = max(w.From, w.Start)
	w.To = max(w.To, w.From)

	return way, held, nil
}

// fits reports whether what is remembered reaches back far enough, and is still
// what the vault holds.
func (t *Tail) fits(w Wanted, held []timeline.Chunk) bool {
	if len(t.readings) == 0 || t.readings[0].span.Timeline() != w.Timeline || t.readings[0].span.Start > w.Start || w.From < t.floor || w.To < t.end {
		return false
	}

	return !slices.ContainsFunc(held, func(c timeline.Chunk) bool {
		_, known := t.chunks[c.Key]
		return c.From < t.end && c.From >= t.readings[0].span.Start && !known
	})
}

// begin reads what is wanted from its beginning.
func (t *Tail) begin(ctx context.Context, w Wanted, way []shardlog.Timeline) error {
	r, err := t.read(ctx, Span{Shard: t.shard, Timelines: way, Start: w.Start, From: w.From, To: w.To})
	if err != nil {
		return err
	}
	t.readings, t.end, t.floor, t.chunks = []*reading{r}, w.To, w.From, nil

	return nil
}

// read reads all of a span.
func (t *Tail) read(ctx context.Context, s Span) (*reading, error) {
	r, err := t.open(s)
	if err != nil {
		return nil, err
	}
	t.archive.log = stream.NewReader(t.archive.v, t.shard) // one that knows nothing of chunks that were there before

	for i, l := range s.Timelines {
		part := targets.Span{Timeline: l.Name, From: s.Start, To: s.To}
		if i > 0 {
			part.From = l.Begin
		}

		if i+1 < len(s.Timelines) {
			part.To = min(part.To, s.Timelines[i+1].Begin)
		}

		if err := feed(ctx, t.archive.log, part, r); err != nil {
			return nil, err
		}
	}

	return r, nil
}

func (t *Tail) open(s Span) (*reading, error) {
	log, err := t.opener.OpenLog(shardlog.Options{Shard: t.shard, Start: s.Start, Timelines: s.Timelines})
	return &reading{log: log, span: s}, err
}

// extend reads what is new, of the chunks that are held.
func (t *Tail) extend(ctx context.Context, to uint64, held []timeline.Chunk) error {
	last := t.readings[0].span.Timeline()
	if to == t.end {
		return nil
	}

	t.archive.log.Listed(last, slices.Clone(held))

	if err := feed(ctx, t.archive.log, targets.Span{Timeline: last, From: t.end, To: to}, t.readings...); err != nil {
		return err
	}
	t.end = to

	return nil
}

// knowsLess reports whether the younger reading knows less of what is wanted than the older.
func (t *Tail) knowsLess(w Wanted, seen []observation.Observation) (bool, error) {
	young, err := t.readings[1].log.Stretch(w.From, seen)
	if err != nil {
		return false, err
	}

	if slices.Contains(young.Missing, shardlog.NotWhole) || slices.Contains(young.Missing, shardlog.LateWhole) {
		return true, nil
	}

	if young.Known <= w.Known {
		return false, nil
	}
	old, err := t.readings[0].log.Stretch(w.From, seen)

	return err == nil && old.Known > 0 && old.Known <= w.Known, err
}

// stretch makes the stretch of the older reading, or of the younger one once it is
// long enough, and begins a younger one where the older is longer than it has to be.
func (t *Tail) stretch(w Wanted, seen []observation.Observation) (*shardlog.Result, Span, error) {
	if len(t.readings) == 2 && t.readings[1].span.Start <= w.Start {
		less, err := t.knowsLess(w, seen)
		if err != nil {
			return nil, Span{}, err
		}

		if !less || t.end-t.readings[0].span.Start > longest {
			t.readings = t.readings[1:]
		}
	}

	old := t.readings[0]
	if len(t.readings) == 1 && old.span.Start < w.Start {
		young, err := t.open(Span{Shard: t.shard, Timelines: old.span.Timelines[len(old.span.Timelines)-1:], Start: t.opener.LogStart(t.end)})
		if err != nil {
			return nil, Span{}, err
		}
		t.readings = append(t.readings, young)
	}

	res, err := old.log.Stretch(w.From, seen)
	if err != nil {
		return nil, Span{}, err
	}
	t.floor = w.From

	for _, r := range t.readings {
		r.log.Forget(w.From)
	}

	span := old.span
	span.From, span.To = w.From, t.end

	return res, span, nil
}
