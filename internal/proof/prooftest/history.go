package prooftest

import (
	"math/rand/v2"
	"slices"

	"drctl/internal/proof"
	"drctl/internal/proof/clock"
)

// Parameters say what a history is like. Times are means, in nanoseconds.
type Parameters struct {
	Shards, Masters, Clients int
	Ops                      int // at most 256
	Length                   clock.Instant
	Net, SampleNet           clock.Instant // one way; to the observer
	Insert                   clock.Instant // from the stamp of a commit to its place in the log
	LateInsert               float64       // how many take 30 times as long
	Think, RestFor           clock.Instant
	Rest                     float64 // how many pauses are rests
	SampleEvery, MarkEvery   clock.Instant
	Globals                  float64 // how many actions are global transactions
	Sagas, Deaths, Sloppy    float64
	Stalls                   float64 // how many commits in two phases take their time
	Still                    bool    // the clocks are skewed only
	Steps, Slews             float64 // how many clocks are stepped or slewed once
	Tagged, TwoPhase, Gated  bool
	Writes, Hasty            float64 // how many actions are writes to Redis; how many pauses end before all have begun
	Paused                   bool    // Redis markers are taken under a pause
	Mixed                    bool    // but for the first master
	Limit                    int64   // of half-done global transactions
	LateStart                bool    // the look begins in the middle, tags are known from a little earlier
	LateKnown, NeverKnown    float64 // how many logs have tags that are known from a little later only, or never
	Nameless                 bool    // a commit of a transaction prepared before that has no gid
	UnseenEnd                float64
}

// Ordinary is what a platform is like on a normal day.
func Ordinary(seed uint64) Parameters {
	rng := rand.New(rand.NewPCG(seed, 10))
	p := Parameters{
		Shards: 2 + rng.IntN(3), Clients: 2 + rng.IntN(4), Ops: 60 + rng.IntN(60),
		Length: 40e6, Net: 30e3, SampleNet: 30e3, Insert: 5e3, LateInsert: 0.05,
		Think: 200e3, RestFor: 3e6, Rest: 0.3, SampleEvery: 4e6, MarkEvery: 1e6,
		Globals: 0.1, Sagas: 0.05, Deaths: 0.02, Stalls: 0.05, Writes: 0.3, Limit: 4e6, UnseenEnd: 0.2,
	}
	p.modes(rng)

	return p
}

// Hostile is a day on which everything goes wrong that a proof allows for.
func Hostile(seed uint64) Parameters {
	rng := rand.New(rand.NewPCG(seed, 11))
	slow := clock.Instant(1 + 59*rng.IntN(2)) // long pauses between samples show the drift
	p := Parameters{
		Shards: 2 + rng.IntN(3), Clients: 2 + rng.IntN(5), Ops: 40 + rng.IntN(80),
		Length: 20e6 * slow, Net: clock.Instant(3e3 + rng.Float64()*60e3), Insert: clock.Instant(1e3 + rng.Float64()*30e3),
		SampleNet: []clock.Instant{3e3, 20e3, 200e3}[rng.IntN(3)], LateInsert: rng.Float64() * 0.3, Think: clock.Instant(5e3 + rng.Float64()*100e3), RestFor: 3e6 * slow, Rest: 0.2 + 0.3*rng.Float64(),
		SampleEvery: clock.Instant(1e6+rng.Float64()*6e6) * slow, MarkEvery: 500e3,
		LateKnown: 0.2, NeverKnown: 0.02,
		Globals: 0.4 * rng.Float64(), Sagas: 0.2, Deaths: 0.15, Sloppy: 0.1,
		Writes: 0.3, Hasty: 0.5, Stalls: 0.3, Steps: 0.15, Slews: 0.1, Limit: int64(1e6 + rng.Float64()*6e6), LateStart: rng.IntN(2) == 0, Nameless: rng.IntN(2) == 0, UnseenEnd: 0.3,
	}
	p.modes(rng)

	switch rng.IntN(8) {
	case 0: // clocks: seldom asked, and little time between one operation and the next
		p.Length, p.SampleEvery, p.RestFor = 3e9, 200e6, 100e6
		p.Net, p.SampleNet, p.Insert, p.Think = 2e3, 2e3, 1e3, 2e3
		p.Limit = 100e6
	case 1: // clocks that run well, and slow answers
		p.Net, p.SampleNet, p.Insert, p.Think = 3e3, 100e3, 1e3, 2e3
		p.Still, p.Steps, p.Slews = true, 0, 0
	case 2: // Redis
		p.Masters, p.Paused, p.Writes, p.Globals, p.Ops = 2, true, 0.8, 0.02, 200
	case 3: // two-phase commit
		p.TwoPhase, p.Gated, p.LateStart, p.Nameless = true, false, true, true
		p.Globals, p.Stalls, p.Sloppy = 0.4, 0.6, 0.2
	}
	p.MarkEvery = max(p.MarkEvery, p.Length/60)

	return p
}

