package prove

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/targets"
)

// half is a global transaction that is half done, and since when.
type half struct {
	id       string
	twoPhase bool
	since    clock.Instant
}

// earlier are the records before a stretch that matter: those that were read, and those that
// the base kept, of which the look need not know all.
func (c *checker) earlier(s *proof.Stretch) (all []proof.Record, kept map[uint64]bool) {
	kept = map[uint64]bool{}
	for _, r := range c.kepts[s.Shard] {
		if r.Start < s.Known && !kept[r.Start] {
			kept[r.Start] = true

			all = append(all, r)
		}
	}

	for _, r := range s.Earlier {
		if !kept[r.Start] {
			all = append(all, r)
		}
	}

	slices.SortFunc(all, func(a, b proof.Record) int { return cmp.Compare(a.Start, b.Start) })

	return all, kept
}

// base demands that the look goes on from its base.
func (c *checker) base() {
	if c.look.Base == nil {
		return
	}

	if len(c.look.Base.Places) != len(c.look.Stretches) {
		c.wrong(Shape, targets.ShardID{}, "the base is of %d shards, and not of %d", len(c.look.Base.Places), len(c.look.Stretches))
	}

	for _, s := range c.look.Stretches {
		if at, ok := c.places[s.Shard]; !ok || s.Known == 0 || at < s.Known || at > s.From {
			c.wrong(Shape, s.Shard, "the base at %d does not lie between %d, from where on tags are known, and %d", at, s.Known, s.From)
		}
	}
}

// based reports whether the list of what is broken goes on where that of the base ended.
func (c *checker) based() bool { return c.look.Base != nil && c.old(c.allKnown()) }

// atBase reports whether a local transaction counted at the base already.
func (c *checker) atBase(l *local, group []*prepared) bool {
	before := func(shard targets.ShardID, r *seen) bool {
		at, ok := c.places[shard]
		return ok && r.Start < at
	}

	if l.plain != nil {
		return before(l.plain.shard, l.plain)
	}

	return before(l.two.shard, &l.two.records[l.commit]) && slices.ContainsFunc(group, func(p *prepared) bool {
		return p.is(proof.CommitPrepared) && before(p.shard, p.last())
	})
}

// told checks that the claim lists what is broken and in doubt, and nothing else.
func (c *checker) told(broken []half, untold clock.Instant, doubts map[string]proof.Action) {
	slices.SortFunc(broken, func(a, b half) int {
		return cmp.Or(cmp.Compare(b.since, a.since), cmp.Compare(a.id, b.id), order(a.twoPhase, b.twoPhase))
	})

	complete := untold

	more := max(0, len(broken)-proof.MostBroken)
	if more > 0 {
		if complete = broken[proof.MostBroken].since; !c.based() {
			complete = max(complete, untold)
		}

		broken = broken[:proof.MostBroken]
	}

	var claimed []half
	for _, b := range c.cut.Broken {
		claimed = append(claimed, half{b.ID, b.TwoPhase, b.Since})
	}

	is := slices.Clone(broken)
	for _, all := range [][]half{claimed, is} {
		slices.SortFunc(all, func(a, b half) int {
			return cmp.Or(cmp.Compare(a.id, b.id), order(a.twoPhase, b.twoPhase), cmp.Compare(a.since, b.since))
		})
	}

	if !slices.Equal(claimed, is) || more != c.cut.More {
		c.wrong(Untold, targets.ShardID{}, "broken are %v and %d more, not %v and %d", is, more, claimed, c.cut.More)
	}

	c.complete(complete, more > 0)
	c.sayBroken(is)

	listed := map[string]proof.Action{}
	for _, r := range c.cut.InDoubt {
		listed[r.Shard.String()+" "+r.GID] = r.Action
		c.say("%s: the prepared transaction %s is in doubt: %s.", r.Shard, r.GID, reason(r))
	}

	if len(listed) != len(c.cut.InDoubt) || !maps.Equal(listed, doubts) {
		c.wrong(Untold, targets.ShardID{}, "in doubt are %v, not %v", doubts, listed)
	}
}

// complete checks since when the claim says that its list is complete.
func (c *checker) complete(since clock.Instant, cutOff bool) {
	claim := c.cut.Complete

	switch {
	case c.cut.Based != c.based():
		c.wrong(Untold, targets.ShardID{}, "its list of broken global transactions does not go on from where it says")
	case c.based() && !cutOff, since >= unknown:
		if claim != nil {
			c.wrong(Untold, targets.ShardID{}, "its list of broken global transactions is not complete since %d", *claim)
		}
	case claim == nil || *claim != since:
		c.wrong(Untold, targets.ShardID{}, "its list of broken global transactions is complete since %d, and it does not say so", since)
	default:
		c.say("The list of broken global transactions is complete for those that were half done from %s before the instant on.", ago(c.cut.T-since))
	}
}

func (c *checker) sayBroken(broken []half) {
	if len(broken) == 0 {
		return
	}

	var ids []string
	for _, b := range broken {
		ids = append(ids, b.id)
	}

	c.say("Half done for longer than %s, and not whole in the cut: %s.", ago(c.limit), strings.Join(ids, ", "))
}

func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}

	return -1
}

// kept checks that the claim keeps the records of what it calls broken, and no others.
func (c *checker) kept(all []seen) {
	listed := map[half]bool{}
	for _, b := range c.cut.Broken {
		listed[half{id: b.ID, twoPhase: b.TwoPhase}] = true
	}

	tagged := map[string][]half{} // what the tags say of a gid
	for _, r := range all {
		for _, h := range c.namedBy(&r) {
			if r.in && r.GID != "" {
				tagged[r.shard.String()+" "+r.GID] = append(tagged[r.shard.String()+" "+r.GID], h)
			}
		}
	}

	want := map[half]map[string]*proof.Record{}
	for _, r := range all {
		if !r.in {
			continue
		}

		of := c.namedBy(&r)
		if r.GID != "" {
			_, name := c.group(r.shard, r.GID)
			of = append(tagged[r.shard.String()+" "+r.GID], half{id: name, twoPhase: true})
		}

		for _, h := range of {
			if listed[h] && want[h] == nil {
				want[h] = map[string]*proof.Record{}
			}

			if listed[h] {
				want[h][place(r.shard, r.Start)] = &r.Record
			}
		}
	}

	for _, k := range c.cut.Kept {
		h := half{id: k.ID, twoPhase: k.TwoPhase}
		is := want[h]
		delete(want, h)

		for _, r := range k.Records {
			at := place(r.Shard, r.Start)
			if has := is[at]; has == nil || has.End != r.End || has.Stamp != r.Stamp || has.Kind != r.Kind || has.GID != r.GID || !slices.Equal(has.Tags, r.Tags) {
				c.wrong(Untold, r.Shard, "the record at %d is not one of %s", r.Start, k.ID)
			}

			delete(is, at)
		}

		for at := range is {
			c.wrong(Untold, targets.ShardID{}, "of %s it does not keep the record at %s", k.ID, at)
		}
	}

	for h := range want {
		c.wrong(Untold, targets.ShardID{}, "it keeps no record of %s", h.id)
	}
}

func place(shard targets.ShardID, at uint64) string {
	return shard.String() + " " + targets.FormatLSN(at)
}

// namedBy are the global transactions of a record's tags.
func (c *checker) namedBy(r *seen) (all []half) {
	if r.Kind == proof.AbortPrepared {
		return nil
	}

	for _, text := range r.Tags {
		id, _, _ := readTag(text)
		all = append(all, half{id: id})
	}

	return all
}
