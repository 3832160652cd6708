package detection

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"drctl/targets"
)

// omit leaves conditions out, so that a test can see what each of them is for.
type omit struct {
	alive, linkAlive, link, places, unable, stale, wall, hold, reset, gap, voters, damp, all bool
}

// level is what all votes of one instant say together.
type level int

const (
	blind    level = iota // nobody says anything
	doubtful              // some say dead, and that is not enough
	well
	gone
)

// tally is what is said of one shard.
type tally struct {
	shard          targets.ShardID
	alive, dead    []string // places that probed its primary
	linked, parted []string // standbys that get bytes, and that do not
	unable         []string // who could not look, and why
}

// Judge takes one look, and returns what is held of the region from then on.
func Judge(r Rules, m Memory, l Look) (Memory, Verdict) { return judge(r, m, l, omit{}) }

func judge(r Rules, m Memory, l Look, o omit) (Memory, Verdict) {
	m.flaps = slices.Clone(m.flaps)

	if m.begun && l.Now-m.last > r.Stale && !o.gap { // it was held up: nothing was seen meanwhile
		m.dying, m.living = false, false
		m.become(Unknown, l.Wall)
	}
	m.begun, m.last = true, l.Now

	if m.state == "" {
		m.state, m.since = Unknown, l.Wall
	}

	counted := fresh(r, l, o)
	all := tallies(l, counted, o)
	lv := levelOf(r, l, all, o)
	reasons := words(r, l, all, lv)

	m.flaps = slices.DeleteFunc(m.flaps, func(at time.Duration) bool { return l.Now-at > r.Window })
	m.note(r, l, lv, o)

	if lv == gone && m.state == Suspected {
		reasons = append(reasons, fmt.Sprintf("it counts as lost once that was so for %s", m.patience(r, o)))
	}

	v := Verdict{Region: l.Region, State: m.state, Since: m.since, Reasons: reasons}
	for _, h := range counted {
		h.Reasons = nil
		v.Votes = append(v.Votes, h.Vote)
	}

	return m, v
}

// patience is for how long everything has to speak for a loss.
func (m Memory) patience(r Rules, o omit) time.Duration {
	times := 1 + min(3, len(m.flaps))
	if o.damp {
		times = 1
	}

	return time.Duration(times) * r.Lost
}

// note takes one level in.
func (m *Memory) note(r Rules, l Look, lv level, o omit) {
	if lv != gone && !o.reset {
		m.dying = false
	}

	if lv != well {
		m.living = false
	}

	switch lv {
	case blind:
		m.become(Unknown, l.Wall)
	case doubtful:
		m.become(Suspected, l.Wall)
	case gone:
		if !m.dying {
			m.dying, m.dead = true, l.Now
		}

		if m.state == Lost {
			return
		}

		m.become(Suspected, l.Wall)

		if l.Now-m.dead >= m.patience(r, o) || o.hold {
			m.become(Lost, l.Wall)
		}
	case well:
		if !m.living {
			m.living, m.alive = true, l.Now
		}

		if m.state == Unknown || l.Now-m.alive >= r.Up {
			if m.state == Suspected || m.state == Lost {
				m.flaps = append(m.flaps, l.Now)
			}

			m.become(Up, l.Wall)
		} else if m.state == Lost { // somebody sees life
			m.become(Suspected, l.Wall)
		}
	}
}

func (m *Memory) become(s State, at time.Time) {
	if m.state != s {
		m.state, m.since = s, at
	}
}

// fresh are the votes that count.
func fresh(r Rules, l Look, o omit) (out []Heard) {
	for _, h := range l.Votes {
		if h.Region != l.Region || l.Now-h.At > r.Stale && !o.stale {
			continue
		}

		// What is dead has to be so now by the clock of who says it, too: a word that was
		// long on its way would be heard as a new one.
		off := l.Wall.Sub(h.Wall).Abs()
		h.Sightings = slices.Clone(h.Sightings)

		for i, s := range h.Sightings {
			if s.Saw == Dead && off > r.Stale+r.Skew && !o.wall {
				h.Sightings[i].Saw, h.Sightings[i].Why = Unable, fmt.Sprintf("its word is of %s ago, or its clock is off", off.Round(time.Millisecond))
			}
		}
		out = append(out, h)
	}

	return out
}

