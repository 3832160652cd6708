package prove

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/targets"
)

// What says what kind of thing is wrong with a claim.
type What string

// The kinds of faults.
const (
	Shape    What = "shape"    // it does not fit the logs that were given
	Position What = "position" // a shard is not cut where it says
	Bound    What = "bound"    // a stamp was taken at another time than it says
	Gap      What = "gap"      // the instant, or the gap, is not quiet
	Half     What = "half"     // a global transaction is cut in two
	Untold   What = "untold"   // what it says of global transactions is not all, or not so
	Marker   What = "marker"   // a Redis master is not cut at the same instant
	Held     What = "held"     // nothing held the writers then
	Graded   What = "graded"   // the grade needs more than there is
)

// Fault is something that is wrong with a claim.
type Fault struct {
	What What
	// Shard is set where it is about one.
	Shard targets.ShardID
	Text  string
}

// Report is what a check saw.
type Report struct {
	// Accepted: there is no fault.
	Accepted bool
	Faults   []Fault
	// Words are sentences on what was checked, in order.
	Words []string
}

// checker holds a claim and what it is checked against.
type checker struct {
	Report
	cut    *proof.Cut
	look   *proof.Look
	policy *proof.Policy
	rule   *regexp.Regexp
	limit  clock.Instant
	// The samples of each shard, in order.
	samples map[targets.ShardID][]clock.Sample
	// What the look, its base and the claim have of each shard.
	stretches map[targets.ShardID]*proof.Stretch
	places    map[targets.ShardID]uint64
	kepts     map[targets.ShardID][]proof.Record
	claims    map[targets.ShardID]uint64
	markers   map[targets.ShardID]*proof.Master
	// What the base calls broken, but for two phases.
	listedIDs map[string]bool
}

// Check checks a claim against the logs, samples and markers. The policy says
// what the platform declares of its global transactions.
func Check(cut *proof.Cut, look *proof.Look, policy *proof.Policy) *Report {
	c := &checker{cut: cut, look: look, policy: policy, limit: clock.Instant(policy.Limit), samples: map[targets.ShardID][]clock.Sample{}}
	if policy.Limit == 0 {
		c.limit = unknown // nothing is broken
	}

	c.index()

	if c.shape(); len(c.Faults) == 0 {
		c.say("Instant %d of observer %s, %s within a quiet gap of %s.", cut.T, cut.Observer, ago(cut.T-cut.Gap.From), ago(cut.Gap.To-cut.Gap.From))

		if cut.T <= cut.Gap.From || cut.T >= cut.Gap.To {
			c.wrong(Gap, targets.ShardID{}, "the instant %d is not within the gap (%d, %d)", cut.T, cut.Gap.From, cut.Gap.To)
		}

		for i := range cut.Shards {
			c.shard(&cut.Shards[i], c.stretches[cut.Shards[i].Shard])
		}

		c.masters()
		c.grade()
		c.globals()
	}
	c.Accepted = len(c.Faults) == 0

	return &c.Report
}

// index finds what there is of each shard, so that a group of many is no more work for each.
func (c *checker) index() {
	c.stretches, c.places, c.claims = map[targets.ShardID]*proof.Stretch{}, map[targets.ShardID]uint64{}, map[targets.ShardID]uint64{}
	c.markers, c.kepts, c.listedIDs = map[targets.ShardID]*proof.Master{}, map[targets.ShardID][]proof.Record{}, map[string]bool{}

	for i := range c.look.Stretches {
		s := &c.look.Stretches[i]
		c.stretches[s.Shard], c.samples[s.Shard] = s, inOrder(s.Samples)
	}

	for i := range c.look.Masters {
		c.markers[c.look.Masters[i].Shard] = &c.look.Masters[i]
	}

	for _, s := range c.cut.Shards {
		c.claims[s.Shard] = s.Position
	}

	if c.look.Base == nil {
		return
	}

	for _, p := range c.look.Base.Places {
		c.places[p.Shard] = p.Position
	}

	for _, k := range c.look.Base.Kept {
		if !k.TwoPhase {
			c.listedIDs[k.ID] = true
		}

		for _, r := range k.Records {
			c.kepts[r.Shard] = append(c.kepts[r.Shard], r.Record)
		}
	}
}

func (c *checker) say(format string, args ...any) {
	c.Words = append(c.Words, fmt.Sprintf(format, args...))
}

func (c *checker) wrong(what What, shard targets.ShardID, format string, args ...any) {
	c.Faults = append(c.Faults, Fault{what, shard, fmt.Sprintf(format, args...)})
}

