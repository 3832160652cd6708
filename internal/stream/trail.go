package stream

import (
	"context"
	"errors"
	"fmt"

	"drctl/internal/fail"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

// Trail answers for one shard in one vault whether a position can be recovered
// from it: whether a base and an unbroken log lead there. It looks at names and
// at the records of bases and origins, not at bytes, and lists the log only from
// the nearest place that is known to be recoverable: what it costs follows what
// is new since then, not what is kept. It is for one goroutine at a time.
type Trail struct {
	v     *vault.Vault
	st    vault.Store
	shard targets.ShardID

	known   []foothold
	origins map[string]timeline.Record
	base    *targets.Artifact // the only one that counts, when set
	found   *targets.Artifact // led there at the last question, which was
	asked   targets.Position
	again   int // how often since the bases were listed
	blind   int // how often the log's beginning was not there
}

// listBasesEvery is at how many questions about one position a base that came
// meanwhile is looked for, while the log is not there yet.
const listBasesEvery = 10

// Foothold is a position that is known to be recoverable from a vault, and the
// base from which it is: what leads to it from an older base is not known.
type Foothold struct {
	Base string // its ID
	At   targets.Position
}

// foothold is a place up to which everything is held that leads to it from a base.
type foothold struct {
	Foothold
	start  uint64 // where the chunk begins that holds the byte before it,
	listed bool   // if that is known
}

// NewTrail begins with positions that are known to be recoverable from this
// vault, such as those of a cut that was sealed in it.
func NewTrail(v *vault.Vault, shard targets.ShardID, known ...Foothold) *Trail {
	t := &Trail{v: v, st: v.Store(), shard: shard, origins: map[string]timeline.Record{}}
	t.Know(known...)

	return t
}

// Know adds positions that are known to be recoverable from the vault.
func (t *Trail) Know(known ...Foothold) {
	for _, k := range known {
		t.known = append(t.known, foothold{Foothold: k})
	}
}

// Lead is what a Trail found out about a position.
type Lead struct {
	// Base is from where the position can be recovered once nothing is missing;
	// its ID is "" when there is none, and Why says why; without a reason either
	// the vault has not got the beginning of the log that leads there yet.
	Base targets.Artifact
	Why  string
	// Missing is how many bytes of the log are not held.
	Missing uint64
	// Spans are the log from the base to the position.
	Spans []targets.Span
	// Damaged are records of newer bases that could not be read.
	Damaged []error
}

// Held reports whether the position can be recovered.
func (l Lead) Held() bool { return l.Base.ID != "" && l.Missing == 0 }

const noBaseYet = "there is no base yet"

// To looks for a base from which the log leads to the position. An error means
// that the vault did not tell.
func (t *Trail) To(ctx context.Context, at targets.Position) (Lead, error) {
	if t.found != nil {
		lead, _, err := t.from(ctx, *t.found, at)
		if t.again++; err != nil || lead.Held() || lead.Why == "" && at == t.asked && t.again%listBasesEvery != 0 {
			return lead, err
		}
	}
	t.found, t.asked, t.again = nil, at, 0
	var whys, damaged []error

	blind, search := false, t.blind%listBasesEvery == 0
	for b, err := range t.bases(ctx) {
		if fail.Is(err, fail.Corrupt) {
			whys, damaged = append(whys, err), append(damaged, err)
			continue
		}

		if err != nil {
			return Lead{}, err
		}

		lead, hole, err := t.from(ctx, b, at)
		if err != nil {
			return Lead{}, err
		}

		lead.Damaged = damaged
		if lead.Why == "" && lead.Base.ID == "" {
			// The way to this base is not known (yet); one of the position's own
			// timeline needs none. It is not looked for at every question.
			if blind = true; search {
				continue
			}

			t.blind++

			return lead, nil
		}

		if lead.Why == "" {
			t.found = &b
			return lead, nil
		}

		if hole {
			return lead, nil // older ones are before the hole too
		}
		whys = append(whys, fmt.Errorf("base %s: %s", b.ID, lead.Why))
	}

	switch {
	case blind:
		t.blind++
		return Lead{Damaged: damaged}, nil
	case len(whys) == 0:
		return Lead{Why: noBaseYet}, nil
	}

	return Lead{Why: "no base leads there: " + errors.Join(whys...).Error(), Damaged: damaged}, nil
}

func (t *Trail) bases(ctx context.Context) func(func(targets.Artifact, error) bool) {
	if t.base != nil {
		return func(yield func(targets.Artifact, error) bool) { yield(*t.base, nil) }
	}

	return t.v.BasesNewest(ctx, t.shard)
}

// from follows the log from one base to the position, and says whether a
// declared hole lies between them.
func (t *Trail) from(ctx context.Context, b targets.Artifact, at targets.Position) (lead Lead, hole bool, err error) {
	ways, whole, err := t.ancestry(ctx, at.Timeline, b.From.Timeline)
	if fail.Is(err, fail.Corrupt) {
		return Lead{Why: err.Error()}, false, nil // a base of the timeline itself needs no origin
	}

	if err != nil || !whole {
		return lead, false, err
	}
	way := timeline.NewIndex(ways)

	spans, err := way.Spans(b.From, at)
	if err == nil && (b.Until.Timeline != at.Timeline || b.Until.Offset != at.Offset) {
		_, err = way.Spans(b.Until, at) // the image is whole only from there on
	}

	if err != nil {
		return Lead{Why: fail.Cause(err)}, false, nil
	}
	lead = Lead{Base: b, Spans: spans}

	whole = false // what is held of the image's own log leads nowhere alone
	for _, s := range spans {
		least := uint64(0)
		if s.Timeline == b.Until.Timeline {
			whole, least = true, b.Until.Offset
		}

		missing, end, hole, err := t.span(ctx, b.ID, s)
		if err != nil {
			return lead, false, err
		}

		if hole != (timeline.Gap{}) {
			return Lead{Why: fmt.Sprintf("no base behind the hole at %s %s", s.Timeline, hole)}, true, nil
		}

		if lead.Missing += missing; whole && end.At.Offset >= least && lead.Missing == missing {
			t.known = append(t.known, end)
		}
	}

	return lead, false, nil
}

// span counts what the vault lacks of a span of the log behind a base, and tells
// up to where it lacks nothing; or it returns a declared hole in it.
func (t *Trail) span(ctx context.Context, base string, s targets.Span) (missing uint64, end foothold, hole timeline.Gap, err error) {
	n := names{t.st, t.shard, s.Timeline}

	ground := foothold{Foothold: Foothold{base, targets.Position{Timeline: s.Timeline, Offset: s.From}}}
	for _, k := range t.known {
		if k.Base == base && k.At.Timeline == s.Timeline && ground.At.Offset <= k.At.Offset && k.At.Offset <= s.To {
			ground = k
		}
	}

	chunks, holes, err := t.chunks(ctx, n, &ground, s.To)
	if err != nil {
		return 0, end, timeline.Gap{}, err
	}

	for _, h := range holes {
		if h.From >= s.To || h.To <= s.From {
			continue
		}

		filled, err := t.filled(ctx, n, h, s)
		if err != nil {
			return 0, end, timeline.Gap{}, err
		}

		if !filled {
			return 0, end, h, nil
		}
	}

	use, gaps := timeline.Cover(chunks, ground.At.Offset, s.To)
	for _, g := range gaps {
		missing += g.To - g.From
	}

	end, end.At.Offset = ground, s.To
	if len(gaps) > 0 {
		end.At.Offset = gaps[0].From
	}

	for _, c := range use {
		if c.From < end.At.Offset && end.At.Offset <= c.To {
			end.start, end.listed = c.From, true
		}
	}

	return missing, end, timeline.Gap{}, nil
}

// chunks lists the timeline from the foothold up to an offset.
func (t *Trail) chunks(ctx context.Context, n names, ground *foothold, to uint64) ([]timeline.Chunk, []timeline.Gap, error) {
	if ground.listed {
		return n.between(ctx, ground.start, to)
	}
	chunks, holes, start, err := n.holding(ctx, ground.At.Offset, to)
	ground.start, ground.listed = start, start < ground.At.Offset

	return chunks, holes, err
}

// Load lists the log that a lead names, and no more: its timelines, oldest
// first, each with the chunks from the base on up to the position.
func (t *Trail) Load(ctx context.Context, lead Lead) ([]timeline.Timeline, error) {
	var out []timeline.Timeline
	for _, s := range lead.Spans {
		l := timeline.Timeline{ID: s.Timeline}
		if o, ok := t.origins[s.Timeline]; ok {
			l = o.Says()
		}

		var err error
		if l.Chunks, l.Holes, _, err = (names{t.st, t.shard, s.Timeline}).holding(ctx, s.From, s.To); err != nil {
			return nil, err
		}
		out = append(out, l)
	}

	return out, nil
}

// filled reports whether the vault has the bytes of a declared hole, as far as
// the span needs them: another vault's archiver may have had them.
func (t *Trail) filled(ctx context.Context, n names, h timeline.Gap, s targets.Span) (bool, error) {
	from, to := max(h.From, s.From), min(h.To, s.To)

	chunks, _, _, err := n.holding(ctx, from, to)
	if err != nil {
		return false, err
	}
	_, gaps := timeline.Cover(chunks, from, to)

	return len(gaps) == 0, nil
}

// ancestry reads the records of a timeline and of those that it descends from,
// up to one. It is not whole when the vault has no record of one of them.
func (t *Trail) ancestry(ctx context.Context, id, upTo string) (out []timeline.Timeline, whole bool, err error) {
	find := func(id string) (l timeline.Timeline, ok bool) {
		if id != upTo { // what the base's own timeline left does not matter
			l, ok, err = t.record(ctx, id)
		}

		return l, ok
	}
	for s := range timeline.Back(targets.Position{Timeline: id}, find) {
		switch {
		case err != nil:
			return nil, false, err
		case s.ID == upTo:
			return out, true, nil
		case !s.Known:
			return out, false, nil
		}
		out = append(out, s.Timeline)
	}

	return out, true, nil
}

// record is what the vault's record of a timeline says, if it has one.
func (t *Trail) record(ctx context.Context, id string) (l timeline.Timeline, ok bool, err error) {
	o, ok := t.origins[id]
	if !ok {
		o, err = readRecord(ctx, t.v, t.shard, id)
		if fail.Is(err, fail.NotFound) {
			return l, false, nil
		}

		if err != nil {
			return l, false, err
		}
		t.origins[id] = o
	}

	return o.Says(), true, nil
}
