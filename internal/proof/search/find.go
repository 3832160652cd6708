package search

import (
	"cmp"
	"slices"

	"drctl/internal/proof"
	"drctl/internal/proof/clock"
)

// Find looks for quiet instants. It fails with invalid for a look that cannot
// be and a policy that nothing can meet; finding nothing is no error. Its cost
// is O(n log n) over the records of the look.
func Find(look proof.Look, policy proof.Policy) (*proof.Result, error) {
	return find(look, policy, nil)
}

// FindAmong is Find with one after the other of several choices of the look's masters. The first that
// gives a cut of the best grade is taken, else the first of the best grade that any gives. The logs are
// read once for all of them.
func FindAmong(look proof.Look, policy proof.Policy, masters [][]proof.Master) (best *proof.Result, err error) {
	var s *searching

	for _, m := range masters {
		look.Masters = m

		if s == nil {
			s, err = newSearching(&look, &policy, nil)
		} else {
			err = checkLook(&look)
		}

		if err != nil {
			return nil, err
		}

		res := s.find(&look)
		if best == nil || s.rank(res) < s.rank(best) {
			best = res
		}

		if s.rank(best) == 0 {
			break
		}
	}

	return best, nil
}

func find(look proof.Look, policy proof.Policy, c conditions) (*proof.Result, error) {
	s, err := newSearching(&look, &policy, c)
	if err != nil {
		return nil, err
	}

	return s.find(&look), nil
}

// searching is what a look's logs say, whatever its masters are.
type searching struct {
	conditions
	policy *proof.Policy
	shards []*shard
	steps  []proof.ShardStep
	whole  *whole
}

func newSearching(look *proof.Look, policy *proof.Policy, c conditions) (*searching, error) {
	if err := checkLook(look); err != nil {
		return nil, err
	}

	rule, err := checkPolicy(policy)
	if err != nil {
		return nil, err
	}
	out, before := &searching{conditions: c, policy: policy, shards: make([]*shard, len(look.Stretches))}, basedOn(look)

	for i := range look.Stretches {
		s := &shard{Stretch: &look.Stretches[i]}
		if s.clock, err = clock.New(s.Samples, policy.Drift); err != nil {
			return nil, err
		}

		s.based = before[i]
		s.findGaps(c)
		out.shards[i] = s

		for _, step := range s.clock.Steps() {
			out.steps = append(out.steps, proof.ShardStep{Shard: s.Shard, Step: step})
		}
	}

	out.whole = newWhole(out.shards, rule, c)

	return out, nil
}

// grades are those that are acceptable, the best first.
func (s *searching) grades() []proof.Grade {
	if len(s.policy.Grades) == 0 {
		return []proof.Grade{proof.Proven}
	}

	return s.policy.Grades
}

// rank is which of the grades was found.
func (s *searching) rank(r *proof.Result) int {
	if len(r.Cuts) == 0 {
		return len(s.grades())
	}

	return slices.Index(s.grades(), r.Cuts[0].Grade)
}

func (s *searching) find(look *proof.Look) *proof.Result {
	res := &proof.Result{Steps: s.steps}

	for _, grade := range s.grades() {
		f := &finder{conditions: s.conditions, look: look, policy: s.policy, shards: s.shards, grade: grade, blame: blame{}}
		if f.search(s.whole.rewind()); len(f.found) > 0 {
			res.Cuts = f.evidence(s.whole.rewind())
			res.Gaps = f.gaps

			break
		}
		res.Obstacles = append(res.Obstacles, f.obstacles()...)
	}

	return res
}

// finder searches for cuts of one grade.
type finder struct {
	conditions
	look   *proof.Look
	policy *proof.Policy
	shards []*shard
	grade  proof.Grade

	found []candidate
	gaps  []proof.Span
	blame blame
}

// candidate is a cut without its evidence.
type candidate struct {
	t       clock.Instant
	gap     proof.Span
	next    []int // by shard
	markers []int // by master
	hold    int   // -1 for none
}

// search merges the gaps of all sources and looks into each that they share.
func (f *finder) search(w *whole) {
	if f.grade == proof.Proven && !f.policy.Tagged && !f.policy.TwoPhase && !f.policy.Gated {
		f.blame.add(proof.Obstacle{Why: proof.NothingDeclared})
		return
	}

	if f.tooManyUnpaused() {
		f.blame.add(proof.Obstacle{Why: proof.NoCommonPause})
		return
	}

	m := newMerge(f.sources())
	for i := range m.sources {
		f.move(m, w, i)
	}

	for ok := m.begin(); ok; {
		if g := m.common(); open(g) {
			f.visit(m, w, g)
		} else {
			f.blame.add(m.latest().late())
		}
		var moved int
		moved, ok = m.next()

		if ok {
			f.move(m, w, moved)
		}
	}

	for _, s := range m.sources {
		if len(s.gaps) == 0 {
			f.blame.add(s.empty())
		}
	}
}

