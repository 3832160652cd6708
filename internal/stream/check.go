package stream

import (
	"context"
	"fmt"
	"slices"
	"time"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/targets"
)

// Check reports whether a vault holds the whole stream from one position to
// another: one finding per range, "FOUND" (passed), "MISSING" (failed) or "HOLE"
// (warned), in order. A hole is what the server had lost before it was archived,
// as the archive says itself: it is no damage, but only a base behind it leads to
// what follows. Check looks at names only; reading the bytes is the reader's and
// the vault check's part. An error means that the vault could not be listed.
func Check(ctx context.Context, v *vault.Vault, shard targets.ShardID, from, to targets.Position) ([]targets.Finding, error) {
	ls, err := Load(ctx, v, shard)
	if err != nil {
		return nil, err
	}
	return check(ls, v.Region(), shard, from, to), nil
}

// check is the pure part of Check.
func check(ls []Lineage, region string, shard targets.ShardID, from, to targets.Position) []targets.Finding {
	subject := shard.String() + "@" + region
	finding := func(lineage string, a, b uint64, sev targets.Severity, got, detail string) targets.Finding {
		return targets.Finding{Check: "stream-contiguous", Subject: subject, Severity: sev,
			Expected: fmt.Sprintf("lineage %s bytes [%d,%d)", lineage, a, b), Got: got, Detail: detail}
	}
	if from.Lineage == to.Lineage && from.Offset == to.Offset {
		return []targets.Finding{finding(to.Lineage, to.Offset, to.Offset, targets.Passed, "FOUND", "no stream needed")}
	}
	spans, err := walkOver(ls, from, to, true)
	if err != nil {
		return []targets.Finding{finding(to.Lineage, from.Offset, to.Offset, targets.Failed, "MISSING", err.Error())}
	}
	byID := index(ls)
	var out []targets.Finding
	for _, s := range spans {
		use, gaps := Cover(byID[s.Lineage].Chunks, s.From, s.To)
		pos := s.From
		for _, g := range gaps {
			if g.From > pos {
				out = append(out, finding(s.Lineage, pos, g.From, targets.Passed, "FOUND", ""))
			}
			for _, part := range byID[s.Lineage].split(g) {
				if part.declared {
					out = append(out, finding(s.Lineage, part.From, part.To, targets.Warned, "HOLE",
						"the server had lost these bytes before they were archived; a base behind them leads on"))
					continue
				}
				out = append(out, finding(s.Lineage, part.From, part.To, targets.Failed, "MISSING",
					fmt.Sprintf("no chunk holds these bytes: %s%016X-%016X-...", vault.LineagePrefix(shard, s.Lineage), part.From, part.To)))
			}
			pos = g.To
		}
		if pos < s.To {
			out = append(out, finding(s.Lineage, pos, s.To, targets.Passed, "FOUND", fmt.Sprintf("%d chunks", len(use))))
		}
	}
	return out
}

// relistEvery is after how many polls a watch lists everything again: a chunk
// of a second archiver can sort before the last known one.
const relistEvery = 10

// watch follows how far one vault holds a lineage without a hole.
type watch struct {
	v       *vault.Vault
	st      vault.Store
	shard   targets.ShardID
	at      targets.Position
	polls   int
	chunks  []Chunk // of the lineage, from the run that matters on
	after   string
	held    uint64 // offset up to which it is known to hold everything; 0 is not known
	chained bool   // parents hold everything up to where their child left
	from    beginning
}

// reached reports whether the vault holds the position and everything before
// it back to where the lineage, or the last declared hole before it, begins.
// A position before all of that is an error of code not-found: it will never
// be held.
func (w *watch) reached(ctx context.Context) (bool, error) {
	full := w.polls%relistEvery == 0
	w.polls++
	if !full && w.chained {
		fresh, holes, err := listLineage(ctx, w.st, w.shard, w.at.Lineage, w.after)
		if err != nil {
			return false, err
		}
		w.chunks = append(w.chunks, fresh...)
		return w.holds(holes), nil
	}
	ls, err := load(ctx, w.v, w.st, w.shard)
	if err != nil {
		return false, err
	}
	byID := index(ls)
	l, ok := byID[w.at.Lineage]
	if !ok || !l.Origin {
		return false, nil
	}
	if w.at.Offset < l.Offset {
		return false, fail.Newf(fail.NotFound, "stream: wait until durable", w.shard.String(),
			"lineage %s was archived only from %d", l.ID, l.Offset)
	}
	w.chunks, w.from = l.Chunks, startOf(l, time.Now())
	if w.chained = parents(byID, l, w.at.Offset); !w.chained {
		return false, nil
	}
	if w.at.Offset == l.Offset {
		w.held = w.at.Offset
		return true, nil
	}
	return w.holds(l.Holes), nil
}

