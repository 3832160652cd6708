package detection

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"drctl/targets"
)

// A history is a region that lives and dies, places that look at it over links that are cut,
// whose probes cannot run, whose processes are held up, whose clocks are off and whose words
// come late, and a judge in one of the places. An oracle that shares no code with the judge
// says at each instant whether "lost" may be said.

const (
	step   = 100 * time.Millisecond
	length = 60 * time.Second
)

var rules = Rules{Lost: 2 * time.Second, Up: 2 * time.Second, Stale: 1500 * time.Millisecond, Skew: time.Second, Votes: 2, Window: 30 * time.Second}

var base = time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)

func shards() []targets.ShardID {
	return []targets.ShardID{{Target: "orders", Shard: "0"}, {Target: "carts", Shard: "0"}}
}

// span is a time in which something is so.
type span struct{ from, to time.Duration }

func within(spans []span, at time.Duration) bool {
	return slices.ContainsFunc(spans, func(s span) bool { return at >= s.from && at < s.to })
}

// looker is a process that looks.
type looker struct {
	place, process string
	off            time.Duration // its wall clock
	next           time.Duration
	// cut: it does not reach the region; broken: its probes cannot run; held: it does not
	// run; late: what it says is on its way for long.
	cut, broken, held, late []span
}

// word is a vote on its way.
type word struct {
	looked, heard time.Duration
	vote          Vote
}

type history struct {
	rnd     *rand.Rand
	dead    [][]span // by shard
	parted  [][]span // the standby gets no bytes though the primary lives
	lookers []*looker
	judge   struct{ held, away []span } // away: from the voters
	lease   []span                      // the voters say that the guards are silent
	clean   bool                        // nothing but one death
	died    time.Duration
}

func (h *history) spans(p float64, most time.Duration) (out []span) {
	for h.rnd.Float64() < p && len(out) < 4 {
		from := time.Duration(h.rnd.Int64N(int64(length)))
		out = append(out, span{from, from + time.Duration(h.rnd.Int64N(int64(most)))})
	}

	return out
}

func newHistory(seed uint64) *history {
	h := &history{rnd: rand.New(rand.NewPCG(seed, 7)), clean: seed%8 == 0}

	for i, p := range []struct{ place, process string }{{"west", "w1"}, {"west", "w2"}, {"third", "t1"}, {"east", "e1"}} {
		l := &looker{place: p.place, process: p.process, next: time.Duration(i) * step}
		if !h.clean {
			l.cut, l.broken, l.held, l.late = h.spans(0.5, 20*time.Second), h.spans(0.3, 20*time.Second), h.spans(0.4, 20*time.Second), h.spans(0.3, 10*time.Second)
			if h.rnd.IntN(6) == 0 {
				l.off = time.Duration(h.rnd.IntN(20)-10) * time.Second
			}
		}
		h.lookers = append(h.lookers, l)
	}

	h.died = 20*time.Second + time.Duration(h.rnd.IntN(50))*step
	region := []span{{h.died, length}}

	if !h.clean {
		region = h.spans(0.7, 25*time.Second)
		h.judge.held, h.judge.away, h.lease = h.spans(0.3, 10*time.Second), h.spans(0.3, 20*time.Second), h.spans(0.2, 20*time.Second)
	}

	for range shards() {
		d, p := slices.Clone(region), []span(nil)
		if !h.clean && h.rnd.IntN(3) == 0 {
			d = append(d, h.spans(0.5, 25*time.Second)...)
		}

		if !h.clean {
			p = h.spans(0.5, 25*time.Second)
		}
		h.dead, h.parted = append(h.dead, d), append(h.parted, p)
	}

	return h
}