// sources are all that has to be quiet, the shards first.
func (f *finder) sources() []source {
	var all []source
	for i, s := range f.shards {
		all = append(all, source{gaps: s.gaps, shard: s, index: i})
	}

	for i := range f.look.Masters {
		if m := &f.look.Masters[i]; m.Paused && !f.loose() {
			s := source{master: m, index: i}
			for j, k := range m.Markers {
				s.gaps = append(s.gaps, gap{k.Span, j})
			}
			all = append(all, s)
		}
	}

	if by := f.by(); by != "" && !f.skip(inHold) {
		s := source{hold: by}
		for j, h := range f.look.Holds {
			if h.By == by {
				s.gaps = append(s.gaps, gap{h.Span, j})
			}
		}
		all = append(all, s)
	}

	return all
}

// by is what has to be held at a cut of this grade; "" for nothing.
func (f *finder) by() string {
	switch {
	case f.grade == proof.Locked:
		return proof.ByLocks
	case f.grade == proof.Proven && f.policy.Gated:
		return proof.ByGate
	}

	return ""
}

// move tells the global transactions how far a shard's part of the cut is.
func (f *finder) move(m *merge, w *whole, i int) {
	if s := m.sources[i]; s.shard != nil && s.at < len(s.gaps) {
		w.advance(s.index, s.gaps[s.at].next)
	}
}

// visit looks at a gap that all sources share.
func (f *finder) visit(m *merge, w *whole, g proof.Span) {
	usable := g
	if f.grade == proof.Proven && (f.policy.Tagged || f.policy.TwoPhase) {
		if usable = f.wholeIn(w, g); !open(usable) {
			return
		}
	}

	if win := f.policy.Window; win != nil {
		usable = proof.Span{From: max(usable.From, win.From-1), To: min(usable.To, win.To+1)}
	}

	if f.policy.Pick == proof.Before {
		usable.To = min(usable.To, f.policy.At+1)
	}

	if !open(usable) {
		f.blame.add(proof.Obstacle{Why: proof.OutsideWindow})
		return
	}

	marked := false
	for markers, in := range f.markersIn(usable) {
		marked = true

		f.offer(m, candidate{t: f.instant(in), gap: g, markers: markers})
	}

	switch {
	case !marked:
		f.blame.add(proof.Obstacle{Why: proof.MarkerOutside})
	case f.policy.Pick == proof.All:
		f.gaps = append(f.gaps, usable)
	}
}

// wholeIn is the part of a gap in which no global transaction is half done but
// those that are broken: conditions 6 to 9.
func (f *finder) wholeIn(w *whole, g proof.Span) proof.Span {
	limit := f.limit()

	if from := w.knownFrom + limit; from > g.From && !f.skip(longKnown) {
		if g.From = from; !open(g) {
			f.blame.add(proof.Obstacle{Why: proof.LogTooShort})
			return g
		}
	}

	if s, ok := w.youngest(); ok && s.since+limit > g.From {
		if g.From = s.since + limit; !open(g) {
			f.blame.add(proof.Obstacle{Why: proof.HalfDoneThen, ID: s.id})
		}
	}

	return g
}

// limit is how long something may be half done; without one nothing is broken.
func (f *finder) limit() clock.Instant {
	if f.policy.Limit == 0 {
		return always
	}

	return clock.Instant(f.policy.Limit)
}

// instant is the one of a span that the policy wants.
func (f *finder) instant(in proof.Span) clock.Instant {
	switch f.policy.Pick {
	case proof.Before:
		return in.To - 1
	case proof.Nearest:
		return min(max(f.policy.At, in.From+1), in.To-1)
	}

	return in.From + (in.To-in.From)/2
}

// offer takes a candidate, if it is better than what was found.
func (f *finder) offer(m *merge, c candidate) {
	most := f.policy.Most
	if most == 0 {
		most = 1000
	}

	switch {
	case f.policy.Pick == proof.All && len(f.found) < most, len(f.found) == 0:
	case f.policy.Pick == proof.All || !f.better(c, f.found[0]):
		return
	default:
		f.found = f.found[:0]
	}

	c.hold = -1

	c.next = make([]int, len(f.shards))
	if c.markers == nil {
		c.markers = make([]int, len(f.look.Masters))
	}

	for _, s := range m.sources {
		switch g := s.gaps[s.at]; {
		case s.shard != nil:
			c.next[s.index] = g.next
		case s.master != nil:
			c.markers[s.index] = g.next
		default:
			c.hold = g.next
		}
	}
	f.found = append(f.found, c)
}

func (f *finder) better(a, b candidate) bool {
	far := func(c candidate) int64 { return max(int64(c.t-f.policy.At), int64(f.policy.At-c.t)) }

	switch f.policy.Pick {
	case proof.Before:
		return a.t > b.t
	case proof.Nearest:
		return far(a) < far(b)
	}

	return a.gap.Width() > b.gap.Width()
}

// evidence turns what was found into cuts, moving on once more through the look.
func (f *finder) evidence(w *whole) []proof.Cut {
	slices.SortFunc(f.found, func(a, b candidate) int { return cmp.Compare(a.t, b.t) })

	var cuts []proof.Cut
	for _, c := range f.found {
		for i, next := range c.next {
			w.advance(i, next)
		}
		cuts = append(cuts, f.cut(w, c))
	}

	return cuts
}