// parents checks the lineages that this one descends from, up to the last
// declared hole before the offset: what was lost cannot be waited for, and
// only a base behind the hole leads to the offset.
func parents(byID map[string]Lineage, l Lineage, offset uint64) bool {
	for range len(byID) {
		if slices.ContainsFunc(l.Holes, func(h Gap) bool { return h.To <= offset }) {
			return true
		}
		if l.Parent.Lineage == "" || l.Offset > l.Parent.Offset {
			return true // no parent, or it began behind a hole
		}
		p, ok := byID[l.Parent.Lineage]
		if !ok || len(p.Chunks) == 0 && len(p.Holes) == 0 {
			return true // retention took it, or it never had a byte of its own
		}
		offset = l.Parent.Offset
		if offset > p.Offset && !inside(openRuns(startOf(p, time.Now()), p.Chunks, p.Holes), offset) {
			return false
		}
		l = p
	}
	return true
}

// holds reports whether the position is inside, or at the end of, a run that
// no open gap comes before.
func (w *watch) holds(holes []Gap) bool {
	closed := openRuns(w.from, w.chunks, holes)
	if n := len(closed); n > 0 {
		// The next listing needs nothing before the chunk that ends the run.
		for _, c := range w.chunks {
			if c.To == closed[n-1].to {
				w.after = c.Key
			}
		}
		for _, r := range closed {
			if r.from <= w.at.Offset {
				w.held = min(r.to, w.at.Offset)
			}
		}
	}
	return inside(closed, w.at.Offset)
}

func inside(rs []run, offset uint64) bool {
	return slices.ContainsFunc(rs, func(r run) bool { return r.from <= offset && offset <= r.to })
}

// WaitDurable waits until a position is durable: until as many vaults as the
// set's Durability each hold everything of its lineage up to it. It returns
// the regions of all vaults that hold it by then, and ctx's end as an error
// of code stalled that names the vaults that lag. It lists each vault once,
// then every poll only what is new. A vault that cannot be reached is tried
// again.
func WaitDurable(ctx context.Context, set vault.Set, shard targets.ShardID, at targets.Position, poll time.Duration) ([]string, error) {
	return AwaitDurable(ctx, set, shard, at, poll, nil)
}

// AwaitDurable is WaitDurable with a word, after every poll, about how many
// bytes are missing still, as far as the vaults show it.
func AwaitDurable(ctx context.Context, set vault.Set, shard targets.ShardID, at targets.Position, poll time.Duration, missing func(bytes uint64)) ([]string, error) {
	watches := make([]*watch, len(set.Vaults))
	for i, v := range set.Vaults {
		watches[i] = &watch{v: v, st: v.Store(), shard: shard, at: at}
	}
	return waitDurable(ctx, set, watches, poll, missing)
}

// heard is what a vault has shown last.
type heard struct {
	any  bool
	done bool
	held uint64
	err  error
}

