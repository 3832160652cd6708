package stream

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"drctl/internal/fail"
	"drctl/internal/stream/chunk"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

// A reader holds or fetches at most this many chunks at once, and this many
// bytes of them (or one chunk, whatever its size). An idle store's stream is a
// small chunk every second, 86,400 a day: only many requests at once read those
// in good time from a store that takes milliseconds to answer each.
const (
	prefetchChunks = 32
	prefetchBytes  = 64 << 20
)

// Reader gives a shard's streams back from one vault: the Log and History
// half of targets.Source. It is safe for concurrent use.
type Reader struct {
	vault *vault.Vault
	shard targets.ShardID

	mu     sync.Mutex
	listed map[string][]timeline.Chunk // per timeline, as of the last listing
}

// NewReader makes a reader of one shard's streams in a vault.
func NewReader(v *vault.Vault, shard targets.ShardID) *Reader {
	return &Reader{vault: v, shard: shard, listed: map[string][]timeline.Chunk{}}
}

// Source is all that a vault holds of one shard: implements targets.Source.
type Source struct {
	*vault.ShardVault
	*Reader
}

var _ targets.Source = Source{}

// NewSource joins a vault's bases, files and objects of a shard with its streams.
func NewSource(v *vault.Vault, shard targets.ShardID) targets.Source {
	s := vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}
	return Source{ShardVault: s.Shard(shard), Reader: NewReader(v, shard)}
}

// History returns the file kept with the timeline, or nil when none is.
func (r *Reader) History(ctx context.Context, timeline string) ([]byte, error) {
	o, err := readRecord(ctx, r.vault, r.shard, timeline)
	if err != nil {
		return nil, err
	}

	return o.History, nil
}

