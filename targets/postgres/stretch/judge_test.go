package stretch_test

import (
	"fmt"
	"slices"

	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/targets"
	"drctl/targets/postgres/wal"
)

// judge knows what truly happened: by the clients, and by where the records of
// their transactions are.
type judge struct {
	ops    map[int64]*op
	places []map[uint32]place
	shards []targets.ShardID
	limit  clock.Instant
}

// claim is what is said of a cut, without its evidence. T is 0 where no instant is
// claimed.
type claim struct {
	t         clock.Instant
	positions []uint64
	actions   map[string]proof.Action // by shard and gid
	broken    map[string]bool
}

func (j *judge) claim(cut *proof.Cut) claim {
	c := claim{t: cut.T, positions: make([]uint64, len(j.shards)), actions: map[string]proof.Action{}, broken: map[string]bool{}}
	for _, s := range cut.Shards {
		c.positions[slices.Index(j.shards, s.Shard)] = s.Position
	}

	for _, r := range cut.InDoubt {
		c.actions[fmt.Sprint(slices.Index(j.shards, r.Shard), r.GID)] = r.Action
	}

	for _, h := range cut.Broken {
		c.broken[h.ID] = true
	}

	return c
}

// committed reports whether an operation's commit lies before the position.
func (j *judge) committed(c *claim, o *op) bool {
	p := j.places[o.shard][o.xid]

	return p.decided != 0 && p.decided < c.positions[o.shard] && (p.outcome == wal.Committed || p.outcome == wal.CommittedPrepared)
}

// doubtful reports whether an operation is prepared at the position.
func (j *judge) doubtful(c *claim, o *op) bool {
	p, at := j.places[o.shard][o.xid], c.positions[o.shard]

	return p.prepared != 0 && p.prepared < at && (p.decided == 0 || p.decided >= at)
}

// in is every operation whose effects are there after recovery.
func (j *judge) in(c *claim) map[int64]bool {
	in := map[int64]bool{}
	for id, o := range j.ops {
		if j.committed(c, o) || j.doubtful(c, o) && c.actions[fmt.Sprint(o.shard, o.gid)] == proof.CommitIt {
			in[id] = true
		}
	}

	return in
}

// wrong says all that is wrong with a cut.
func (j *judge) wrong(c claim) (faults []string) {
	bad := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }

	in := j.in(&c)
	parts, groups := map[string][]*op{}, map[string][]*op{}

	for id, o := range j.ops {
		if o.global != "" {
			parts[o.global] = append(parts[o.global], o)
		}

		if o.gid != "" {
			groups[o.gid] = append(groups[o.gid], o)
		}

		for _, cause := range o.after {
			if in[id] && cause != 0 && !in[cause] {
				bad("operation %d is in, and %d is not, which it had seen", id, cause)
			}
		}

		switch {
		case c.t == 0:
		case o.acked != 0 && o.acked < c.t && !in[id]:
			bad("operation %d was acknowledged %d ns before the instant and is not in", id, c.t-o.acked)
		case o.begun > c.t && in[id]:
			bad("operation %d began %d ns after the instant and is in", id, o.begun-c.t)
		}
	}

	for id, ops := range parts {
		if n := count(in, ops); n != 0 && n != 2 && !c.broken[id] {
			bad("%d of the parts of %s are in", n, id)
		}

		if c.broken[id] && c.t != 0 && !j.late(ops, c.t) {
			bad("%s is called broken and is not", id)
		}
	}

	for gid, ops := range groups {
		if n := count(in, ops); n != 0 && n != len(ops) {
			bad("%d of the %d parts of the two-phase transaction %s are in", n, len(ops), gid)
		}

		for _, o := range ops {
			if !j.doubtful(&c, o) {
				continue
			}

			want := proof.RollBackIt
			if slices.ContainsFunc(ops, func(o *op) bool { return j.committed(&c, o) }) {
				want = proof.CommitIt
			}

			if got := c.actions[fmt.Sprint(o.shard, gid)]; c.t != 0 && got != want {
				bad("%s is prepared on shard %d, and recovery is to %q it, not to %q", gid, o.shard, got, want)
			}
		}
	}

	return faults
}

// late reports whether a global transaction was half done at an instant, and had
// been for longer than the limit.
func (j *judge) late(ops []*op, t clock.Instant) bool {
	return slices.ContainsFunc(ops, func(o *op) bool { return o.begun+j.limit < t }) &&
		slices.ContainsFunc(ops, func(o *op) bool { return o.acked == 0 || o.acked > t })
}

func count(in map[int64]bool, ops []*op) (n int) {
	for _, o := range ops {
		if in[o.id] {
			n++
		}
	}

	return n
}
