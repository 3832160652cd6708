package stream

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"drctl/internal/fail"
	"drctl/internal/stream/chunk"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

// Archiver writes one shard's stream into a set of vaults; it implements
// targets.Archive. It is safe for concurrent use, though one follower at a
// time writes. Close or Abort ends it and every goroutine it started.
type Archiver struct {
	opt       Options
	log       *slog.Logger
	maxFlight int // chunks on their way

	bg   context.Context // ends with Close or Abort
	stop context.CancelFunc
	wg   sync.WaitGroup

	advanced chan struct{}
	broken   chan struct{} // signalled when the log was interrupted
	events   chan struct{} // wakes the goroutine that reports progress

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced whenever something moved
	known    map[string]standing
	bad      map[string]bool // keys of which a damaged copy was found
	timeline string
	kind     targets.Kind
	begun    bool
	epoch    int    // counts jumps: timelines and holes
	tail     uint64 // offset after the last accepted byte
	wanted   uint64 // the least offset for which somebody waits; 0: nobody does
	durable  uint64
	cur      *building
	flying   []*parcel
	members  []*member
	chunks   int64
	bytes    int64
	stored   int64
	err      error
	closed   bool
}

var _ targets.Archive = (*Archiver)(nil)

const (
	// markEvery is how close two time marks are at least.
	markEvery = 100 * time.Millisecond
	// maxMarks bounds the header of a chunk that stays open for long (a full
	// window): beyond it marks are thinned out.
	maxMarks = 600
)

// standing is what is remembered of a timeline; the tail is that of one that is
// not current.
type standing struct {
	tail    uint64
	origin  bool
	kind    targets.Kind
	offset  uint64
	parent  targets.Position
	history []byte
	holes   []timeline.Gap
	beyond  []timeline.Chunk // behind the tail: archived before what is missing there
	seen    time.Time        // when anything of it was last written, as of its beginning here
}

// building is the chunk that takes bytes now.
type building struct {
	from   uint64
	buf    []byte
	opened time.Time
	last   time.Time // when the newest byte came
	marks  []chunk.Mark
	due    bool // old enough, waits for a free place
	timer  *time.Timer
}

// Tail is the newest archived position, bytes on their way included.
func (a *Archiver) Tail() (targets.Position, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()

	if !a.begun {
		return targets.Position{}, false
	}

	return targets.Position{Kind: a.kind, Timeline: a.timeline, Offset: a.tail}, true
}

// Durable is the offset up to which each of as many vaults as the policy asks
// for holds the current timeline, everything before it included. It is 0 while
// too many vaults still lack older parts.
func (a *Archiver) Durable() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()

	return a.durable
}

// Advanced is signalled whenever Durable may have grown.
func (a *Archiver) Advanced() <-chan struct{} { return a.advanced }

// Interrupted is signalled (capacity 1) when a hole was declared, or a log
// began that left no archived one: see NeedsBase.
func (a *Archiver) Interrupted() <-chan struct{} { return a.broken }

// Timelines describes what the vaults hold, without the chunks: Holes are those
// whose bytes no vault has.
func (a *Archiver) Timelines() []timeline.Timeline {
	a.mu.Lock()
	defer a.mu.Unlock()

	out := make([]timeline.Timeline, 0, len(a.known))
	for id, s := range a.known {
		out = append(out, timeline.Timeline{ID: id, Kind: s.kind, Offset: s.offset, Parent: s.parent, Began: s.seen, Origin: s.origin,
			Holes: slices.Clone(s.holes), History: s.history})
	}

	return out
}

// Progress reports where the archiver stands.
func (a *Archiver) Progress() Progress {
	a.mu.Lock()
	defer a.mu.Unlock()

	p := Progress{Timeline: a.timeline, Received: a.tail, Durable: a.durable, Chunks: a.chunks, Bytes: a.bytes, Stored: a.stored}
	for _, m := range a.members {
		v := VaultProgress{Region: m.v.Region(), Live: m.live, Behind: len(m.missing)}
		if m.lastErr != nil {
			v.Error = m.lastErr.Error()
		}
		p.Vaults = append(p.Vaults, v)
	}

	return p
}

