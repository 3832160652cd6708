package prooftest

import (
	"fmt"

	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/targets"
)

// op is one local transaction or one write to Redis.
type op struct {
	id     int
	shard  int // -1 for a write to Redis
	master int
	past   set // all that it had read or been told when it was stamped or executed
	atPrep set // the same when it was prepared

	stamped, placed clock.Instant // of its commit; 0 for never
	committedAt     uint64        // where the record of its commit begins
	preparedAt      uint64
	gid             string
	preparedTrue    clock.Instant // when its PREPARE was placed
	redisAt         uint64
}

// server is a PostgreSQL primary.
type server struct {
	clock   serverClock
	log     []logged
	end     uint64
	visible set
	samples []clock.Sample
}

type logged struct {
	proof.Record
	placed clock.Instant
}

// place gives a record its place in the log.
func (s *sim) place(i int, r proof.Record) uint64 {
	v := s.servers[i]
	r.Start = v.end + uint64(s.rng.IntN(300)) // records that say nothing lie between
	r.End = r.Start + 30 + uint64(s.rng.IntN(50))
	v.end = r.End
	v.log = append(v.log, logged{r, s.now})

	return r.Start
}

// record stamps a record of an operation and, later, places it; then goes on.
func (s *sim) record(o *op, r proof.Record, placed func()) {
	v := s.servers[o.shard]
	r.Stamp = v.clock.read(s.now)

	late := s.about(s.p.Insert)
	if s.chance(s.p.LateInsert) {
		late += s.about(s.p.Insert * 30)
	}

	s.after(late, func() {
		at := s.place(o.shard, r)
		if r.Kind == proof.Prepare {
			o.preparedAt, o.preparedTrue = at, s.now
		} else {
			o.committedAt, o.placed = at, s.now
		}

		placed()
	})
}

// commit commits an operation for a client: stamp, place, visible, acknowledged.
func (s *sim) commit(c *client, o *op, r proof.Record, acked func()) {
	s.after(s.about(s.p.Net), func() {
		o.past.join(c.knows)

		if s.chance(0.5) { // its last statement reads
			o.past.join(s.servers[o.shard].visible)
		}
		o.stamped = s.now
		s.record(o, r, func() {
			s.after(s.about(s.p.Insert/2), func() {
				v := s.servers[o.shard]
				v.visible.join(o.past)
				v.visible.put(o.id)
				s.after(s.about(s.p.Net), func() {
					c.knows.join(o.past)
					c.knows.put(o.id)
					acked()
				})
			})
		})
	})
}

// prepare prepares an operation.
func (s *sim) prepare(c *client, o *op, tags []string, acked func()) {
	s.after(s.about(s.p.Net), func() {
		o.atPrep.join(c.knows)
		s.record(o, proof.Record{Kind: proof.Prepare, GID: o.gid, Tags: tags}, func() {
			s.after(s.about(s.p.Net), acked)
		})
	})
}

// abort rolls a prepared operation back.
func (s *sim) abort(o *op) {
	s.after(s.about(s.p.Net), func() {
		v := s.servers[o.shard]
		stamp := v.clock.read(s.now)
		s.after(s.about(s.p.Insert), func() {
			s.place(o.shard, proof.Record{Kind: proof.AbortPrepared, GID: o.gid, Stamp: stamp})
		})
	})
}

// sample asks a server for its clock, now and again.
func (s *sim) sample(i int) {
	v := s.servers[i]
	t0 := s.now
	s.after(s.about(s.p.SampleNet), func() {
		stamp := v.clock.read(s.now)
		s.after(s.about(s.p.SampleNet), func() {
			v.samples = append(v.samples, clock.Sample{T0: t0, T1: s.now, Stamp: stamp})
		})
	})
	s.after(s.p.SampleEvery/2+clock.Instant(s.rng.Int64N(int64(s.p.SampleEvery))), func() { s.sample(i) })
}

// redis is a Redis master.
type redis struct {
	end     uint64
	visible set
	stops   bool // it is marked under a pause
	paused  bool
	waiting []func()
	markers []proof.Marker
}

// write executes a write of a client, once the master is not paused.
func (s *sim) write(c *client, o *op, acked func()) {
	s.after(s.about(s.p.Net), func() { s.execute(c, o, acked) })
}

func (s *sim) execute(c *client, o *op, acked func()) {
	m := s.redis[o.master]
	if m.paused {
		m.waiting = append(m.waiting, func() { s.execute(c, o, acked) })
		return
	}

	o.past.join(c.knows)
	o.past.join(m.visible)
	m.end += 1 + uint64(s.rng.IntN(90))
	o.redisAt, o.placed = m.end, s.now
	m.visible.join(o.past)
	m.visible.put(o.id)
	s.after(s.about(s.p.Net), func() {
		c.knows.join(o.past)
		c.knows.put(o.id)
		acked()
	})
}

// mark writes a marker to each master that does not stop, now and again.
func (s *sim) mark() {
	for _, m := range s.redis {
		if m.stops {
			continue
		}
		sent := s.now
		s.after(s.about(s.p.Net), func() {
			m.end += 40
			at := m.end
			s.after(s.about(s.p.Net), func() {
				m.markers = append(m.markers, proof.Marker{Timeline: "r", Position: at, Span: proof.Span{From: sent, To: s.now}})
			})
		})
	}

	s.after(s.p.MarkEvery+s.about(s.p.MarkEvery), s.mark)
}

// pause pauses all masters that stop, asks where they stand and lets them go. A hasty
// observer does not wait for all of them.
func (s *sim) pause() {
	hasty := s.chance(s.p.Hasty)
	left := 0
	var release []func()

	for _, m := range s.redis {
		if !m.stops {
			continue
		}

		left++
		s.after(s.about(s.p.Net), func() {
			m.paused = true
			at := m.end
			s.after(s.about(s.p.Net), func() {
				answered := s.now

				let := func() {
					sent := s.now
					s.after(s.about(s.p.Net), func() { s.release(m) })
					m.markers = append(m.markers, proof.Marker{Timeline: "r", Position: at, Span: proof.Span{From: answered, To: sent}})
				}
				if hasty {
					s.after(s.about(s.p.Net), let)
					return
				}

				release = append(release, let)
				if left--; left == 0 {
					s.after(s.about(s.p.Net), func() {
						for _, f := range release {
							f()
						}
					})
				}
			})
		})
	}

	s.after(s.p.MarkEvery*3+s.about(s.p.MarkEvery), s.pause)
}

func (s *sim) release(m *redis) {
	m.paused = false
	waiting := m.waiting
	m.waiting = nil

	for _, f := range waiting {
		f()
	}
}

func shardName(i int) targets.ShardID {
	return targets.ShardID{Target: "orders", Shard: fmt.Sprint(i)}
}
func masterName(i int) targets.ShardID {
	return targets.ShardID{Target: "cache", Shard: fmt.Sprint(i)}
}