// modes draws what the platform has of global transactions and of Redis.
func (p *Parameters) modes(rng *rand.Rand) {
	switch x := rng.Float64(); {
	case x < 0.4:
		p.Tagged = true
	case x < 0.65:
		p.TwoPhase = true
	case x < 0.85:
		p.Tagged, p.TwoPhase = true, true
	default:
		p.Gated = true
	}

	switch x := rng.Float64(); {
	case x < 0.2:
		p.Masters = 1
	case x < 0.4:
		p.Masters, p.Paused = min(2, 1+rng.IntN(4)), true
		p.Mixed = rng.IntN(3) == 0
	}
}

// History is what an observer saw of a group, with the truth for a judge.
type History struct {
	Look   proof.Look
	Policy proof.Policy

	servers []*server
	ops     []*op
	globals []*gtx
	known   []clock.Instant // true instants since which tags are known, by shard
	limit   clock.Instant
	// complete is since when the list of the look's base is complete; first is known of the look
	// with which that began.
	complete clock.Instant
	first    []clock.Instant
	sim      *sim
	asked    [][]asked // by shard
}

// sim is a world with its servers and clients.
type sim struct {
	world
	p       *Parameters
	servers []*server
	redis   []*redis
	clients []*client
	ops     []*op
	globals []*gtx

	gateWanted bool
	inGate     int
	atGate     []func()
	holds      []proof.Hold
}

// view is what the observer knows of the ends of a shard's log.
type view struct {
	known, reached, ended clock.Instant // true instants
	knownTo, from, to     uint64
	reachedAt             clock.Instant // as the observer knows them
	knownAt, endedAt      *clock.Instant
}

// Run simulates a history.
func Run(seed uint64, p Parameters) *History {
	s := &sim{world: world{rng: rand.New(rand.NewPCG(seed, 12)), now: -4 * p.SampleEvery}, p: &p}
	for range p.Shards {
		s.servers = append(s.servers, &server{clock: drawClock(s.rng, &p), end: 1000})
	}

	for i := range p.Masters {
		s.redis = append(s.redis, &redis{stops: p.Paused && !(p.Mixed && i == 0)})
	}

	for i := range s.servers {
		s.sample(i)
	}
	views := s.observe()
	asked := s.askOften(seed)

	s.run(0)
	s.now = 0

	for range p.Clients {
		c := &client{}
		s.clients = append(s.clients, c)
		s.live(c)
	}

	if p.Gated {
		s.after(s.about(p.RestFor), s.takeGate)
	}

	if p.Masters > 0 {
		s.pause()
		s.mark()
	}

	s.run(p.Length + 4*p.SampleEvery)

	h := s.history(views)
	h.asked = asked

	return h
}