func waitDurable(parent context.Context, set vault.Set, watches []*watch, poll time.Duration, missing func(bytes uint64)) ([]string, error) {
	if poll <= 0 {
		poll = 200 * time.Millisecond
	}
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	// Each vault is asked for itself: one that is silent must not keep the
	// others from being heard.
	type answer struct {
		i int
		heard
	}
	answers := make(chan answer)
	for i, w := range watches {
		go func() {
			for {
				ok, err := w.reached(ctx)
				if ctx.Err() != nil {
					return // the end says nothing of the vault
				}
				select {
				case answers <- answer{i, heard{true, ok, w.held, err}}:
				case <-ctx.Done():
					return
				}
				if ok {
					return
				}
				select {
				case <-time.After(poll):
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	need, begin := max(set.Durability, 1), time.Now()
	known := make([]heard, len(watches))
	asked := make([]bool, len(watches)) // since enough vaults hold it
	var late <-chan time.Time
	have := func() (regions []string) {
		for i, w := range watches {
			if known[i].done {
				regions = append(regions, w.v.Region())
			}
		}
		return regions
	}
	for {
		select {
		case a := <-answers:
			known[a.i] = a.heard
			enough := len(have()) >= need
			silent := slices.ContainsFunc(known, func(h heard) bool { return !h.any }) && time.Since(begin) < vault.Straggle
			if n := min(need, len(watches)); missing != nil && !silent {
				held := make([]uint64, len(watches))
				for i := range watches {
					held[i] = known[i].held
				}
				slices.Sort(held)
				if least := held[len(held)-n]; least > 0 {
					missing(watches[0].at.Offset - least)
				}
			}
			if !enough {
				continue
			}
			if late == nil {
				late = time.After(vault.Straggle)
			} else {
				asked[a.i] = true
			}
			if !slices.ContainsFunc(known, func(h heard) bool { return !h.done }) || allAsked(known, asked) {
				return have(), nil
			}
		case <-late:
			return have(), nil
		case <-parent.Done():
			var lack []string
			for i, w := range watches {
				switch h := known[i]; {
				case h.done:
				case h.err != nil:
					lack = append(lack, w.v.Region()+" ("+h.err.Error()+")")
				default:
					lack = append(lack, w.v.Region())
				}
			}
			w := watches[0]
			return have(), fail.New(fail.Stalled, "stream: wait until durable", w.shard.String(),
				"see whether the shard's archiver runs and the vaults answer",
				errorf("lineage %s is not yet held up to %d by %v: %w", w.at.Lineage, w.at.Offset, lack, parent.Err()))
		}
	}
}

// allAsked reports whether every vault that is not done has answered once more.
func allAsked(known []heard, asked []bool) bool {
	for i, h := range known {
		if !h.done && !asked[i] {
			return false
		}
	}
	return true
}

const (
	// lookAhead is how many chunks closed after an instant can have been open at it.
	lookAhead = 4
	// mostQuiet is how long an archiver that is connected receives nothing at the
	// most: a Redis master pings its replicas every 10 s.
	mostQuiet = 15 * time.Second
	// pause and burst tell an archiver that caught up from a store with little
	// traffic: more than burst bytes at once after more than pause of silence
	// were not all written in that moment.
	pause = 2 * time.Second
	burst = 4 << 10
)

// OffsetAt turns a wall-clock time of the archiver's host into an offset: the
// greatest offset of the lineage such that every byte below it had been
// received at or before t (to about 100 ms, never late).
//
// Receipt is only a bound for when bytes were written, so it refuses where the
// archiver was not receiving at t: fail.NotFound when nothing had been received
// by then or nothing was received after it, fail.Conflict in a silence that no
// connected store makes or that a burst of bytes ended. An outage of less than
// mostQuiet in which the store wrote less than burst looks like idleness.
func OffsetAt(ctx context.Context, v *vault.Vault, shard targets.ShardID, lineage string, t time.Time) (uint64, error) {
	const op, choose = "stream: offset at a time", "choose another instant, or a named cut (drctl cut list)"
	subject := shard.String() + " lineage " + lineage
	chunks, _, err := listLineage(ctx, v.Store(), shard, lineage, "")
	if err != nil {
		return 0, err
	}
	slices.SortFunc(chunks, compareChunks)
	t = t.Truncate(time.Millisecond)
	// All of a chunk that was closed by t had been received by t. Of those that
	// were closed later only the ones open at t matter, and the one after them.
	done := -1
	for i, c := range chunks {
		if !c.Closed.After(t) && (done < 0 || c.To >= chunks[done].To) {
			done = i
		}
	}
	look := chunks
	if done >= 0 {
		look = chunks[done:]
	}
	var before, after mark // the last receipt by t, the first one later
	end := uint64(0)
	for i, seen := 0, 0; i < len(look) && seen < lookAhead && after.at.IsZero(); i++ {
		c := look[i]
		if i > 0 && c.To <= end {
			continue
		}
		if i > 0 && c.From > end {
			return 0, fail.New(fail.NotFound, op, subject, choose, errorf("no chunk holds bytes %s", Gap{end, c.From}))
		}
		seen++
		end = c.To
		r, meta, err := v.Unseal(ctx, c.Key)
		if err != nil {
			return 0, err
		}
		_ = r.Close()
		h, err := parseHeader(c.Key, meta)
		if err != nil {
			return 0, err
		}
		for _, m := range h.marks {
			if m.at.After(t) {
				if m.offset > before.offset {
					after = m
					break
				}
			} else if m.offset >= before.offset {
				before = m
			}
		}
	}
	stamp := func(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }
	switch quiet := after.at.Sub(before.at); {
	case before.at.IsZero():
		return 0, fail.New(fail.NotFound, op, subject, "choose a later instant", errorf("nothing had been archived at %s", stamp(t)))
	case after.at.IsZero():
		return 0, fail.New(fail.NotFound, op, subject, choose, errorf("the archive ends at %s, before %s", stamp(before.at), stamp(t)))
	case quiet > mostQuiet, quiet > pause && after.offset-before.offset > burst:
		return 0, fail.New(fail.Conflict, op, subject, choose,
			errorf("the archiver received nothing from %s to %s, then %d bytes: which of them were written by %s is not known",
				stamp(before.at), stamp(after.at), after.offset-before.offset, stamp(t)))
	}
	return before.offset, nil
}