// Err is why the archiver gave up, or nil.
func (a *Archiver) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()

	return a.err
}

// signal wakes all waiters. Callers hold mu.
func (a *Archiver) signal() {
	close(a.changed)

	a.changed = make(chan struct{})
	select {
	case a.events <- struct{}{}:
	default:
	}
}

// giveUp records the error that ends the archiver. Callers hold mu.
func (a *Archiver) giveUp(err error) {
	if a.err == nil && err != nil {
		a.err = err
		a.signal()
	}
}

// wait blocks until cond, called with mu held, is true.
func (a *Archiver) wait(ctx context.Context, cond func() bool) error {
	a.mu.Lock()

	for {
		if a.err != nil {
			a.mu.Unlock()
			return a.err
		}

		if cond() {
			a.mu.Unlock()
			return nil
		}
		ch := a.changed
		a.mu.Unlock()

		select {
		case <-ch:
		case <-ctx.Done():
			return ctx.Err()
		case <-a.bg.Done():
			return a.ended()
		}

		a.mu.Lock()
	}
}

func (a *Archiver) ended() error {
	return fail.Newf(fail.Conflict, "stream: archive", a.opt.Shard.String(), "the archiver is closed")
}

// Begin opens a timeline at an offset, after everything written before is in
// the vaults. Beginning the current timeline, or one that the vaults hold
// already, at or before its tail resumes it there. What is passed over is
// recorded as a declared hole: from the tail to a later offset, and from the
// tail of an archived parent to the place where a new timeline left it. A
// timeline that the vaults hold with another history or parent is an error of
// code corrupt: two streams must not be mixed under one name.
func (a *Archiver) Begin(ctx context.Context, id string, offset uint64, parent targets.Position, history []byte) error {
	if err := vault.ValidName(id); err != nil {
		return err
	}

	a.mu.Lock()

	if err := a.samePast(id, parent, history); err != nil {
		a.mu.Unlock()
		return err
	}

	same := a.begun && a.timeline == id && a.known[id].origin
	if same && offset <= a.tail {
		err := a.err
		a.mu.Unlock()

		return err
	}

	a.mu.Unlock()

	if err := a.Flush(ctx); err != nil {
		return err
	}

	a.mu.Lock()

	if a.begun {
		s := a.known[a.timeline]
		s.tail = a.tail
		a.known[a.timeline] = s
	}
	old, known := a.known[id]
	up, hasUp := a.known[parent.Timeline]
	a.mu.Unlock()

	kind := parent.Kind
	if kind == "" {
		kind = a.opt.Kind
	}
	holed := false

	anew := !known && !hasUp && len(a.Timelines()) > 0
	if !old.origin {
		// The hole before the origin: once the origin is there, nobody looks
		// for the rest of the parent any more.
		if hasUp && up.tail < parent.Offset {
			gaps, err := a.putHoles(ctx, parent.Timeline, up.beyond, up.tail, parent.Offset)
			if err != nil {
				return err
			}
			holed = len(gaps) > 0
			up.holes = append(up.holes, gaps...)
			up.tail = parent.Offset
		}

		o := timeline.Record{Timeline: id, Kind: kind, Offset: offset, Parent: parent, History: history, Began: a.opt.Clock().UTC()}
		if err := a.putRecord(ctx, vault.OriginKey(a.opt.Shard, id), o); err != nil {
			return err
		}
		old.offset, old.parent, old.history = offset, parent, history
	}

	at := offset
	if known {
		at = max(offset, old.tail)
		if offset > old.tail {
			gaps, err := a.putHoles(ctx, id, old.beyond, old.tail, offset)
			if err != nil {
				return err
			}
			holed = holed || len(gaps) > 0
			old.holes = append(old.holes, gaps...)
		}
	}

	a.mu.Lock()
	defer a.mu.Unlock()

	if old.kind != "" {
		kind = old.kind
	}

	if hasUp {
		a.known[parent.Timeline] = up
	}
	old.tail, old.origin, old.kind, old.seen = at, true, kind, a.opt.Clock()
	a.known[id] = old
	sameTimeline := a.begun && a.timeline == id

	a.timeline, a.kind, a.tail, a.begun = id, kind, at, true
	if !sameTimeline {
		a.durable = 0
	}

	a.epoch++
	for _, m := range a.members {
		m.jump(at)
	}

	a.recount()

	if holed || anew {
		a.interrupt()
	}

	a.log.Info("timeline begun", "timeline", id, "offset", at, "parent", parent.Timeline, "hole", holed)

	return nil
}

