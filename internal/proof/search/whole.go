package search

import (
	"container/heap"
	"fmt"
	"regexp"
	"slices"

	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/internal/proof/search/tag"
)

// global is a tagged global transaction: how much of it the look has, and how
// much is in the cut.
type global struct {
	want  int
	last  bool // its last local transaction was seen
	total int
	in    []part // what of it is in the cut
	state
}

// part is a local transaction of a global one.
type part struct {
	shard  int
	member *member     // nil if it was not prepared
	when   clock.Range // of its commit, and
	at     uint64      // where that is, if it was not prepared
}

// earliest is an instant before which it was surely not committed, nor prepared.
func (p part) earliest() clock.Instant {
	if p.member != nil {
		return p.member.when.Earliest
	}

	return p.when.Earliest
}

// committed is the latest instant at which it can have been committed: itself, or, while
// it is only prepared, the first of its group.
func (p part) committed() clock.Instant {
	switch {
	case p.member == nil:
		return p.when.Latest
	case p.member.is == proof.CommitPrepared:
		return p.member.when.Latest
	}

	return p.member.group.first()
}

// halfDone: a part is in the cut, and not all that was seen and is told of.
func (g *global) halfDone() bool {
	return len(g.in) > 0 && (len(g.in) < g.total || g.unseen())
}

// unseen: its tags tell of more than was seen. What is said to be the last part ends it, whatever the others tell.
func (g *global) unseen() bool { return !g.last && (g.want == 0 || g.total < g.want) }

func (g *global) shards() (all []int) {
	for _, p := range g.in {
		all = append(all, p.shard)
	}

	return all
}

// group is a global transaction in two phases.
type group struct {
	members []*member
	reused  bool // a gid was prepared again after it had been committed
	state
}

// member is a prepared transaction: one gid on one shard.
type member struct {
	shard int
	gid   string
	group *group
	// In the look:
	last    proof.Kind // what it did last, as far as was read
	globals []*global  // those of its last PREPARE
	total   int        // how often it is prepared
	// In the cut:
	prepared int        // how often it has been prepared
	is       proof.Kind // what it did last; "" for nothing
	at       uint64     // where it was prepared,
	ended    uint64     // and committed
	when     clock.Range
	tags     []*global
	counted  bool // its global transactions count it
}

// halfDone reports whether the group is not whole in the cut (condition 8), or
// whether it is not known what recovery must do with it (condition 9), and since when.
func (g *group) halfDone(w *whole) (half bool, since clock.Instant) {
	var aborted, doubtful, missing int
	unsure := never

	for _, m := range g.members {
		switch m.is {
		case proof.AbortPrepared:
			aborted++
		case proof.Prepare:
			doubtful++

			if !m.sure(w) {
				unsure = max(unsure, m.when.Latest)
			}
		}

		if m.prepared < m.total {
			missing++
		}
	}

	if g.committed() {
		return (missing > 0 || aborted > 0 || g.reused && doubtful > 0) && !w.skip(allReady), g.first()
	}

	return unsure > never && !w.skip(decided), unsure
}

// sure reports whether a commit of its group would have been seen: the log of
// every shard is known since before it was prepared, and no commit without a
// gid was later.
func (m *member) sure(w *whole) bool {
	return m.when.Earliest > max(w.knownFrom, w.nameless) && !m.group.reused
}

// committed reports whether a part of the group is committed in the cut.
func (g *group) committed() bool {
	return slices.ContainsFunc(g.members, func(m *member) bool { return m.is == proof.CommitPrepared })
}

// closed reports whether somebody tagged a transaction as the last of a global one: whatever is
// wrong with that is known, and done with.
func (w *whole) closed(id string) bool {
	g := w.globals[id]
	return g != nil && g.last && len(g.in) > 0 && len(g.in) == g.total
}

// first is the earliest instant at which a part of it was surely committed.
func (g *group) first() clock.Instant {
	first := always
	for _, m := range g.members {
		if m.is == proof.CommitPrepared {
			first = min(first, m.when.Latest)
		}
	}

	return first
}

// state says since when something is half done.
type state struct {
	id    string
	half  bool
	since clock.Instant // since when it surely is
}

// waiting is an entry of the heap: state s was half done since an instant.
type waiting struct {
	s     *state
	since clock.Instant
}

