package prooftest

import (
	"fmt"

	"drctl/internal/proof"
	"drctl/internal/proof/clock"
)

// client does one thing after the other, and knows what it read or was told.
type client struct{ knows set }

// gtx is a global transaction as its client meant it.
type gtx struct {
	id       string
	twoPhase bool
	ops      []*op
	sloppy   bool // its client broke the protocol of two phases
}

// newOp is nil when the history is full.
func (s *sim) newOp(shard, master int) *op {
	if len(s.ops) == min(s.p.Ops, maxOps) {
		return nil
	}
	o := &op{id: len(s.ops), shard: shard, master: master}
	s.ops = append(s.ops, o)

	return o
}

func (s *sim) newOps(shards []int) []*op {
	if len(s.ops)+len(shards) > min(s.p.Ops, maxOps) {
		return nil
	}

	var all []*op
	for _, i := range shards {
		all = append(all, s.newOp(i, -1))
	}

	return all
}

// live is the life of a client: it thinks, mostly shortly, and acts.
func (s *sim) live(c *client) {
	pause := s.about(s.p.Think)
	if s.chance(s.p.Rest) {
		pause += s.about(s.p.RestFor)
	}

	s.after(pause, func() { s.act(c) })
}

func (s *sim) act(c *client) {
	if len(s.ops) == min(s.p.Ops, maxOps) {
		return
	}
	again := func() { s.live(c) }

	switch x := s.rng.Float64(); {
	case x < 0.1:
		s.read(c, again)
	case x < 0.2:
		o := s.clients[s.rng.IntN(len(s.clients))]
		told := c.knows
		s.after(s.about(s.p.Net), func() { o.knows.join(told) })
		again()
	case x < 0.2+s.p.Globals:
		s.global(c, again)
	case len(s.redis) > 0 && s.chance(s.p.Writes):
		if o := s.newOp(-1, s.rng.IntN(len(s.redis))); o != nil {
			s.write(c, o, again)
		}
	default:
		i := s.rng.IntN(len(s.servers))
		if o := s.newOp(i, -1); o != nil {
			s.begin(c, i, func() { s.commit(c, o, proof.Record{Kind: proof.Commit}, again) })
		}
	}
}

// begin reads on a shard in a transaction.
func (s *sim) begin(c *client, i int, then func()) {
	s.after(s.about(s.p.Net), func() {
		read := s.servers[i].visible
		s.after(s.about(s.p.Net), func() { c.knows.join(read); then() })
	})
}

// read reads on a server and leaves nothing behind.
func (s *sim) read(c *client, then func()) {
	if len(s.redis) > 0 && s.chance(0.3) {
		m := s.redis[s.rng.IntN(len(s.redis))]
		s.after(s.about(s.p.Net), func() {
			read := m.visible
			s.after(s.about(s.p.Net), func() { c.knows.join(read); then() })
		})

		return
	}

	s.begin(c, s.rng.IntN(len(s.servers)), then)
}

// global runs a global transaction of a kind that the platform has.
func (s *sim) global(c *client, then func()) {
	if s.p.Gated {
		s.gated(func(leave func()) { s.tagged(c, func() { leave(); then() }) })
		return
	}

	if s.p.TwoPhase && (!s.p.Tagged || s.chance(0.5)) {
		s.twoPhase(c, then)
		return
	}

	s.tagged(c, then)
}

func (s *sim) pickShards() []int {
	shards := s.rng.Perm(len(s.servers))
	return shards[:2+s.rng.IntN(len(shards)-1)]
}

func (s *sim) newGlobal(ops []*op, twoPhase bool) *gtx {
	g := &gtx{id: fmt.Sprintf("g%d", len(s.globals)), twoPhase: twoPhase, ops: ops}
	s.globals = append(s.globals, g)

	return g
}

// tagged commits on several shards, one after the other or at once, and may die
// in between. Under a gate nothing is tagged, and nobody dies.
func (s *sim) tagged(c *client, then func()) {
	ops := s.newOps(s.pickShards())
	if ops == nil {
		then()
		return
	}
	g := s.newGlobal(ops, false)
	dots, saga := s.chance(0.3), s.chance(s.p.Sagas)
	dies := -1

	if s.chance(s.p.Deaths) && !s.p.Gated {
		dies = 1 + s.rng.IntN(len(ops)-1)
	}

	commit := func(i int, acked func()) {
		r := proof.Record{Kind: proof.Commit}
		if !s.p.Gated {
			r.Tags = []string{g.tag(i, dots)}
		}

		s.commit(c, ops[i], r, acked)
	}

	if !dots && !saga && dies < 0 && s.chance(0.4) { // all at once
		left := len(ops)
		for i := range ops {
			commit(i, func() {
				if left--; left == 0 {
					then()
				}
			})
		}

		return
	}

	var from func(i int)
	from = func(i int) {
		switch {
		case i == dies:
			s.live(&client{}) // another client comes in its place
		case i == len(ops):
			then()
		default:
			next := func() { s.after(1, func() { from(i + 1) }) }
			if saga {
				next = func() { s.after(s.about(s.p.RestFor), func() { from(i + 1) }) }
			}

			commit(i, next)
		}
	}
	from(0)
}