// Log reads exactly the span's bytes, prefetching chunks in parallel.
// Every chunk is decrypted and checked whole before its first byte is given
// out: its own key, shard, timeline, range and length. A span that the vault
// does not hold whole is fail.NotFound naming "timeline bytes [a,b)", before
// the first byte; a damaged chunk is fail.Corrupt naming its key, unless
// other chunks hold the same bytes. Memory: up to 64 MiB of chunks, or one
// chunk that is larger.
func (r *Reader) Log(ctx context.Context, span targets.Span) (io.ReadCloser, error) {
	if span.To < span.From {
		return nil, fail.Newf(fail.Invalid, "stream: read", span.Timeline, "the range [%d,%d) runs backwards", span.From, span.To)
	}

	use, err := r.cover(ctx, span, nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &logReader{r: r, fetch: r.fetch, span: span, pos: span.From, cancel: cancel, ctx: ctx}
	l.plan(use)

	return l, nil
}

// Listed tells the reader what somebody has just listed of a timeline. It lists again where
// that is not all it needs. The chunks are the reader's from then on.
func (r *Reader) Listed(name string, chunks []timeline.Chunk) {
	r.mu.Lock()
	defer r.mu.Unlock()

	timeline.SortChunks(chunks)
	r.listed[name] = chunks
}

// cover lists the span when the known chunks do not suffice.
func (r *Reader) cover(ctx context.Context, span targets.Span, without map[string]bool) ([]timeline.Chunk, error) {
	r.mu.Lock()
	known := r.listed[span.Timeline]
	r.mu.Unlock()

	if use, gaps := timeline.Cover(drop(known, without), span.From, span.To); len(gaps) == 0 {
		return use, nil
	}

	fresh, err := names{r.vault.Store(), r.shard, span.Timeline}.over(ctx, span.From, span.To)
	if err != nil {
		return nil, err
	}

	r.Listed(span.Timeline, fresh)

	use, gaps := timeline.Cover(drop(fresh, without), span.From, span.To)
	if len(gaps) > 0 {
		return nil, fail.New(fail.NotFound, "stream: read", r.shard.String(),
			"look in the other region's vault, or choose another point or base",
			fmt.Errorf("vault %s has no chunk with %s bytes %s", r.vault.Region(), span.Timeline, timeline.GapsText(gaps)))
	}

	return use, nil
}

func drop(chunks []timeline.Chunk, without map[string]bool) []timeline.Chunk {
	if len(without) == 0 {
		return chunks
	}

	return slices.DeleteFunc(slices.Clone(chunks), func(c timeline.Chunk) bool { return without[c.Key] })
}

// fetch reads one chunk whole and checks everything about it.
func (r *Reader) fetch(ctx context.Context, c timeline.Chunk, timeline string) ([]byte, error) {
	body, meta, err := r.vault.Decrypt(ctx, c.Key)
	if err != nil {
		return nil, err
	}
	defer body.Close()

	h, err := chunk.Parse(c.Key, meta)
	if err != nil {
		return nil, err
	}

	if err := h.Check(c, r.shard, timeline); err != nil {
		return nil, err
	}

	return chunk.ReadAll(body, c.Key, c.To-c.From)
}

type fetched struct {
	chunk timeline.Chunk
	body  []byte
	err   error
}

// logReader is one Log call. It is used by one goroutine at a time.
type logReader struct {
	r      *Reader
	fetch  func(ctx context.Context, c timeline.Chunk, timeline string) ([]byte, error)
	span   targets.Span
	ctx    context.Context // of the fetches; lives as long as this reader
	cancel context.CancelFunc
	pos    uint64
	queue  []chan fetched
	flight uint64 // bytes of the chunks in queue
	next   []timeline.Chunk
	buf    []byte
	bad    map[string]bool
	err    error
}

func (l *logReader) plan(use []timeline.Chunk) {
	l.queue, l.flight, l.next = nil, 0, use
	l.fill()
}

// fill keeps fetches under way within the limits.
func (l *logReader) fill() {
	for len(l.next) > 0 {
		c := l.next[0]

		size := c.To - c.From
		if n := len(l.queue); n >= prefetchChunks || n > 0 && l.flight+size > prefetchBytes {
			return
		}
		l.next = l.next[1:]
		l.flight += size
		ch := make(chan fetched, 1)

		l.queue = append(l.queue, ch)
		go func() {
			b, err := l.fetch(l.ctx, c, l.span.Timeline)
			ch <- fetched{chunk: c, body: b, err: err}
		}()
	}
}

// Read gives out the next bytes; io.EOF exactly at the end of the span.
func (l *logReader) Read(p []byte) (int, error) {
	for len(l.buf) == 0 {
		if l.err != nil {
			return 0, l.err
		}

		if l.pos >= l.span.To {
			return 0, io.EOF
		}

		if l.err = l.advance(); l.err != nil {
			return 0, l.err
		}
	}
	n := copy(p, l.buf)
	l.buf = l.buf[n:]
	l.pos += uint64(n)

	return n, nil
}

func (l *logReader) advance() error {
	if len(l.queue) == 0 {
		return fail.Newf(fail.Internal, "stream: read", l.span.Timeline, "the plan ended at %d of %d", l.pos, l.span.To)
	}

	var f fetched
	select {
	case f = <-l.queue[0]:
	case <-l.ctx.Done():
		return l.ctx.Err()
	}
	l.queue = l.queue[1:]

	l.flight -= f.chunk.To - f.chunk.From
	if f.err != nil {
		return l.around(f)
	}

	l.fill()

	if f.chunk.From > l.pos || f.chunk.To <= l.pos {
		return fail.Newf(fail.Internal, "stream: read", f.chunk.Key, "does not continue at %d", l.pos)
	}

	l.buf = f.body[l.pos-f.chunk.From:]
	if rest := l.span.To - l.pos; uint64(len(l.buf)) > rest {
		l.buf = l.buf[:rest]
	}

	return nil
}

// around looks for other chunks that hold what a damaged or vanished one
// does; overlapping archivers leave such copies. Without them the damage is
// the answer.
func (l *logReader) around(f fetched) error {
	if !fail.Is(f.err, fail.Corrupt) && !fail.Is(f.err, fail.NotFound) {
		return f.err
	}

	if l.bad == nil {
		l.bad = map[string]bool{}
	}
	l.bad[f.chunk.Key] = true

	use, err := l.r.cover(l.ctx, targets.Span{Timeline: l.span.Timeline, From: l.pos, To: l.span.To}, l.bad)
	if err != nil {
		return f.err
	}

	l.plan(use)

	return nil
}

// Close stops the prefetching. It may be repeated.
func (l *logReader) Close() error {
	l.cancel()

	if l.err == nil {
		l.err = fail.Newf(fail.Invalid, "stream: read", l.span.Timeline, "read after close")
		l.buf = nil
	}

	return nil
}