// look is what a process sees.
func (h *history) look(l *looker, at time.Duration) Vote {
	v := Vote{Place: l.place, Process: l.process, Region: "east", Wall: base.Add(at + l.off)}

	for i, id := range shards() {
		p := Sighting{Kind: Probe, Shard: id, Server: id.String() + "@east", Saw: Alive}

		switch {
		case within(l.broken, at):
			p.Saw = Unable
		case within(h.dead[i], at) || within(l.cut, at) || l.place == "east" && within(h.dead[0], at) && h.rnd.IntN(2) == 0:
			p.Saw = Dead
		}
		v.Sightings = append(v.Sightings, p)

		if l.place != "west" {
			continue
		}
		s := Sighting{Kind: Link, Shard: id, Server: id.String() + "@west", Saw: Alive}

		switch {
		case within(l.broken, at):
			s.Saw = Unable
		case within(h.dead[i], at) || within(h.parted[i], at):
			s.Saw = Dead
		}
		v.Sightings = append(v.Sightings, s)
	}

	if l.place == "west" && within(h.lease, at) {
		v.Sightings = append(v.Sightings, Sighting{Kind: Lease, Saw: Dead})
	}

	return v
}

// oracle knows what was said when, and for how long "lost" could have been said.
type oracle struct {
	said  []word          // on its way
	known map[string]word // the newest of each process
	good  time.Duration   // since when, -1 is not
	last  time.Duration
	flaps []time.Duration
	was   State
}

// listen takes in what has come by now.
func (o *oracle) listen(now time.Duration) {
	o.said = slices.DeleteFunc(o.said, func(w word) bool {
		if was, ok := o.known[w.vote.Process]; w.heard <= now && (!ok || w.looked > was.looked) {
			o.known[w.vote.Process] = w
		}

		return w.heard <= now
	})
}

// may reports whether all conditions of a loss hold now, in true time.
func (o *oracle) may(now time.Duration, voters bool) bool {
	for _, id := range shards() {
		places, part := map[string]bool{}, false

		for _, w := range o.known {
			if now-w.heard > rules.Stale {
				continue
			}

			for _, s := range w.vote.Sightings {
				ours := s.Kind == Lease || s.Shard == id
				if ours && s.Saw == Alive {
					return false // somebody sees life
				}

				// What is off by a clock may count for longer, as the rules say.
				if !ours || s.Saw != Dead || base.Add(now).Sub(w.vote.Wall).Abs() > rules.Stale+rules.Skew {
					continue
				}

				switch s.Kind {
				case Probe:
					places[w.vote.Place] = true
				case Lease:
					places[""] = true
				case Link:
					part = true
				}
			}
		}

		if len(places) < rules.Votes || !part || !voters {
			return false
		}
	}

	return true
}

// play plays a history, and says what must not be.
func play(seed uint64, om omit) (violated string, lostAt time.Duration) {
	h := newHistory(seed)
	o := &oracle{good: -1, known: map[string]word{}}

	var m Memory
	lostAt = -1

	for now := time.Duration(0); now < length; now += step {
		for _, l := range h.lookers {
			if now < l.next || within(l.held, now) {
				continue
			}
			l.next = now + 500*time.Millisecond
			late := time.Duration(h.rnd.IntN(3)) * step

			if within(l.late, now) {
				late += time.Duration(h.rnd.IntN(120)) * step
			}

			if l.process == "w1" {
				late = 0 // the judge's own
			}
			o.said = append(o.said, word{now, now + late, h.look(l, now)})
		}

		if now%(500*time.Millisecond) != 0 || within(h.judge.held, now) {
			continue
		}

		look := Look{Now: now, Wall: base.Add(now), Region: "east", Shards: shards(), Voters: !within(h.judge.away, now)}
		o.listen(now)

		for _, w := range o.known {
			look.Votes = append(look.Votes, Heard{w.vote, w.heard})
		}

		var v Verdict
		m, v = judge(rules, m, look, om)

		if why := o.check(now, look.Voters, v); why != "" {
			return fmt.Sprintf("at %s: %s: %v", now, why, v.Reasons), lostAt
		}

		if v.State == Lost && lostAt < 0 {
			lostAt = now
		}
	}

	if h.clean && (lostAt < 0 || lostAt > h.died+rules.Lost+1500*time.Millisecond) {
		return fmt.Sprintf("it died at %s, and was lost at %s", h.died, lostAt), lostAt
	}

	return "", lostAt
}