// shape demands that the claim and the logs are of the same shards, and the logs in order.
func (c *checker) shape() {
	none := targets.ShardID{}
	if c.cut.Observer != c.look.Observer {
		c.wrong(Shape, none, "its instants are of observer %q, the samples of %q", c.cut.Observer, c.look.Observer)
	}

	claimed, has := map[targets.ShardID]int{}, map[targets.ShardID]int{}
	for _, s := range c.cut.Shards {
		claimed[s.Shard]++
	}

	for _, m := range c.cut.Redis {
		claimed[m.Shard]++
	}

	for _, s := range c.look.Stretches {
		has[s.Shard]++
	}

	for _, m := range c.look.Masters {
		has[m.Shard]++
	}

	if !maps.Equal(claimed, has) || len(has) != len(c.look.Stretches)+len(c.look.Masters) || len(c.cut.Shards) != len(c.look.Stretches) {
		c.wrong(Shape, none, "it is of %v, the logs of %v, and each must be there once", claimed, has)
	}

	for _, s := range c.cut.Shards {
		if c.stretches[s.Shard] == nil {
			c.wrong(Shape, s.Shard, "there is no log of it")
		}
	}

	for _, s := range c.look.Stretches {
		end := s.From
		for _, r := range s.Records {
			if r.Start < end || r.End <= r.Start || r.End > s.To {
				c.wrong(Shape, s.Shard, "the record at %d is not in its place", r.Start)
			}
			end = r.End
		}
	}

	c.base()

	if c.policy.GIDs != "" {
		rule, err := regexp.Compile(c.policy.GIDs)
		if err != nil {
			c.wrong(Shape, none, "the rule for gids: %v", err)
		}
		c.rule = rule
	}
}

// shard checks conditions 1 to 5 for one shard.
func (c *checker) shard(claim *proof.ShardCut, s *proof.Stretch) {
	at, gap := claim.Position, c.cut.Gap

	switch {
	case claim.Timeline != s.Timeline:
		c.wrong(Position, s.Shard, "the log is of timeline %s, the claim of %s", s.Timeline, claim.Timeline)
		return
	case at < s.From || at > s.To:
		c.wrong(Position, s.Shard, "%d is not in the log [%d,%d)", at, s.From, s.To)
		return
	case s.Reached == nil || *s.Reached != claim.Reached:
		c.wrong(Gap, s.Shard, "nobody saw the log reach %d at %d", s.From, claim.Reached)
		return
	case gap.From < *s.Reached:
		c.wrong(Gap, s.Shard, "what lies before %d is known to be there only from %d on", s.From, *s.Reached)
	}

	var last, next *proof.Edge

	before := 0
	for i := range s.Records {
		r := &s.Records[i]
		if r.Kind != proof.Commit && r.Kind != proof.CommitPrepared {
			if r.Start < at && at < r.End {
				c.wrong(Position, s.Shard, "%d is inside of the record at %d", at, r.Start)
			}

			continue
		}
		when, known := c.when(s, r.Stamp)

		switch {
		case r.Start >= at && next == nil:
			next = &proof.Edge{Position: r.Start, Stamp: r.Stamp, Range: when}
			if !known || when.Earliest < gap.To {
				c.wrong(Gap, s.Shard, "the commit at %d is not in the cut, and may have been stamped before the gap ends", r.Start)
			}
		case r.Start < at:
			before++

			if !known || when.Latest > gap.From {
				c.wrong(Gap, s.Shard, "the commit at %d is in the cut, and may have been stamped after the gap began", r.Start)
			}

			if last == nil || when.Latest > last.Latest {
				last = &proof.Edge{Position: r.Start, Stamp: r.Stamp, Range: when}
			}
		}
	}

	c.end(claim, s, next)
	c.edge(s, "last commit before", claim.Last, last)
	c.edge(s, "first commit after", claim.Next, next)
	c.tellShard(claim, s, before)
}

// end checks where a shard's part ends: at its next commit, or where its log did.
func (c *checker) end(claim *proof.ShardCut, s *proof.Stretch, next *proof.Edge) {
	switch {
	case next != nil && claim.Position != next.Position:
		c.wrong(Position, s.Shard, "the first commit that is not in the cut begins at %d, not at %d", next.Position, claim.Position)
	case next != nil:
	case claim.Position != s.To:
		c.wrong(Position, s.Shard, "the log ends at %d, not at %d", s.To, claim.Position)
	case s.Ended == nil || claim.Ended == nil || *s.Ended != *claim.Ended:
		c.wrong(Gap, s.Shard, "nobody saw the log end at %d", s.To)
	case *s.Ended < c.cut.Gap.To:
		c.wrong(Gap, s.Shard, "the log was seen to end at %d only until %d", s.To, *s.Ended)
	}
}

func (c *checker) edge(s *proof.Stretch, name string, claim, is *proof.Edge) {
	switch {
	case claim == nil && is == nil:
	case claim == nil || is == nil || claim.Position != is.Position || claim.Stamp != is.Stamp:
		c.wrong(Position, s.Shard, "the %s the cut is not the one that it names", name)
	case claim.Range != is.Range:
		c.wrong(Bound, s.Shard, "the %s the cut was stamped in [%d, %d], not in [%d, %d]",
			name, is.Earliest, is.Latest, claim.Earliest, claim.Latest)
	}
}

