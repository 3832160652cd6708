package prove

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/targets"
)

// An instant that is later than any, for what is not known.
const unknown = clock.Instant(1 << 61)

// seen is a record with when it was stamped and whether it is in the cut.
type seen struct {
	proof.Record
	shard  targets.ShardID
	in     bool
	early  clock.Instant // -unknown if not known
	latest clock.Instant
}

// prepared is all that the logs have of one gid of one shard.
type prepared struct {
	shard   targets.ShardID
	gid     string
	records []seen
}

// local is a local transaction that has tags.
type local struct {
	tags   []string
	plain  *seen     // an ordinary one, or
	two    *prepared // one in two phases
	commit int       // of two: the index of its PREPARE, or of its commit
}

// records are all that matters for global transactions, by shard, in order of the log.
func (c *checker) records() (all []seen) {
	for i := range c.look.Stretches {
		s := &c.look.Stretches[i]

		at := c.claims[s.Shard]

		earlier, kept := c.earlier(s)
		for j, r := range append(earlier, s.Records...) {
			is := seen{Record: r, shard: s.Shard, in: r.Start < at, early: -unknown, latest: unknown}

			if kept[r.Start] && j < len(earlier) {
				if s.KnownFrom != nil {
					is.latest = *s.KnownFrom
				}
			} else if w, ok := c.when(s, r.Stamp); ok {
				is.early, is.latest = w.Earliest, w.Latest
			}

			if j < len(earlier) && s.Reached != nil {
				is.latest = min(is.latest, *s.Reached)
			}
			all = append(all, is)
		}
	}

	return all
}

// last is what the prepared transaction did last in the cut; nil for nothing.
func (p *prepared) last() (r *seen) {
	for i := range p.records {
		if p.records[i].in {
			r = &p.records[i]
		}
	}

	return r
}

func (p *prepared) is(k proof.Kind) bool { r := p.last(); return r != nil && r.Kind == k }

// reused reports whether it was prepared again after it had been committed.
func (p *prepared) reused() bool {
	committed := false
	for _, r := range p.records {
		if r.Kind == proof.Prepare && committed {
			return true
		}
		committed = r.Kind == proof.CommitPrepared
	}

	return false
}

// group names the global transaction of a gid.
func (c *checker) group(shard targets.ShardID, gid string) (key, name string) {
	if c.rule == nil {
		return gid, gid
	}

	found := c.rule.FindStringSubmatch(gid)
	if found == nil {
		return shard.String() + "\x00" + gid, gid
	}

	return found[min(1, len(found)-1)], found[min(1, len(found)-1)]
}

// globals checks conditions 6 to 9, and what the claim tells of global transactions.
func (c *checker) globals() {
	all := c.records()
	two := map[string]*prepared{}
	groups := map[string][]*prepared{}

	var locals []local
	for i := range all {
		r := &all[i]
		if r.GID == "" {
			locals = append(locals, local{tags: r.Tags, plain: r})
			continue
		}
		key := r.shard.String() + " " + r.GID

		if two[key] == nil {
			two[key] = &prepared{shard: r.shard, gid: r.GID}
			g, _ := c.group(r.shard, r.GID)
			groups[g] = append(groups[g], two[key])
		}
		two[key].records = append(two[key].records, *r)
	}

	for _, p := range two {
		locals = append(locals, p.locals()...)
	}

	broken, untold, closed := c.tags(locals, groups)

	doubts, unseen := map[string]proof.Action{}, c.unseen(all)
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		broken = append(broken, c.twoPhase(groups[key], unseen, closed, doubts)...)
	}

	if c.cut.Grade == proof.Proven && (c.policy.Tagged || c.policy.TwoPhase) {
		c.known(all)
	}

	c.told(broken, untold, doubts)
	c.kept(all)
}