func (g *gtx) tag(i int, dots bool) string {
	switch {
	case !dots:
		return fmt.Sprintf("%s/%d", g.id, len(g.ops))
	case i == len(g.ops)-1:
		return g.id + "/."
	}

	return g.id + "/+"
}

// twoPhase prepares on several shards, then commits or rolls back; it may die,
// or stop for long, between any two steps. A sloppy one commits on one shard
// before another has prepared.
func (s *sim) twoPhase(c *client, then func()) {
	ops := s.newOps(s.pickShards())
	if ops == nil {
		then()
		return
	}

	g := s.newGlobal(ops, true)
	for i, o := range ops {
		o.gid = fmt.Sprintf("%s:%d", g.id, i)
	}

	var tags []string
	if s.p.Tagged && s.chance(0.5) { // a saga of which the two phases are one step
		if last := s.newOp(s.rng.IntN(len(s.servers)), -1); last != nil {
			h := s.newGlobal([]*op{ops[0], last}, false)
			tags = []string{h.id + "/2"}
			rest := then
			then = func() {
				s.commit(c, last, proof.Record{Kind: proof.Commit, Tags: tags}, rest)
			}
		}
	}
	tagsOf := func(i int) []string {
		if i == 0 {
			return tags
		}

		return nil
	}

	finish := func(i int, acked func()) {
		s.commit(c, ops[i], proof.Record{Kind: proof.CommitPrepared, GID: ops[i].gid, Tags: tagsOf(i)}, acked)
	}

	if s.chance(s.p.Sloppy) {
		g.sloppy = true

		s.prepare(c, ops[0], tagsOf(0), func() {
			finish(0, func() {
				s.prepare(c, ops[1], nil, func() { finish(1, then) })
			})
		})
		g.ops = g.ops[:2]

		return
	}

	left := len(ops)
	for i, o := range ops {
		s.prepare(c, o, tagsOf(i), func() {
			if left--; left == 0 {
				s.decide(ops, finish, then)
			}
		})
	}
}

func (s *sim) decide(ops []*op, finish func(int, func()), then func()) {
	dies, stalls := -1, false

	switch x := s.rng.Float64(); {
	case x < 0.1:
		for _, o := range ops {
			s.abort(o)
		}

		s.live(&client{})

		return
	case x < 0.1+s.p.Deaths:
		dies = s.rng.IntN(len(ops))
	case x < 0.1+s.p.Deaths+s.p.Stalls:
		stalls = true
	}

	var from func(i int)
	from = func(i int) {
		switch i {
		case dies:
			s.live(&client{})
		case len(ops):
			then()
		default:
			pause := clock.Instant(1)
			if stalls {
				pause = s.about(s.p.RestFor / 2)
			}

			s.after(pause, func() { finish(i, func() { from(i + 1) }) })
		}
	}
	from(0)
}

// gated runs a global transaction inside of the platform's gate.
func (s *sim) gated(do func(leave func())) {
	if s.gateWanted {
		s.atGate = append(s.atGate, func() { s.gated(do) })
		return
	}

	s.inGate++
	do(func() {
		s.inGate--
		if s.inGate == 0 && s.gateWanted {
			s.holdGate()
		}
	})
}

// takeGate keeps global transactions away for a while, now and again.
func (s *sim) takeGate() {
	s.gateWanted = true
	if s.inGate == 0 {
		s.holdGate()
	}
}

func (s *sim) holdGate() {
	s.after(s.about(s.p.Net), func() {
		from := s.now
		s.after(s.about(s.p.RestFor), func() {
			s.holds = append(s.holds, proof.Hold{By: proof.ByGate, Span: proof.Span{From: from, To: s.now}})
			s.after(s.about(s.p.Net), func() {
				s.gateWanted = false
				waiting := s.atGate
				s.atGate = nil

				for _, f := range waiting {
					f()
				}

				s.after(s.about(s.p.RestFor), s.takeGate)
			})
		})
	})
}