// samePast refuses a timeline that the vaults hold with another past.
// Callers hold mu.
func (a *Archiver) samePast(timeline string, parent targets.Position, history []byte) error {
	old := a.known[timeline]
	if !old.origin {
		return nil
	}

	what := ""
	switch was := old.parent; {
	case parent.Timeline != "" && was.Timeline != "" && (parent.Timeline != was.Timeline || parent.Offset != was.Offset):
		what = fmt.Sprintf("it left %s at %d, the archived one left %s at %d", parent.Timeline, parent.Offset, was.Timeline, was.Offset)
	case len(history) > 0 && len(old.history) > 0 && !bytes.Equal(history, old.history):
		what = "its history is not the archived one"
	default:
		return nil
	}

	return fail.New(fail.Corrupt, "stream: begin", a.opt.Shard.String()+" timeline "+timeline,
		"two servers went their own ways under one name (two standbys promoted, each by itself?): follow the one that was archived, or archive the other into vaults of its own",
		fmt.Errorf("the server's timeline %s is not the archived one of this name: %s", timeline, what))
}

// Write appends bytes that begin at offset; see targets.Archive.
func (a *Archiver) Write(ctx context.Context, offset uint64, p []byte) error {
	for {
		a.mu.Lock()

		switch {
		case a.err != nil:
			a.mu.Unlock()
			return a.err
		case a.closed:
			a.mu.Unlock()
			return a.ended()
		case !a.begun:
			a.mu.Unlock()
			return fail.Newf(fail.Internal, "stream: write", a.opt.Shard.String(), "write before begin")
		case offset > a.tail:
			tail := a.tail
			a.mu.Unlock()

			return fail.New(fail.Corrupt, "stream: write", a.opt.Shard.String(), "begin the timeline again at the later offset to declare the hole",
				fmt.Errorf("timeline %s bytes [%d,%d) were never received", a.timeline, tail, offset))
		}

		if skip := a.tail - offset; skip >= uint64(len(p)) {
			a.mu.Unlock()
			return nil
		} else {
			p, offset = p[skip:], a.tail
		}
		n := a.take(p)
		p, offset = p[n:], offset+uint64(n)

		if a.wanted != 0 && a.tail >= a.wanted {
			a.wanted = 0
			a.signal()
		}

		a.mu.Unlock()

		if len(p) == 0 {
			return nil
		}

		if err := a.wait(ctx, func() bool { return a.cur == nil || len(a.cur.buf) < a.opt.ChunkSize || a.closed }); err != nil {
			return err
		}
	}
}