// observe plans when the observer asks how far each log reaches.
func (s *sim) observe() []*view {
	var views []*view
	start := clock.Instant(0)

	if s.p.LateStart {
		start = clock.Instant(s.rng.Int64N(int64(s.p.Length / 2)))
	}

	for _, v := range s.servers {
		w := &view{}
		views = append(views, w)

		ask := func(at clock.Instant, place func(truly clock.Instant, end uint64), seen func(asked, answered clock.Instant)) {
			s.after(at-s.now, func() {
				asked := s.now
				s.after(s.about(s.p.Net), func() {
					place(s.now, v.end)
					s.after(s.about(s.p.Net), func() { seen(asked, s.now) })
				})
			})
		}

		apart := 2e6 + clock.Instant(s.rng.Int64N(int64(s.p.Length/8)))
		if s.chance(s.p.LateKnown) {
			apart = -apart
		}
		never := s.chance(s.p.NeverKnown)

		ask(start-apart, func(truly clock.Instant, end uint64) { w.known, w.knownTo = truly, end }, func(_, answered clock.Instant) {
			if !never {
				w.knownAt = &answered
			}
		})
		ask(start, func(truly clock.Instant, end uint64) { w.reached, w.from = truly, end },
			func(_, answered clock.Instant) { w.reachedAt = answered })

		unseen := s.chance(s.p.UnseenEnd)
		ask(s.p.Length-clock.Instant(s.rng.Int64N(int64(s.p.Length/8))),
			func(truly clock.Instant, end uint64) { w.ended, w.to = truly, end },
			func(asked, _ clock.Instant) {
				if !unseen {
					w.endedAt = &asked
				}
			})
	}

	return views
}

// history is what the observer can tell after it.
func (s *sim) history(views []*view) *History {
	h := &History{servers: s.servers, ops: s.ops, globals: s.globals, limit: clock.Instant(s.p.Limit), sim: s}
	h.Policy = proof.Policy{Tagged: s.p.Tagged, TwoPhase: s.p.TwoPhase, Gated: s.p.Gated, Limit: s.p.Limit, GIDs: `^([^:]*):`}
	h.Look = proof.Look{Observer: "o", Holds: s.holds}

	for i, v := range s.servers {
		w := views[i]
		h.known = append(h.known, w.known)
		h.Look.Stretches = append(h.Look.Stretches, s.stretch(i, v, w))
	}

	for i, m := range s.redis {
		slices.SortFunc(m.markers, func(a, b proof.Marker) int { return int(a.From - b.From) })
		h.Look.Masters = append(h.Look.Masters, proof.Master{Shard: masterName(i), Paused: m.stops, Markers: m.markers})
	}

	return h
}

func (s *sim) stretch(i int, v *server, w *view) proof.Stretch {
	st := proof.Stretch{Shard: shardName(i), Timeline: "t", From: w.from, To: w.to, Samples: v.samples,
		Reached: &w.reachedAt, KnownFrom: w.knownAt, Ended: w.endedAt}
	if w.knownAt != nil {
		st.Known = w.knownTo
	}

	prepared := map[string]bool{}

	for _, l := range v.log {
		if l.placed < min(w.known, w.reached) {
			continue
		}

		r := l.Record
		if l.placed < w.known && r.Kind == proof.Commit && s.chance(0.5) {
			r.Tags = nil // they lie before the place where reading began
		}

		switch r.Kind {
		case proof.Prepare:
			prepared[r.GID] = true
		case proof.CommitPrepared, proof.AbortPrepared:
			if s.p.Nameless && !prepared[r.GID] {
				r.GID, r.Tags = "", nil
			}
		}

		switch {
		case l.placed < w.reached:
			if r.GID != "" || len(r.Tags) > 0 || r.Kind == proof.CommitPrepared {
				st.Earlier = append(st.Earlier, r)
			}
		case l.placed < w.ended:
			st.Records = append(st.Records, r)
		}
	}

	return st
}
