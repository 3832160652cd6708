package search

import (
	"container/heap"

	"drctl/internal/proof"
	"drctl/internal/proof/clock"
)

// source is something that has to be quiet at a cut, with its gaps in order: a
// shard, a master that was paused, or what held the writers.
type source struct {
	gaps   []gap
	at     int
	shard  *shard
	master *proof.Master
	hold   string
	index  int // among the shards or the masters of the look
}

// merge goes through the gaps that all sources share, in order of time.
type merge struct {
	sources []source
	byEnd   endFirst // indices of the sources, by where their gap ends
	from    clock.Instant
	late    int // the source whose gap began last
}

func newMerge(sources []source) *merge { return &merge{sources: sources, from: never} }

// begin takes the first gap of each source; false if one has none.
func (m *merge) begin() bool {
	for i := range m.sources {
		if len(m.sources[i].gaps) == 0 {
			return false
		}

		m.enter(i)
		m.byEnd.order = append(m.byEnd.order, i)
	}
	m.byEnd.of = m.sources
	heap.Init(&m.byEnd)

	return true
}

func (m *merge) enter(i int) {
	if g := m.sources[i].gaps[m.sources[i].at]; g.From >= m.from {
		m.from, m.late = g.From, i
	}
}

// common is what the current gaps share; it may be nothing.
func (m *merge) common() proof.Span {
	s := &m.sources[m.byEnd.order[0]]
	return proof.Span{From: m.from, To: s.gaps[s.at].To}
}

// latest is the source whose gap began last.
func (m *merge) latest() *source { return &m.sources[m.late] }

// next goes on with the source whose gap ends first, which it returns; false if
// that was its last.
func (m *merge) next() (moved int, ok bool) {
	moved = m.byEnd.order[0]

	s := &m.sources[moved]
	if s.at+1 == len(s.gaps) {
		return moved, false
	}

	s.at++

	m.enter(moved)
	heap.Fix(&m.byEnd, 0)

	return moved, true
}

// endFirst is a heap of sources.
type endFirst struct {
	of    []source
	order []int
}

func (h *endFirst) end(i int) clock.Instant {
	s := &h.of[h.order[i]]
	return s.gaps[s.at].To
}

func (h *endFirst) Len() int           { return len(h.order) }
func (h *endFirst) Less(i, j int) bool { return h.end(i) < h.end(j) }
func (h *endFirst) Swap(i, j int)      { h.order[i], h.order[j] = h.order[j], h.order[i] }
func (h *endFirst) Push(any)           {}
func (h *endFirst) Pop() any           { return nil }