// take appends what fits into the current chunk and closes full ones. It
// returns how much it took: less than all means that the window is full.
// Callers hold mu.
func (a *Archiver) take(p []byte) (n int) {
	now := a.opt.Clock()
	for len(p) > 0 {
		if a.cur == nil {
			a.open(now)
		}

		room := a.opt.ChunkSize - len(a.cur.buf)
		if room <= 0 {
			if !a.rotate() {
				return n
			}

			continue
		}
		k := min(room, len(p))
		c := a.cur
		c.buf = append(c.buf, p[:k]...)
		c.last = now
		a.tail += uint64(k)
		p, n = p[k:], n+k

		if len(c.marks) == 0 || now.Sub(c.marks[len(c.marks)-1].At) >= markEvery {
			c.marks = append(c.marks, chunk.Mark{At: now, Offset: a.tail})
			if len(c.marks) > maxMarks {
				thin := c.marks[:0]
				for i := 1; i < len(c.marks); i += 2 {
					thin = append(thin, c.marks[i])
				}
				c.marks = thin
			}
		}

		if len(c.buf) >= a.opt.ChunkSize {
			a.rotate()
		}
	}

	return n
}

func (a *Archiver) open(now time.Time) {
	c := &building{from: a.tail, opened: now, last: now}
	a.cur = c
	c.timer = time.AfterFunc(a.opt.ChunkAge, func() {
		a.mu.Lock()
		defer a.mu.Unlock()

		if a.cur == c {
			c.due = true

			a.rotate()
		}
	})
}

// rotate closes the current chunk and sends it off, unless too many are on
// their way: then the chunk goes on growing up to its size. Callers hold mu.
func (a *Archiver) rotate() bool {
	c := a.cur
	if c == nil || len(c.buf) == 0 {
		return true
	}

	if a.closed || a.bg.Err() != nil {
		return false
	}

	if len(a.flying) >= a.maxFlight {
		a.dropSlow()
		return false
	}

	c.timer.Stop()

	closed := a.opt.Clock()
	if closed.Before(c.opened) {
		closed = c.opened
	}

	to := c.from + uint64(len(c.buf))
	if m := c.marks[len(c.marks)-1]; m.Offset != to {
		c.marks = append(c.marks, chunk.Mark{At: c.last, Offset: to})
	}
	h := chunk.Header{Shard: a.opt.Shard, Timeline: a.timeline, From: c.from, To: to,
		Opened: c.opened, Closed: closed, Marks: c.marks}
	a.cur = nil
	a.send(&parcel{
		item:    item{key: vault.ChunkKey(a.opt.Shard, a.timeline, c.from, to, closed), epoch: a.epoch, from: c.from, to: to},
		meta:    h.Meta(),
		content: c.buf,
	})

	return true
}

// Flush closes the current chunk and waits until at least one vault holds
// everything and the others hold it or are catching up.
func (a *Archiver) Flush(ctx context.Context) error {
	return a.wait(ctx, func() bool {
		a.rotate()
		return a.cur == nil && len(a.flying) == 0
	})
}

// FlushTo waits until the archiver has received its log up to a place, closes the chunk that
// has it, and waits until as many vaults as the policy asks for hold everything before it.
func (a *Archiver) FlushTo(ctx context.Context, at targets.Position) error {
	return a.wait(ctx, func() bool {
		if !a.begun || a.timeline != at.Timeline || a.tail < at.Offset {
			if a.wanted == 0 || at.Offset < a.wanted {
				a.wanted = at.Offset
			}

			return false
		}

		if a.cur != nil && a.cur.from < at.Offset {
			a.rotate()
		}

		return a.durable >= at.Offset
	})
}

// Close writes out what is buffered and ends the archiver. What a vault still
// lacks of older parts is left to the next archiver. It returns the error
// that kept bytes from the vaults. It may be repeated.
func (a *Archiver) Close(ctx context.Context) error {
	a.mu.Lock()
	done := a.closed
	a.mu.Unlock()

	if done {
		return nil
	}
	err := a.Flush(ctx)
	a.Abort()

	return err
}

// Abort ends the archiver at once; bytes that were not durable are dropped,
// as by a crash.
func (a *Archiver) Abort() {
	a.mu.Lock()

	a.closed = true
	if a.cur != nil {
		a.cur.timer.Stop()
	}

	a.signal()
	a.mu.Unlock()
	a.stop()
	a.wg.Wait()
}