// known checks condition 7, and commits whose PREPARE was not read (condition 9).
func (c *checker) known(all []seen) {
	for _, s := range c.look.Stretches {
		if s.KnownFrom == nil || c.cut.T-*s.KnownFrom <= c.limit {
			c.wrong(Half, s.Shard, "its tags are not known for %s before the instant", ago(c.limit))
		}
	}

	for _, r := range all {
		if r.in && r.Kind == proof.CommitPrepared && r.GID == "" && !c.old(r.latest) {
			c.wrong(Half, r.shard, "nobody knows what the prepared transaction committed at %d belongs to", r.Start)
		}
	}
}

// old reports whether something has surely been so for longer than the limit.
func (c *checker) old(since clock.Instant) bool { return c.cut.T-since > c.limit }

// locals are the local transactions of a gid: one for each PREPARE that was not
// rolled back, or one for its commit alone.
func (p *prepared) locals() (all []local) {
	open := false
	for i, r := range p.records {
		switch {
		case r.Kind == proof.Prepare:
			all = append(all, local{tags: r.Tags, two: p, commit: i})
			open = true
		case r.Kind == proof.AbortPrepared && open:
			all = all[:len(all)-1]
			open = false
		case r.Kind == proof.CommitPrepared && len(all) == 0:
			all = append(all, local{tags: r.Tags, two: p, commit: i})
		}
	}

	return all
}

// since is the latest instant at which a local transaction that is in the cut
// was committed, and whether it is: by its own commit, or by that of another one of its group.
func (l *local) since(group []*prepared) (clock.Instant, bool) {
	if l.plain != nil {
		return l.plain.latest, l.plain.in
	}

	last := l.two.last()
	switch {
	case last == nil || last.Kind == proof.AbortPrepared || !l.two.records[l.commit].in:
		return 0, false
	case last.Kind == proof.CommitPrepared:
		return last.latest, true
	}
	first := firstCommit(group)

	return first, first < unknown
}

// early is an instant before which a local transaction was surely not committed, nor prepared.
func (l *local) early() clock.Instant {
	if l.plain != nil {
		return l.plain.early
	}

	early := unknown
	for _, r := range l.two.records {
		early = min(early, r.early)
	}

	return early
}

func firstCommit(group []*prepared) clock.Instant {
	first := unknown
	for _, p := range group {
		if p.is(proof.CommitPrepared) {
			first = min(first, p.last().latest)
		}
	}

	return first
}

// tags checks condition 6 and returns those that are broken, since when the last one was half
// done of which nobody can say that, and those of which the last part is in the cut.
func (c *checker) tags(locals []local, groups map[string][]*prepared) (broken []half, untold clock.Instant, closed map[string]bool) {
	type global struct {
		want, total, in int
		last            bool
		atBase          bool // a part of it counted at the base
		since, early    clock.Instant
	}
	all := map[string]*global{}

	for _, l := range locals {
		var group []*prepared
		if l.two != nil {
			key, _ := c.group(l.two.shard, l.two.gid)
			group = groups[key]
		}
		since, in := l.since(group)
		ids := map[string]bool{}

		for _, text := range l.tags {
			id, want, last := readTag(text)
			if all[id] == nil {
				all[id] = &global{since: unknown, early: unknown}
			}
			g := all[id]
			g.want, g.last = max(g.want, want), g.last || last

			if ids[id] {
				continue
			}
			ids[id] = true
			g.total++

			if in {
				g.in++
				g.since = min(g.since, since)
				g.early = min(g.early, l.early())
				g.atBase = g.atBase || c.atBase(&l, group)
			}
		}
	}
	whole, known, based := 0, c.allKnown(), c.based()
	untold, closed = known, map[string]bool{}

	for _, id := range slices.Sorted(maps.Keys(all)) {
		g := all[id]
		told := g.last || g.want > 0 && g.total >= g.want
		closed[id] = g.last && g.in == g.total

		switch {
		case g.in == 0:
		case g.in == g.total && told:
			whole++
		case c.old(g.since) && g.in == g.total && based && g.atBase && !c.listedIDs[id]:
			// It was whole at the base, or older than what that knew.
		case c.old(g.since) && g.in == g.total && !based && g.early-c.limit <= known:
			untold = max(untold, g.since) // what was not seen of it may be older than what is known
		case c.old(g.since):
			broken = append(broken, half{id: id, since: g.since})
		case c.cut.Grade == proof.Proven && (c.policy.Tagged || c.policy.TwoPhase):
			c.wrong(Half, targets.ShardID{}, "global transaction %s: %d of its parts are in the cut, %d were seen, %d are told of", id, g.in, g.total, g.want)
		}
	}

	c.say("%d tagged global transactions are in the cut as a whole.", whole)

	return broken, untold, closed
}