type newestFirst []waiting

func (h newestFirst) Len() int           { return len(h) }
func (h newestFirst) Less(i, j int) bool { return h[i].since > h[j].since }
func (h newestFirst) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *newestFirst) Push(x any)        { *h = append(*h, x.(waiting)) }
func (h *newestFirst) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]

	return last
}

// event is a record that a global transaction knows.
type event struct {
	index   int // in the records of its shard; -1 for an earlier one
	at      uint64
	kind    proof.Kind
	when    clock.Range
	globals []*global
	member  *member
	record  *proof.Record
}

// whole keeps, while the cut moves on, which global transactions are half done.
type whole struct {
	conditions
	rule      *regexp.Regexp
	events    [][]event // by shard
	done      []int     // how many of them are in the cut
	globals   map[string]*global
	groups    map[string]*group
	doubtful  map[*group]bool // those that are prepared in the cut and not decided
	knownFrom clock.Instant   // the latest of all shards
	nameless  clock.Instant   // the latest commit in the cut of a prepared transaction without a gid
	half      newestFirst
}

// advance moves the cut of a shard on, to before the record next.
func (w *whole) advance(i, next int) {
	for w.done[i] < len(w.events[i]) && w.events[i][w.done[i]].index < next {
		w.include(i, &w.events[i][w.done[i]])
		w.done[i]++
	}
}

func (w *whole) include(i int, e *event) {
	m := e.member
	if m == nil {
		if e.kind == proof.CommitPrepared {
			w.unnamed(e)
		}

		w.add(e.globals, part{shard: i, when: e.when, at: e.at})

		return
	}

	switch e.kind {
	case proof.Prepare:
		m.tags, m.counted = e.globals, false
		m.prepared++
		m.at = e.at
	case proof.AbortPrepared:
		if m.counted {
			w.remove(m)
			m.counted = false
		}
	case proof.CommitPrepared:
		if m.ended = e.at; m.prepared == 0 {
			m.tags, m.at = e.globals, e.at
		}
	}
	m.is, m.when = e.kind, e.when

	if m.group.committed() { // recovery commits what is prepared of it
		for _, o := range m.group.members {
			if o.is == proof.CommitPrepared || o.is == proof.Prepare {
				w.add(o.tags, part{shard: o.shard, member: o})
			}
		}
	}

	w.judgeGroup(m.group)
}

// unnamed takes note of a commit whose PREPARE was not read: its gid and its tags
// are not known, so that it may be a part of anything that is in doubt or yet
// to come, until it is older than the limit (condition 9).
func (w *whole) unnamed(e *event) {
	w.nameless = max(w.nameless, e.when.Latest)
	w.note(&state{id: proof.NamelessID}, !w.skip(decided), e.when.Latest)

	for g := range w.doubtful { // what is decided, or not prepared, does not depend on it
		w.judgeGroup(g)
	}
}

func (w *whole) judgeGroup(g *group) {
	if !g.committed() && slices.ContainsFunc(g.members, func(m *member) bool { return m.is == proof.Prepare }) {
		w.doubtful[g] = true
	} else {
		delete(w.doubtful, g)
	}

	half, since := g.halfDone(w)
	w.note(&g.state, half, since)
}

// add counts a local transaction that is in the cut for its global ones.
func (w *whole) add(globals []*global, p part) {
	for _, g := range globals {
		if p.member == nil || !p.member.counted {
			g.in = append(g.in, p)
		}

		w.judge(g)
	}

	if p.member != nil {
		p.member.counted = true
	}
}

// remove takes back what was counted of a prepared transaction.
func (w *whole) remove(m *member) {
	for _, g := range m.tags {
		g.in = slices.DeleteFunc(g.in, func(p part) bool { return p.member == m })
		w.judge(g)
	}
}

func (w *whole) judge(g *global) {
	since := always
	for _, p := range g.in {
		since = min(since, p.committed())
	}

	w.note(&g.state, g.halfDone() && !w.skip(tagsWhole), since)
}

func (w *whole) note(s *state, half bool, since clock.Instant) {
	if half && (!s.half || s.since != since) {
		heap.Push(&w.half, waiting{s, since})
	}
	s.half, s.since = half, since
}

