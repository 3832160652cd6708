package simulate

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"drctl/restore/failover"
	"drctl/restore/plan"
	"drctl/targets"
)

// side is a shard's copy in one region.
type side struct {
	alive  bool // the servers run
	writes bool // clients' writes are accepted
	end    int  // of its log
}

// shard is one part of a store on both sides. Buckets have no log; both of their
// sides take writes, and only what moves with their routes counts.
type shard struct {
	id       targets.ShardID
	log      bool
	old, new side
	vault    int  // the end of the log that the vault holds
	claimed  bool // the epoch is ours: the old guard cannot renew
	proof    bool // of silence, and nothing has been undone since
	accepted bool // that log which the vault holds is lost, by somebody's word
	before   side // the old side as it was
	laid     bool // the new side was laid down from the vault, in the standby's place
	stood    int  // where the standby's log ended that was moved aside
}

// route is a way of the clients.
type route struct {
	name  string
	open  bool
	toNew bool
	store bool  // it leads to shards, not to services
	to    []int // the shards behind it
}

// world is what the plan is played against.
type world struct {
	rng    *rand.Rand
	mode   plan.Mode
	calm   bool // nothing goes wrong
	rough  int  // one attempt in so many goes wrong
	cut    bool // the old region lives and is cut off
	shards []shard
	routes []route
	bug    Bug
	did    map[string]bool // steps of which an attempt has done something, its answer lost

	faults  int
	broken  []string // what must never be and was
	trace   []string
	tracing bool
}

func newWorld(t failover.Topology, mode plan.Mode, rng *rand.Rand, calm bool, bug Bug) *world {
	w := &world{rng: rng, mode: mode, calm: calm, bug: bug, did: map[string]bool{}, rough: []int{8, 30, 100}[rng.IntN(3)]}
	lost := mode == plan.ModeFailover
	w.cut = lost && rng.IntN(2) == 0

	for _, s := range t.Shards {
		x := shard{id: s.ID, log: s.Kind.Traits().Log}
		x.old = side{alive: !lost || w.cut, writes: !lost || w.cut, end: 100 + rng.IntN(20)}
		x.vault = x.old.end - rng.IntN(8)
		x.new = side{alive: true, end: x.old.end - rng.IntN(15)}
		x.before = x.old
		w.shards = append(w.shards, x)
	}

	for _, r := range t.Routes {
		x := route{name: r.Name, open: true}

		for i, s := range t.Shards {
			if slices.Contains(r.For, s.ID.Target) {
				x.to, x.store = append(x.to, i), true
			}
		}
		w.routes = append(w.routes, x)
	}

	return w
}

// chance is true once in so many times, and never when all is calm.
func (w *world) chance(oneIn int) bool { return !w.calm && w.rng.IntN(oneIn) == 0 }

func (w *world) note(format string, args ...any) {
	if w.tracing {
		w.trace = append(w.trace, fmt.Sprintf(format, args...))
	}
}

func (w *world) violated(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.note("VIOLATED: %s", text)

	if !slices.Contains(w.broken, text) {
		w.broken = append(w.broken, text)
	}
}

// watch holds the stores against what must never be.
func (w *world) watch() {
	for i := range w.shards {
		if s := &w.shards[i]; s.log && s.old.writes && s.new.writes {
			w.violated("two writable primaries of %s", s.id)
		}
	}
}

// drift is what happens by itself: clients write, logs move, a region comes back.
func (w *world) drift() {
	if len(w.shards) == 0 {
		return
	}
	s := &w.shards[w.rng.IntN(len(w.shards))]

	switch w.rng.IntN(4) {
	case 0: // a client's write, through its route or, in a region that is cut off, past it
		switch at := w.reached(s); {
		case at == &s.old && s.old.writes, w.cut && s.old.writes && s.log:
			s.old.end++
		case at == &s.new && s.new.writes:
			s.new.end++
		}
	case 1: // replication
		if w.mode != plan.ModeFailover && s.old.alive && !s.new.writes && s.new.end < s.old.end {
			s.new.end++
		}
	case 2: // the archive, which cannot reach the other region's vault when it is cut off
		if w.mode != plan.ModeFailover && s.old.alive && s.vault < s.old.end {
			s.vault++
		}
	case 3:
		if w.mode == plan.ModeFailover && !s.old.alive && w.chance(8) {
			s.old.alive = true
			s.old.writes = !s.claimed // its guard asks for the epoch first
			w.note("%s: the old side comes back, takes writes: %t", s.id, s.old.writes)
		}
	}

	w.watch()
}

// reached is the side of a shard that its clients get to, nil when they are held.
func (w *world) reached(s *shard) *side {
	for i := range w.routes {
		for _, k := range w.routes[i].to {
			if &w.shards[k] != s {
				continue
			}

			switch r := w.routes[i]; {
			case !r.open:
				return nil
			case r.toNew:
				return &s.new
			default:
				return &s.old
			}
		}
	}

	return &s.old // clients without a route find the old side by themselves
}

func (w *world) shard(id targets.ShardID) *shard {
	for i := range w.shards {
		if w.shards[i].id == id {
			return &w.shards[i]
		}
	}

	return nil
}

func (w *world) route(name string) *route {
	for i := range w.routes {
		if w.routes[i].name == name {
			return &w.routes[i]
		}
	}

	return nil
}