func (o *oracle) check(now time.Duration, voters bool, v Verdict) string {
	if now-o.last > rules.Stale {
		o.good, o.was = -1, ""
	}
	o.last = now

	switch {
	case !o.may(now, voters):
		o.good = -1
	case o.good < 0:
		o.good = now
	}

	o.flaps = slices.DeleteFunc(o.flaps, func(at time.Duration) bool { return now-at > rules.Window })
	need := rules.Lost * time.Duration(1+min(3, len(o.flaps)))

	if v.State == Up && (o.was == Suspected || o.was == Lost) {
		o.flaps = append(o.flaps, now)
	}
	was := o.was
	o.was = v.State

	if v.State != Lost {
		return ""
	}

	switch {
	case o.good < 0:
		return "lost, and not everything speaks for it"
	case was != Lost && now-o.good < need:
		return fmt.Sprintf("lost after %s, and %s is due", now-o.good, need)
	case len(v.Votes) == 0 || len(v.Reasons) == 0:
		return "lost, and nobody knows why"
	}

	return ""
}

// TestHistories plays ten thousand histories. Some have to be lost, and most not.
func TestHistories(t *testing.T) {
	n, lost := 10000, 0
	if testing.Short() {
		n = 1000
	}

	for seed := range uint64(n) {
		why, at := play(seed, omit{})
		if why != "" {
			t.Fatalf("seed %d: %s", seed, why)
		}

		if at >= 0 {
			lost++
		}
	}

	t.Logf("%d of %d histories come to a loss", lost, n)

	if lost < n/8 || lost > n*3/4 {
		t.Errorf("%d of %d histories come to a loss: they show little", lost, n)
	}
}

// TestEachConditionIsNeeded leaves out one after the other: a history finds each.
func TestEachConditionIsNeeded(t *testing.T) {
	for i := range reflect.TypeFor[omit]().NumField() {
		name := reflect.TypeFor[omit]().Field(i).Name

		found := false
		for seed := uint64(0); seed < 10000 && !found; seed++ {
			why, _ := play(seed, omitted(name))
			found = why != ""
		}

		if !found {
			t.Errorf("without %q nothing is found: what is it for?", name)
		}
	}
}

func omitted(name string) (o omit) {
	for n, p := range map[string]*bool{"alive": &o.alive, "linkAlive": &o.linkAlive, "link": &o.link, "places": &o.places, "unable": &o.unable, "stale": &o.stale,
		"wall": &o.wall, "hold": &o.hold, "reset": &o.reset, "gap": &o.gap, "voters": &o.voters, "damp": &o.damp, "all": &o.all} {
		*p = n == name
	}

	return o
}

// TestUpAgain: a region that was suspected is up only after it was well for a while, and one
// that nobody looks at is unknown.
func TestUpAgain(t *testing.T) {
	id := shards()[0]

	var m Memory
	var v Verdict

	at := func(now time.Duration, saw ...Saw) State {
		l := Look{Now: now, Wall: base.Add(now), Region: "east", Shards: []targets.ShardID{id}, Voters: true}
		for i, s := range saw {
			l.Votes = append(l.Votes, Heard{Vote{Place: []string{"west", "third"}[i], Region: "east", Wall: base.Add(now), Sightings: []Sighting{{Kind: Probe, Shard: id, Server: "orders/0@east", Saw: s}}}, now})
		}
		m, v = Judge(rules, m, l)

		return v.State
	}

	for i, c := range []struct {
		at   time.Duration
		saw  []Saw
		want State
	}{
		{0, nil, Unknown},
		{1, []Saw{Alive}, Up},
		{2, []Saw{Dead}, Suspected},
		{3, []Saw{Alive}, Suspected}, // hysteresis
		{4, []Saw{Alive, Dead}, Suspected},
		{5, []Saw{Alive}, Up},
		{6, []Saw{Unable}, Unknown}, // no vote
		{7, []Saw{Dead, Dead}, Suspected},
		{8, nil, Unknown},
	} {
		if got := at(c.at*time.Second, c.saw...); got != c.want {
			t.Errorf("look %d: %s, want %s: %v", i, got, c.want, v.Reasons)
		}
	}
}
