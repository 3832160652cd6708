package search_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/internal/proof/prooftest"
	"drctl/internal/proof/prove"
	"drctl/internal/proof/search"
	"drctl/internal/sandbox/sandboxtest"
)

// each runs a test of every seed below n, on all processors.
func each(n uint64, test func(seed uint64)) {
	var next atomic.Uint64

	var done sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		done.Go(func() {
			for {
				seed := next.Add(1) - 1
				if seed >= n {
					return
				}

				test(seed)
			}
		})
	}

	done.Wait()
}

// No cut that is granted is wrong, whatever clocks, servers and clients did.
func TestEveryCutIsTrue(t *testing.T) {
	n := uint64(sandboxtest.Size(10_000, 200_000))
	var granted atomic.Int64
	each(n, func(seed uint64) {
		if t.Failed() {
			return
		}

		if granting(t, seed, prooftest.Run(seed, prooftest.Hostile(seed))) {
			granted.Add(1)
		}
	})
	t.Logf("proven cuts in %d of %d histories", granted.Load(), n)

	if granted.Load() < int64(n)/2 {
		t.Fatal("the prover hardly grants anything")
	}
}

// On an ordinary day there are cuts to be had.
func TestOrdinaryDaysHaveCuts(t *testing.T) {
	const n = 1000
	var found atomic.Int64
	each(n, func(seed uint64) {
		if granting(t, seed, prooftest.Run(seed, prooftest.Ordinary(seed))) {
			found.Add(1)
		}
	})
	t.Logf("%d of %d", found.Load(), n)

	if found.Load() < n*9/10 {
		t.Fatal("a history without a proven cut is not rare")
	}
}

// A list of broken global transactions that goes on from an earlier cut's misses
// none and slanders none, although the look knows hardly more than what is new: cut after cut. A base that keeps one
// less is found out.
func TestListsGoOn(t *testing.T) {
	n := uint64(sandboxtest.Size(1_000, 20_000))
	var went, carried, ended, omitted, found atomic.Int64

	each(n, func(seed uint64) {
		if t.Failed() {
			return
		}
		h := prooftest.Run(seed, prooftest.Hostile(seed))
		rng := rand.New(rand.NewPCG(seed, 21))

		base := oneCut(t, seed, h, rng)
		for range 3 {
			if base == nil {
				return
			}

			later := h.Later(seed, base)
			if later == nil {
				return
			}

			went.Add(1)

			next := oneCut(t, seed, later, rng)
			if next != nil {
				carried.Add(int64(unseen(&later.Look, next)))
				ended.Add(int64(gone(base, next)))
			}

			if len(base.Kept) > 0 {
				less := *base
				less.Kept = slices.Delete(slices.Clone(less.Kept), 0, 1)

				omitted.Add(1)

				if blind := h.Later(seed, &less); misses(t, blind) {
					found.Add(1)
				}
			}
			h, base = later, next
		}
	})
	t.Logf("%d looks went on; %d broken ones were listed of which they knew nothing, %d are broken no longer; of %d omissions %d matter", went.Load(), carried.Load(), ended.Load(), omitted.Load(), found.Load())

	if n := int64(n); went.Load() < n/5 || carried.Load() < n/20 || ended.Load() < n/20 || found.Load() < n/50 {
		t.Fatal("hardly anything went on")
	}
}

// oneCut judges all proven cuts of a history, and returns one.
func oneCut(t *testing.T, seed uint64, h *prooftest.History, rng *rand.Rand) *proof.Cut {
	t.Helper()
	policy := h.Policy
	policy.Pick, policy.Most = proof.All, 10

	res, err := search.Find(h.Look, policy)
	if err != nil {
		t.Errorf("seed %d: %v", seed, err)
		return nil
	}

	if len(res.Cuts) == 0 {
		return nil
	}

	for i := range res.Cuts {
		if err := judge(h, &res.Cuts[i]); err != nil {
			t.Errorf("seed %d at %d: %v", seed, res.Cuts[i].T, err)
		}
	}
	c := &res.Cuts[rng.IntN(len(res.Cuts))]

	if err := check(h, c, policy); err != nil {
		t.Errorf("seed %d at %d: %v", seed, c.T, err)
	}

	if (policy.Tagged || policy.TwoPhase) && len(c.Half) == 0 {
		return c
	}

	return nil
}

