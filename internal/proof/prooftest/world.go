package prooftest

import (
	"container/heap"
	"math/rand/v2"

	"drctl/internal/proof/clock"
)

// maxOps bounds the operations of a history: a set of them is one value.
const maxOps = 256

// set is a set of operations, by their numbers.
type set [maxOps / 64]uint64

func (s *set) put(op int)     { s[op/64] |= 1 << (op % 64) }
func (s set) has(op int) bool { return s[op/64]>>(op%64)&1 == 1 }
func (s *set) join(o set) {
	for i := range s {
		s[i] |= o[i]
	}
}

func (s set) without(o set) set {
	for i := range s {
		s[i] &^= o[i]
	}

	return s
}

// world runs events in the order of true time, which is the observer's.
type world struct {
	rng    *rand.Rand
	now    clock.Instant
	events events
	serial int
}

type planned struct {
	at     clock.Instant
	serial int
	do     func()
}

type events []planned

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].serial < e[j].serial
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(planned)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]

	return last
}

// after does something a time later.
func (w *world) after(d clock.Instant, do func()) {
	w.serial++
	heap.Push(&w.events, planned{w.now + max(d, 1), w.serial, do})
}

// run runs until an instant, or until nothing is left to do.
func (w *world) run(until clock.Instant) {
	for len(w.events) > 0 && w.events[0].at <= until {
		e := heap.Pop(&w.events).(planned)
		w.now = e.at
		e.do()
	}
}

// about is a random time with a mean.
func (w *world) about(mean clock.Instant) clock.Instant {
	return 1 + clock.Instant(w.rng.ExpFloat64()*float64(mean))
}

func (w *world) chance(p float64) bool { return w.rng.Float64() < p }

// serverClock is a clock as it truly runs: in pieces, each with its own rate.
type serverClock struct{ pieces []piece }

type piece struct {
	from  clock.Instant
	shows float64
	rate  float64
}

// drawClock makes a clock that wanders within the drift that is allowed for, and
// sometimes is stepped once, or slewed for a while.
func drawClock(rng *rand.Rand, p *Parameters) serverClock {
	rate := func() float64 {
		if p.Still {
			return 1
		}

		return 1 + (rng.Float64()*2-1)*499e-6
	}
	c := serverClock{pieces: []piece{{-5 * p.SampleEvery, 1e15 + rng.Float64()*1e12, rate()}}}
	at := clock.Instant(rng.Int64N(int64(p.Length)))
	until := at

	stepped := rng.Float64() < p.Steps
	if !stepped && rng.Float64() < p.Slews {
		until += clock.Instant(rng.Int64N(int64(p.Length / 4)))
	}

	wander := func(to clock.Instant) {
		for t := c.pieces[len(c.pieces)-1].from; ; {
			if t += clock.Instant(rng.Float64() * float64(p.SampleEvery)); t >= to {
				return
			}

			c.turn(t, rate(), 0)
		}
	}
	wander(at)

	switch {
	case stepped:
		size := []float64{1e4, 1e5, 1e6, 1e8}[rng.IntN(4)]
		c.turn(at, rate(), (rng.Float64()*2-1)*size)
	case until > at:
		c.turn(at, 1+(rng.Float64()*2-1)*0.08, 0)
		c.turn(until, rate(), 0)
	}

	wander(p.Length + 5*p.SampleEvery)

	return c
}

func (c *serverClock) turn(at clock.Instant, rate, step float64) {
	p := c.pieces[len(c.pieces)-1]
	c.pieces = append(c.pieces, piece{at, p.shows + float64(at-p.from)*p.rate + step, rate})
}

// read is what a server answers, cut off at the grain.
func (c *serverClock) read(t clock.Instant) clock.Stamp {
	i := len(c.pieces) - 1
	for i > 0 && c.pieces[i].from > t {
		i--
	}
	p := c.pieces[i]

	return clock.Stamp(p.shows+float64(t-p.from)*p.rate) / clock.GrainNs * clock.GrainNs
}