// youngest is the half-done global transaction that began last, if there is one.
func (w *whole) youngest() (s *state, ok bool) {
	for len(w.half) > 0 {
		if top := w.half[0]; top.s.half && top.s.since == top.since {
			return top.s, true
		}

		heap.Pop(&w.half)
	}

	return nil, false
}

// newWhole reads the tags and gids of a look. It is to be rewound before it is used.
func newWhole(shards []*shard, rule *regexp.Regexp, c conditions) *whole {
	w := &whole{conditions: c, rule: rule, globals: map[string]*global{}, groups: map[string]*group{}, doubtful: map[*group]bool{},
		events: make([][]event, len(shards)), done: make([]int, len(shards)), knownFrom: never, nameless: never}

	for i, s := range shards {
		w.knownFrom = max(w.knownFrom, s.knownFrom())
		members := map[string]*member{}

		for _, r := range s.earlier() {
			w.read(i, s, &r, -1, members)
		}

		for j := range s.Records {
			w.read(i, s, &s.Records[j], j, members)
		}
	}

	return w
}

// rewind takes the cut back to the beginning of the look.
func (w *whole) rewind() *whole {
	for _, g := range w.globals {
		g.in, g.state = nil, state{id: g.id}
	}

	for _, g := range w.groups {
		g.state = state{id: g.id}

		for _, m := range g.members {
			m.prepared, m.is, m.at, m.ended, m.when, m.tags, m.counted = 0, "", 0, 0, clock.Range{}, nil, false
		}
	}

	w.nameless, w.half, w.doubtful = never, nil, map[*group]bool{}

	for i := range w.done {
		w.done[i] = 0
		w.advance(i, 0)
	}

	return w
}

// knownFrom is since when the tags and gids of the shard are known.
func (s *shard) knownFrom() clock.Instant {
	if s.KnownFrom == nil {
		return always
	}

	return *s.KnownFrom
}

func (w *whole) read(i int, s *shard, r *proof.Record, index int, members map[string]*member) {
	if len(r.Tags) == 0 && (r.Kind == proof.Commit || r.Kind == proof.AbortPrepared && r.GID == "") {
		return
	}
	e := event{index: index, at: r.Start, kind: r.Kind, when: s.when(r), record: r}

	if index < 0 {
		e.when = s.whenEarlier(r)
	}

	if r.GID != "" {
		e.member = members[r.GID]
		if e.member == nil {
			e.member = w.join(i, r.GID)
			members[r.GID] = e.member
		}
	}

	w.count(&e, r)
	w.events[i] = append(w.events[i], e)
}

// join makes the gid of a shard a member of its group. A gid that the rule does
// not know is a transaction of that shard alone.
func (w *whole) join(i int, gid string) *member {
	key, name := gid, gid

	if w.rule != nil {
		switch found := w.rule.FindStringSubmatch(gid); len(found) {
		case 0:
			key = fmt.Sprintf("%d\x00%s", i, gid)
		case 1:
			key, name = found[0], found[0]
		default:
			key, name = found[1], found[1]
		}
	}

	g := w.groups[key]
	if g == nil {
		g = &group{state: state{id: name}}
		w.groups[key] = g
	}

	m := &member{shard: i, gid: gid, group: g}
	g.members = append(g.members, m)

	return m
}

// count adds a record to what the look has of its global transactions. A
// prepared transaction counts once, by its PREPARE if that was seen.
func (w *whole) count(e *event, r *proof.Record) {
	m := e.member
	first := m == nil || m.total == 0

	if m != nil {
		switch e.kind {
		case proof.Prepare:
			m.total++
			first = true
			m.group.reused = m.group.reused || m.last == proof.CommitPrepared
		case proof.AbortPrepared:
			for _, g := range m.globals {
				g.total--
			}
			m.globals = nil
		}
		m.last = e.kind
	}

	if e.kind == proof.AbortPrepared {
		return
	}

	for _, text := range r.Tags {
		t := tag.Parse(text)

		g := w.globals[t.ID]
		if g == nil {
			g = &global{state: state{id: t.ID}}
			w.globals[t.ID] = g
		}
		g.want, g.last = max(g.want, t.Want), g.last || t.Last

		if slices.Contains(e.globals, g) {
			continue
		}
		e.globals = append(e.globals, g)

		if first {
			g.total++
		}
	}

	if m != nil && e.kind == proof.Prepare {
		m.globals = e.globals
	}
}
