package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"drctl/internal/fail"
	"drctl/targets"
)

// memory is an archive, a sink and a source that keep everything in memory.
type memory struct {
	t  testing.TB
	mu sync.Mutex

	order     []string
	timelines map[string]*memTimeline
	cur       *memTimeline
	durable   uint64
	advanced  chan struct{}
	bases     []targets.Artifact
	images    map[string][]byte
	manual    bool // Durable moves only by settle
	gaveUp    error
	onBase    func() // runs when an image has been read, before its base is there
}

type memTimeline struct {
	id     string
	parent targets.Position
	parts  []memPart
	tail   uint64
	start  uint64
}

type memPart struct {
	from uint64
	b    []byte
}

func newMemory(t testing.TB) *memory {
	return &memory{t: t, timelines: map[string]*memTimeline{}, advanced: make(chan struct{}, 1), images: map[string][]byte{}}
}

func (m *memory) Tail() (targets.Position, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()

	if m.cur == nil {
		return targets.Position{}, false
	}

	return targets.Position{Kind: targets.Redis, Timeline: m.cur.id, Offset: m.cur.tail}, true
}

func (m *memory) Begin(_ context.Context, timeline string, offset uint64, parent targets.Position, _ []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()

	l := m.timelines[timeline]
	switch {
	case l == nil:
		l = &memTimeline{id: timeline, parent: parent, tail: offset, start: offset}
		m.timelines[timeline] = l
		m.order = append(m.order, timeline)
	case offset > l.tail:
		l.tail = offset
	}
	m.cur = l
	m.durable = l.tail

	return nil
}

func (m *memory) Write(_ context.Context, offset uint64, p []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()

	l := m.cur
	if offset > l.tail {
		return fail.Newf(fail.Corrupt, "memory", l.id, "hole [%d,%d)", l.tail, offset)
	}

	if skip := l.tail - offset; skip < uint64(len(p)) {
		p = p[skip:]
		l.parts = append(l.parts, memPart{l.tail, bytes.Clone(p)})
		l.tail += uint64(len(p))
	}

	if !m.manual {
		m.durable = l.tail
		m.signal()
	}

	return nil
}

func (m *memory) signal() {
	select {
	case m.advanced <- struct{}{}:
	default:
	}
}

func (m *memory) Durable() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()

	return m.durable
}

func (m *memory) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()

	return m.gaveUp
}

func (m *memory) Advanced() <-chan struct{} { return m.advanced }

func (m *memory) Base(_ context.Context, at targets.Position, image io.Reader, settings map[string]string) error {
	b, err := io.ReadAll(image)
	if err != nil {
		return err
	}

	if m.onBase != nil {
		m.onBase()
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	id := fmt.Sprint("resync-", len(m.bases))
	m.images[id] = b
	m.bases = append(m.bases, targets.Artifact{ID: id, Snapshot: id, Kind: targets.Redis, From: at, Until: at, Bytes: int64(len(b)), Settings: settings})

	return nil
}

func (m *memory) SaveStream(_ context.Context, name string, r io.Reader, _ targets.Progress) (targets.Saved, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return targets.Saved{}, err
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	id := fmt.Sprint("saved-", len(m.images))
	m.images[id] = b

	return targets.Saved{Snapshot: id, Path: name, Bytes: int64(len(b))}, nil
}

func (m *memory) SaveTree(context.Context, targets.TreeRequest) (targets.Saved, error) {
	return targets.Saved{}, errors.New("not for redis")
}

func (m *memory) SaveFile(context.Context, string, string, []byte) (string, error) {
	return "", errors.New("not for redis")
}

func (m *memory) RestoreTree(context.Context, targets.Artifact, string, bool, targets.Progress) error {
	return errors.New("not for redis")
}

func (m *memory) OpenStream(_ context.Context, a targets.Artifact) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()

	b, ok := m.images[a.Snapshot]
	if !ok {
		return nil, fail.Newf(fail.NotFound, "memory", a.Snapshot, "no image")
	}

	return io.NopCloser(bytes.NewReader(b)), nil
}

func (m *memory) File(context.Context, targets.Artifact, string) ([]byte, error) {
	return nil, errors.New("not for redis")
}

func (m *memory) bytes(span targets.Span) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()

	l := m.timelines[span.Timeline]
	if l == nil {
		return nil, fail.Newf(fail.NotFound, "memory", span.Timeline, "no timeline")
	}
	var out []byte

	at := span.From
	for _, p := range l.parts {
		end := p.from + uint64(len(p.b))
		if end <= at || p.from >= span.To {
			continue
		}

		if p.from > at {
			break
		}
		out = append(out, p.b[at-p.from:min(end, span.To)-p.from]...)
		at = min(end, span.To)
	}

	if at != span.To {
		return nil, fail.Newf(fail.NotFound, "memory", span.Timeline, "bytes [%d,%d)", at, span.To)
	}

	return out, nil
}

func (m *memory) Log(_ context.Context, span targets.Span) (io.ReadCloser, error) {
	b, err := m.bytes(span)
	if err != nil {
		return nil, err
	}

	return io.NopCloser(bytes.NewReader(b)), nil
}

func (m *memory) History(context.Context, string) ([]byte, error) { return nil, nil }
func (m *memory) Object(context.Context, string) (io.ReadCloser, error) {
	return nil, errors.New("not for redis")
}
func (m *memory) Manifest(context.Context, string) (io.ReadCloser, error) {
	return nil, errors.New("not for redis")
}

// crash forgets a part of what is not durable, as a killed archiver does.
func (m *memory) crash(keep uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()

	l := m.cur
	if l == nil || keep >= l.tail {
		return
	}

	var parts []memPart
	for _, p := range l.parts {
		if p.from >= keep {
			continue
		}

		if end := p.from + uint64(len(p.b)); end > keep {
			p.b = p.b[:keep-p.from]
		}
		parts = append(parts, p)
	}
	l.parts, l.tail = parts, max(keep, l.start)
}

// path walks from a point back to the newest base before it.
func (m *memory) path(point targets.Position) (base targets.Artifact, spans []targets.Span) {
	m.t.Helper()

	m.mu.Lock()
	defer m.mu.Unlock()

	at := point
	for {
		for i := len(m.bases) - 1; i >= 0; i-- {
			b := m.bases[i]
			if b.From.Timeline == at.Timeline && b.From.Offset <= at.Offset {
				spans = append([]targets.Span{{Timeline: at.Timeline, From: b.From.Offset, To: at.Offset}}, spans...)
				return b, spans
			}
		}

		l := m.timelines[at.Timeline]
		if l == nil || l.parent.Timeline == "" {
			m.t.Fatalf("no base for %+v; bases %+v", point, m.bases)
		}
		spans = append([]targets.Span{{Timeline: l.id, From: l.start, To: at.Offset}}, spans...)
		at = l.parent
	}
}