// allKnown is since when the tags of all shards are known.
func (c *checker) allKnown() (since clock.Instant) {
	since = -unknown
	for _, s := range c.look.Stretches {
		if s.KnownFrom == nil {
			return unknown
		}
		since = max(since, *s.KnownFrom)
	}

	return since
}

// readTag reads "<id>/<n>", "<id>/+" and "<id>/."; anything else is an id.
func readTag(text string) (id string, want int, last bool) {
	slash := strings.LastIndex(text, "/")
	if slash < 0 {
		return text, 0, false
	}

	switch n := text[slash+1:]; {
	case n == "+":
		return text[:slash], 0, false
	case n == ".":
		return text[:slash], 0, true
	default:
		if v, err := strconv.ParseUint(n, 10, 31); err == nil && v > 0 {
			return text[:slash], int(v), false
		}
	}

	return text, 0, false
}

// twoPhase checks conditions 8 and 9 for one global transaction, and notes what
// recovery has to do. It returns its name if it is broken.
func (c *checker) twoPhase(group []*prepared, unseen clock.Instant, closed map[string]bool, doubts map[string]proof.Action) (broken []half) {
	var aborted, missing, doubtful int
	reused := false
	unsure, begun := -unknown, unknown
	first := firstCommit(group)

	for _, p := range group {
		reused = reused || p.reused()
		for _, r := range p.records {
			if r.Kind == proof.Prepare && !r.in {
				missing++
				break
			}
		}
	}

	for _, p := range group {
		switch last := p.last(); {
		case last == nil:
		case last.Kind == proof.AbortPrepared:
			aborted++
		case last.Kind == proof.CommitPrepared:
			begun = min(begun, last.latest)
		default:
			doubtful++
			begun = min(begun, last.latest)
			sure := !reused && last.early > unseen // a commit of another part would have been seen

			if !sure {
				unsure = max(unsure, last.latest)
			}
			action := proof.LeaveIt

			switch {
			case reused:
			case first < unknown:
				action = proof.CommitIt
			case sure:
				action = proof.RollBackIt
			}
			doubts[p.shard.String()+" "+p.gid] = action
		}
	}
	_, name := c.group(group[0].shard, group[0].gid)

	split, since := false, begun
	switch {
	case first < unknown && (missing > 0 || aborted > 0 || reused && doubtful > 0):
		split, since = true, first
	case first >= unknown && unsure > -unknown:
		split, since = true, unsure
	}

	if split && !c.old(since) && c.cut.Grade == proof.Proven && (c.policy.Tagged || c.policy.TwoPhase) {
		c.wrong(Half, targets.ShardID{}, "global transaction %s in two phases is half done, or what becomes of it is not known", name)
	}

	if (split && !closed[name] || doubtful > 0) && c.old(since) {
		broken = append(broken, half{name, true, since})
	}

	return broken
}

// unseen is the last instant at which something may have been committed of which nobody knows what it
// belongs to: before the logs of all shards are known, or with a PREPARE that was not read.
func (c *checker) unseen(all []seen) clock.Instant {
	last := c.allKnown()
	for _, r := range all {
		if r.in && r.Kind == proof.CommitPrepared && r.GID == "" {
			last = max(last, r.latest)
		}
	}

	return last
}

func reason(r proof.Resolution) string {
	switch r.Action {
	case proof.CommitIt:
		return fmt.Sprintf("commit it, because a part of %s is committed in the cut", r.Group)
	case proof.RollBackIt:
		return fmt.Sprintf("roll it back, because no part of %s is committed in the cut", r.Group)
	}

	return "leave it prepared, because whether another part was committed cannot be known from these logs"
}