// masters checks conditions 10 and 11.
func (c *checker) masters() {
	unpaused := 0
	for _, m := range c.cut.Redis {
		c.together(m)

		if !c.marked(m) {
			c.wrong(Marker, m.Shard, "nobody saw the stream at %d in [%d, %d]", m.Position, m.From, m.To)
			continue
		}

		covered := c.cut.Gap.From < m.From && m.To < c.cut.Gap.To
		switch {
		case m.Paused && !(m.From < c.cut.T && c.cut.T < m.To):
			c.wrong(Marker, m.Shard, "it stood at %d during [%d, %d], and not at %d", m.Position, m.From, m.To, c.cut.T)
		case !m.Paused && !covered:
			c.wrong(Marker, m.Shard, "its marker is of [%d, %d], which the gap does not cover", m.From, m.To)
		case !m.Paused && (c.cut.T < m.From || m.To < c.cut.T):
			c.wrong(Marker, m.Shard, "its marker is of [%d, %d], and not of %d", m.From, m.To, c.cut.T)
		case m.Paused:
			c.say("%s: it stood at offset %d, paused for %s around the instant.", m.Shard, m.Position, ago(m.To-m.From))
		default:
			unpaused++

			c.say("%s: the marker at offset %d was executed within %s around the instant, inside of the gap.", m.Shard, m.Position, ago(m.To-m.From))
		}
	}

	if unpaused > 1 {
		c.wrong(Marker, targets.ShardID{}, "%d masters were marked without a pause", unpaused)
	}
}

// together demands that a master that was not paused was marked while those that
// were stood still.
func (c *checker) together(m proof.MasterCut) {
	if m.Paused {
		return
	}

	for _, o := range c.cut.Redis {
		if o.Paused && (m.From < o.From || o.To < m.To) {
			c.wrong(Marker, m.Shard, "its marker is of [%d, %d], and %s stood still during [%d, %d]", m.From, m.To, o.Shard, o.From, o.To)
		}
	}
}

func (c *checker) marked(m proof.MasterCut) bool {
	has := c.markers[m.Shard]

	return has != nil && has.Paused == m.Paused && slices.Contains(has.Markers, m.Marker)
}

// grade checks condition 12, and that the platform declares enough for the grade.
func (c *checker) grade() {
	p, t := c.policy, c.cut.T
	by := ""

	switch c.cut.Grade {
	case proof.Proven:
		if !p.Tagged && !p.TwoPhase && !p.Gated {
			c.wrong(Graded, targets.ShardID{}, "the platform declares neither tags nor two phases nor a gate")
		}

		if p.Gated {
			by = proof.ByGate
		}
	case proof.Locked:
		by = proof.ByLocks
	case proof.Ordered:
	default:
		c.wrong(Graded, targets.ShardID{}, "there is no grade %q", c.cut.Grade)
	}

	if by == "" {
		return
	}
	h := c.cut.Hold

	held := false
	for _, has := range c.look.Holds {
		held = held || h != nil && *h == has && has.By == by && has.From < t && t < has.To
	}

	if !held {
		c.wrong(Held, targets.ShardID{}, "the %s was not held at %d", by, t)
		return
	}

	c.say("The %s was held from %s before the instant until %s after it.", by, ago(t-h.From), ago(h.To-t))
}

func (c *checker) tellShard(claim *proof.ShardCut, s *proof.Stretch, before int) {
	t := c.cut.T
	words := fmt.Sprintf("%s: recovery stops at %s, before the record there. ", s.Shard, targets.FormatLSN(claim.Position))

	if claim.Last != nil {
		words += fmt.Sprintf("All %d commits of the log before it were stamped at least %s before the instant; the latest, at %s, showed %s. ",
			before, ago(t-claim.Last.Latest), targets.FormatLSN(claim.Last.Position), stamp(claim.Last.Stamp))
	} else {
		words += "The log before it has no commit. "
	}
	words += fmt.Sprintf("What lies before %s had been there %s before the instant. ", targets.FormatLSN(s.From), ago(t-claim.Reached))

	switch {
	case claim.Next != nil:
		words += fmt.Sprintf("The next commit showed %s, at least %s after it.", stamp(claim.Next.Stamp), ago(claim.Next.Earliest-t))
	case claim.Ended != nil:
		words += fmt.Sprintf("The log did not reach further %s after it.", ago(*claim.Ended-t))
	}

	c.say("%s", words)
}

func stamp(s clock.Stamp) string {
	return time.Unix(0, int64(s)).UTC().Format("2006-01-02T15:04:05.000000Z")
}

func ago(d clock.Instant) string { return time.Duration(d).String() }