// unseen counts what a cut calls broken of which the look has no record.
func unseen(l *proof.Look, c *proof.Cut) (n int) {
	for _, k := range c.Kept {
		seen := false
		for _, s := range l.Stretches {
			for _, r := range append(slices.Clone(s.Earlier), s.Records...) {
				seen = seen || slices.ContainsFunc(k.Records, func(x proof.KeptRecord) bool { return x.Shard == s.Shard && x.Start == r.Start })
			}
		}

		if !seen {
			n++
		}
	}

	return n
}

// gone counts what was broken at one cut and is not at the next.
func gone(a, b *proof.Cut) (n int) {
	for _, was := range a.Broken {
		if !slices.ContainsFunc(b.Broken, func(is proof.HalfDone) bool { return is.ID == was.ID }) {
			n++
		}
	}

	return n
}

// misses reports whether the simulator finds that a cut of a history lists too little.
func misses(t *testing.T, h *prooftest.History) bool {
	t.Helper()
	policy := h.Policy
	policy.Pick, policy.Most = proof.All, 10

	res, err := search.Find(h.Look, policy)
	if err != nil {
		t.Error(err)
		return false
	}

	for i := range res.Cuts {
		if slices.ContainsFunc(h.Judge(&res.Cuts[i]), func(w prooftest.Wrong) bool { return w.Kind == "untold" }) {
			return true
		}
	}

	return false
}

// The search misses nothing: an instant is in a gap if and only if, looked at by
// itself and without any index, it is quiet for every shard.
func TestNoGapIsMissed(t *testing.T) {
	each(uint64(sandboxtest.Size(500, 20_000)), func(seed uint64) {
		p := prooftest.Hostile(seed)
		p.Masters = 0
		h := prooftest.Run(seed, p)

		res, err := search.Find(h.Look, proof.Policy{Grades: []proof.Grade{proof.Ordered}, Pick: proof.All, Most: 1})
		if err != nil {
			t.Error(err)
			return
		}
		rng := rand.New(rand.NewPCG(seed, 20))

		for range 200 {
			at := clock.Instant(rng.Int64N(int64(p.Length)))
			in := slices.ContainsFunc(res.Gaps, func(g proof.Span) bool { return g.From < at && at < g.To })

			if quiet := quietAt(t, &h.Look, at); quiet != in {
				t.Errorf("seed %d at %d: quiet %v, in a gap %v", seed, at, quiet, in)
			}
		}
	})
}

func quietAt(t *testing.T, l *proof.Look, at clock.Instant) bool {
	t.Helper()

	for _, s := range l.Stretches {
		c, err := clock.New(s.Samples, 0)
		if err != nil {
			t.Error(err)
		}
		quiet := at > *s.Reached
		open := true // all commits so far are before the instant

		for _, r := range s.Records {
			if r.Kind != proof.Commit && r.Kind != proof.CommitPrepared || !open {
				continue
			}

			w, ok := c.At(r.Stamp)
			if !ok || w.Latest >= at {
				open = false
				quiet = quiet && ok && w.Earliest > at
			}
		}

		if !quiet || open && (s.Ended == nil || *s.Ended <= at) {
			return false
		}
	}

	return true
}

// granting reports whether a history has a proven cut, and fails the test if
// any cut of any grade is wrong.
func granting(t *testing.T, seed uint64, h *prooftest.History) (proven bool) {
	t.Helper()

	for _, g := range []proof.Grade{proof.Proven, proof.Ordered} {
		policy := h.Policy
		policy.Grades, policy.Pick, policy.Most = []proof.Grade{g}, proof.All, 10

		res, err := search.Find(h.Look, policy)
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
			return false
		}

		for i := range res.Cuts {
			c := &res.Cuts[i]

			err := judge(h, c)
			if err == nil && i == int(seed)%len(res.Cuts) { // it is slow
				err = check(h, c, policy)
			}

			if err != nil {
				t.Errorf("seed %d, %s at %d: %v", seed, g, c.T, err)
			}
		}

		if len(res.Cuts) == 0 && len(res.Obstacles) == 0 {
			t.Errorf("seed %d: nothing found, and no reason", seed)
		}
		proven = proven || g == proof.Proven && len(res.Cuts) > 0
	}

	return proven
}

// judge asks the simulator, which knows the truth.
func judge(h *prooftest.History, c *proof.Cut) error {
	for _, w := range h.Judge(c) {
		return fmt.Errorf("%s: %s", w.Kind, w.Text)
	}

	return nil
}

// check asks the independent checker, which knows what the prover knew.
func check(h *prooftest.History, c *proof.Cut, policy proof.Policy) error {
	for _, f := range prove.Check(c, &h.Look, &policy).Faults {
		return fmt.Errorf("the checker refuses it: %s: %s: %s", f.What, f.Shard, f.Text)
	}

	return nil
}
