package prooftest

import (
	"fmt"
	"slices"

	"drctl/internal/proof"
	"drctl/internal/proof/clock"
)

// Wrong is something that is not true of a cut.
type Wrong struct {
	// Kind is "causal" (an effect without its cause), "half" (a part of a global
	// transaction), "late" or "missing" (not the state at the instant T) or
	// "untold" (a half that the cut does not list).
	Kind string
	Text string
}

// Judge says what is wrong with a cut, by what truly happened.
func (h *History) Judge(cut *proof.Cut) (wrong []Wrong) {
	say := func(kind, format string, args ...any) {
		wrong = append(wrong, Wrong{kind, fmt.Sprintf(format, args...)})
	}

	in, past := h.recovered(cut)
	for i, o := range h.ops {
		committed := o.shard >= 0 && o.committedAt > 0

		switch {
		case in.has(i):
			if lost := past[i].without(in); lost != (set{}) {
				say("causal", "%s is in the cut, and not all it depends on: %x", o, lost)
			}

			if committed && o.stamped >= cut.T && o.committedAt < h.position(cut, o.shard) {
				say("late", "%s is in a cut of %d", o, cut.T)
			}
		case committed && o.placed <= cut.T:
			say("missing", "%s is not in a cut of %d", o, cut.T)
		}
	}

	if cut.Grade == proof.Proven {
		for _, g := range h.globals {
			h.judgeGlobal(cut, g, in, say)
		}
	}

	return wrong
}

// recovered is what recovery to a cut gives, and what each operation in it depends on.
func (h *History) recovered(cut *proof.Cut) (in set, past []set) {
	past = make([]set, len(h.ops))
	commits := func(o *op) bool {
		return slices.ContainsFunc(cut.InDoubt, func(r proof.Resolution) bool {
			return r.GID == o.gid && r.Shard == shardName(o.shard) && r.Action == proof.CommitIt
		})
	}

	for _, o := range h.ops {
		switch {
		case o.shard < 0:
			if o.redisAt > 0 && o.redisAt <= cut.Redis[o.master].Position {
				in.put(o.id)
				past[o.id] = o.past
			}
		case o.committedAt > 0 && o.committedAt < h.position(cut, o.shard):
			in.put(o.id)
			past[o.id] = o.past
		case o.preparedAt > 0 && o.preparedAt < h.position(cut, o.shard) && commits(o):
			in.put(o.id)
			past[o.id] = o.atPrep
		}
	}

	return in, past
}

func (h *History) position(cut *proof.Cut, shard int) uint64 { return cut.Shards[shard].Position }

// judgeGlobal demands all or nothing of a global transaction, but for one that
// was half done for longer than the limit.
func (h *History) judgeGlobal(cut *proof.Cut, g *gtx, in set, say func(kind, format string, args ...any)) {
	var done int
	told := g.twoPhase // or not told of, because a part is older than what is known
	unseen := false    // a part was prepared before the log was known, and is left as it is

	first := clock.Instant(1 << 60) // when the first part of it in the cut was stamped
	for _, o := range g.ops {
		told = told || o.preparedAt > 0 && o.preparedTrue < h.begun(cut)[o.shard]
		if in.has(o.id) {
			done++

			if o.committedAt > 0 && o.committedAt < h.position(cut, o.shard) {
				first = min(first, o.stamped)
			}
		} else if o.preparedAt > 0 && o.preparedTrue < h.known[o.shard] {
			unseen = true
		} else if g.sloppy && (o.preparedAt == 0 || o.preparedAt >= h.Look.Stretches[o.shard].To) {
			return // a broken protocol can be seen only while it is in the look
		}
	}

	listed := slices.ContainsFunc(cut.Broken, func(b proof.HalfDone) bool { return b.ID == g.id })
	// (One that took longer than the limit was broken for a while: if that was before the list is complete,
	// nobody has to know the end. One in two phases is broken while a part is in doubt, and recovery makes it whole.)
	if listed && !g.twoPhase && done == len(g.ops) && (g.took() <= h.limit || first > h.since(cut) && !told) {
		say("slander", "%s is called broken, and is whole", g.id)
	}

	if done == 0 || done == len(g.ops) || unseen {
		return
	}

	if cut.T-first <= h.limit {
		say("half", "%s: %d of %d after %d", g.id, done, len(g.ops), cut.T-first)
		return
	}

	if first > h.since(cut) && !told && !listed {
		say("untold", "%s is broken since %d and not listed, and the list is said to be complete since %d", g.id, first, h.since(cut))
	}
}

// begun is since when tags are known in the look with which a cut's list begins.
func (h *History) begun(cut *proof.Cut) []clock.Instant {
	if cut.Based {
		return h.first
	}

	return h.known
}

// since is since when a cut says that its list of broken ones is complete.
func (h *History) since(cut *proof.Cut) clock.Instant {
	switch {
	case cut.Complete != nil:
		return *cut.Complete
	case cut.Based:
		return h.complete
	}

	return 1 << 60
}

// took is how long a global transaction was half done.
func (g *gtx) took() clock.Instant {
	var first, last clock.Instant = 1 << 60, -1 << 60
	for _, o := range g.ops {
		first, last = min(first, o.stamped), max(last, o.stamped)
	}

	return last - first
}

func (o *op) String() string {
	if o.shard < 0 {
		return fmt.Sprintf("write %d of master %d at %d", o.id, o.master, o.placed)
	}

	return fmt.Sprintf("commit %d of shard %d (stamped at %d, placed at %d)", o.id, o.shard, o.stamped, o.placed)
}