// tallies counts the votes of each shard by place.
func tallies(l Look, votes []Heard, o omit) (out []tally) {
	for _, id := range l.Shards {
		t := tally{shard: id}
		seen := map[string]Saw{} // by place

		for _, h := range votes {
			for _, s := range h.Sightings {
				if s.Kind != Lease && s.Shard != id {
					continue
				}

				place := h.Place
				if o.places {
					place += " " + h.Process
				}

				t.count(seen, place, s, o)
			}
		}

		for place, saw := range seen {
			if saw == Alive {
				t.alive = append(t.alive, place)
			} else {
				t.dead = append(t.dead, place)
			}
		}

		for _, s := range []*[]string{&t.alive, &t.dead, &t.linked, &t.parted, &t.unable} {
			slices.Sort(*s)
			*s = slices.Compact(*s)
		}
		out = append(out, t)
	}

	return out
}

// voters is the place of the vote that the silence of a region's guards is.
const voters = "the voters"

func (t *tally) count(seen map[string]Saw, place string, s Sighting, o omit) {
	if s.Saw == Unable && o.unable {
		s.Saw = Dead
	}

	switch {
	case s.Saw == Unable:
		t.unable = append(t.unable, strings.TrimSuffix(place+" could not ask "+s.Server+": "+s.Why, ": "))
	case s.Kind == Link && s.Saw == Alive:
		t.linked = append(t.linked, s.Server)
	case s.Kind == Link:
		t.parted = append(t.parted, s.Server)
	case s.Kind == Lease && s.Saw == Dead:
		seen[voters] = Dead
	case s.Kind == Probe && (s.Saw == Alive || seen[place] == ""):
		seen[place] = s.Saw // of two processes of one place the one counts that sees life
	}
}

// of is what is said of one shard.
func (t tally) of(r Rules, l Look, o omit) level {
	switch {
	case len(t.alive) > 0 && !o.alive:
		return well
	case len(t.dead) >= r.Votes && (len(t.parted) > 0 || o.link) && (len(t.linked) == 0 || o.linkAlive) && (l.Voters || o.voters):
		return gone
	case len(t.dead) > 0 || len(t.parted) > 0:
		return doubtful
	case len(t.linked) > 0 || len(t.alive) > 0:
		return well
	}

	return blind
}

// levelOf is what all shards say together: a region is not lost while one of its
// primaries may be alive.
func levelOf(r Rules, l Look, all []tally, o omit) level {
	n := map[level]int{}
	for _, t := range all {
		n[t.of(r, l, o)]++
	}

	switch {
	case len(all) == 0:
		return blind
	case n[gone] == len(all) || n[gone] > 0 && o.all:
		return gone
	case n[gone]+n[doubtful] > 0:
		return doubtful
	case n[well] == len(all):
		return well
	}

	return blind
}

// words say why.
func words(r Rules, l Look, all []tally, lv level) (out []string) {
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }

	if len(all) == 0 {
		say("nothing is known of its primaries")
	}

	for _, t := range all {
		if len(t.alive) > 0 && len(t.dead) > 0 {
			say("%s answers %s, and not %s", t.shard, strings.Join(t.alive, ", "), strings.Join(t.dead, ", "))
		} else if len(t.dead) > 0 {
			say("%s: no answer to %s (%d of %d votes)", t.shard, strings.Join(t.dead, ", "), len(t.dead), r.Votes)
		} else if len(t.alive)+len(t.linked) == 0 {
			say("%s: nobody has said anything of it for %s", t.shard, r.Stale)
		}

		switch {
		case lv == well && len(t.dead) == 0:
		case len(t.linked) > 0:
			say("%s still gets bytes", strings.Join(t.linked, ", "))
		case len(t.parted) > 0:
			say("%s gets none any more", strings.Join(t.parted, ", "))
		case len(t.dead) > 0:
			say("%s: no standby says whether it still gets bytes", t.shard)
		}

		if lv != well {
			out = append(out, t.unable...)
		}
	}

	if !l.Voters && lv != well {
		say("a majority of the voters does not answer here either: this place may be cut off itself")
	}

	return out
}
