package activities_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"drctl/activities"
	"drctl/internal/lab/shop"
	"drctl/internal/sandbox"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/vault"
	"drctl/restore/inventory"
	"drctl/restore/plan"
	"drctl/restore/recovery"
	"drctl/targets"
)

// recovered is a cut that came back into a sandbox.
type recovered struct {
	cut  targets.Cut
	shop shop.Platform
	box  activities.SandboxRef
}

// planned is the plan that reaches a goal from what a vault holds now.
func planned(v *vault.Vault, goal plan.Goal) (plan.Run, error) {
	inv, err := inventory.Read(context.Background(), v, goal, nil)
	if err != nil {
		return plan.Run{}, err
	}

	return recovery.Build(goal, plan.ModeRestore, inv, time.Now())
}

// recover brings a cut back from one vault alone: nothing else is configured.
func (w *world) recover(v *vault.Vault, id string, only []targets.ShardID, name string) (r recovered, err error) {
	a := w.activities(vaultAlone{v})

	run, err := planned(v, plan.Goal{Group: group, Cut: id, Shards: only, Vault: v.Region(), Into: plan.Sandbox})
	if err != nil {
		return r, err
	}

	r.cut, r.shop = run.Cut, shop.Platform{Group: group}
	if r.box, err = execute[activities.SandboxRef](a, activities.OpenSandboxName, activities.SandboxIn{ID: name, Purpose: "consistency"}, nil); err != nil {
		return r, err
	}
	// The shards at once, as the workflow does.
	var steps errgroup.Group

	var mu sync.Mutex
	for _, s := range run.Steps {
		if s.Op != plan.OpRestore {
			continue
		}

		steps.Go(func() error {
			if _, err := execute[plan.StepOut](a, activities.RestoreShardName, activities.StepIn{Run: plan.Carried{Whole: &run}, StepID: s.ID, Sandbox: r.box}, nil); err != nil {
				return err
			}

			in, err := sandbox.Restored(r.box.Dir, s.Shard)
			if err != nil {
				return err
			}

			mu.Lock()
			defer mu.Unlock()

			switch s.Kind {
			case targets.Postgres:
				r.shop.Postgres = append(r.shop.Postgres, in)
			case targets.Redis:
				r.shop.Redis = append(r.shop.Redis, in)
			case targets.S3:
				r.shop.Media = in
			}

			return nil
		})
	}

	if err := steps.Wait(); err != nil {
		return r, err
	}

	slices.SortFunc(r.shop.Postgres, func(a, b targets.Instance) int { return a.Shard.Compare(b.Shard) })

	return r, nil
}

func (w *world) discard(t *testing.T, r recovered) {
	t.Helper()

	if r.box.Dir == "" {
		return
	}

	if _, err := execute[any](w.activities(vaultAlone{}), activities.CloseSandboxName, r.box, nil); err != nil {
		t.Error(err)
	}
}

// TestConsistency is the first promise: many cuts (over 200 at night) under cross-shard
// traffic with both commit styles, in both modes of the barrier, all of them
// sealed in two vaults; of a sample, each recovered from one vault alone holds
// exactly what the journal outside the stores says.
func TestConsistency(t *testing.T) {
	w := newWorld(t, 3)
	gate := w.activities(resolver{w, policy(targets.Gate)})

	stopFollow := w.follow(t, gate)
	defer stopFollow()

	perMode, checked := sandboxtest.Size(20, 103), sandboxtest.Size(1, 8)
	var journal string

	cuts := map[targets.BarrierMode][]targets.Cut{}
	for _, mode := range []targets.BarrierMode{targets.Gate, targets.Share} {
		var stop func() shop.Summary

		journal, stop = w.traffic(t, mode == targets.Gate)
		defer stop()

		time.Sleep(500 * time.Millisecond)

		if mode == targets.Gate {
			w.bases(t, gate, "early") // under traffic, as in life
		}
		begin := time.Now()
		cuts[mode] = w.cuts(t, w.activities(resolver{w, policy(mode)}), perMode, 180*time.Millisecond)
		took := time.Since(begin).Round(time.Millisecond)
		sum := stop()
		t.Logf("%s: %d cuts in %s; clients: %d acknowledged, p50 %s, p99 %s, max %s", mode, len(cuts[mode]), took, sum.Acked, sum.P50, sum.P99, sum.Max)
		logBarrier(t, cuts[mode])
	}

	stopFollow()

	all := slices.Concat(cuts[targets.Gate], cuts[targets.Share])
	if len(all) < 2*perMode {
		t.Fatalf("%d cuts, want %d", len(all), 2*perMode)
	}

	w.sealedEverywhere(t, all)
	w.destroy(t)

	if t.Failed() {
		return
	}

	seed := time.Now().UnixNano()
	t.Logf("sample: seed %d", seed)
	rng := rand.New(rand.NewPCG(uint64(seed), 1))

	var sample []targets.Cut
	for _, mode := range []targets.BarrierMode{targets.Gate, targets.Share} {
		of := cuts[mode]

		sample = append(sample, of[0], of[len(of)-1])
		for _, i := range rng.Perm(len(of) - 2)[:checked] {
			sample = append(sample, of[1+i])
		}
	}
	begin := time.Now()

	w.checkSample(t, sample, journal, all)
	t.Logf("%d cuts recovered and checked in %s", len(sample), time.Since(begin).Round(time.Millisecond))
}

// sealedEverywhere reads every cut back from each vault.
func (w *world) sealedEverywhere(t *testing.T, all []targets.Cut) {
	t.Helper()

	for _, v := range w.set.Vaults {
		listed, err := v.Cuts(t.Context(), group)
		if err != nil {
			t.Fatal(err)
		}

		have := map[string]targets.Cut{}
		for _, c := range listed {
			have[c.ID] = c
		}

		for _, c := range all {
			got, ok := have[c.ID]
			if !ok || got.SealedAt.IsZero() || !slices.Equal(got.SealedIn, []string{"east", "west"}) || len(got.Shards) != len(w.shards) {
				t.Errorf("cut %s in the vault of %s: %+v", c.ID, v.Region(), got)
			}
		}
	}
}

// checkSample recovers the cuts two at a time, from the vaults in turn.
func (w *world) checkSample(t *testing.T, sample []targets.Cut, journal string, all []targets.Cut) {
	var g errgroup.Group
	g.SetLimit(2)

	for i, cut := range sample {
		g.Go(func() error {
			v := w.set.Vaults[(i+1)%2] // the other region's first

			r, err := w.recover(v, cut.ID, nil, fmt.Sprintf("box-%d", i))
			defer w.discard(t, r)

			if err != nil {
				t.Errorf("cut %s from the vault of %s: %v", cut.ID, v.Region(), err)
				return nil
			}

			rep, err := shop.Check(t.Context(), shop.CheckOptions{Cut: r.cut, Journals: []string{journal}, Platform: r.shop})
			if err != nil {
				t.Errorf("cut %s: %v", cut.ID, err)
				return nil
			}

			if !rep.OK {
				t.Errorf("cut %s (%s) from the vault of %s: %d violations: %+v", cut.ID, cut.Mode, v.Region(), rep.Total, rep.Violations)
			}
			// A check that looked at nothing proves nothing.
			for _, rule := range shop.Rules {
				if rep.Checked[rule] == 0 && rule != shop.RuleImages {
					t.Errorf("cut %s: nothing was checked for %s: %+v", cut.ID, rule, rep)
				}
			}

			if i%10 == 5 {
				w.checkNeighbours(t, r, journal, all)
			}

			return nil
		})
	}
	_ = g.Wait()
}

// checkNeighbours holds a recovered cut against the barrier times of others: the
// checker must see that it is neither the later nor the earlier one.
func (w *world) checkNeighbours(t *testing.T, r recovered, journal string, all []targets.Cut) {
	t.Helper()

	at := slices.IndexFunc(all, func(c targets.Cut) bool { return c.ID == r.cut.ID })
	for rule, other := range map[string]int{shop.RuleAcked: at + 12, shop.RuleLater: at - 12} {
		if other < 0 || other >= len(all) {
			continue
		}

		rep, err := shop.Check(t.Context(), shop.CheckOptions{Cut: all[other], Journals: []string{journal}, Platform: r.shop, BarrierOnly: true})
		if err != nil {
			t.Error(err)
		} else if rep.ByRule[rule] == 0 {
			t.Errorf("cut %s was taken for cut %s: %+v", r.cut.ID, all[other].ID, rep)
		}
	}
}

// logBarrier prints what the barrier cost; times are never asserted.
func logBarrier(t *testing.T, cuts []targets.Cut) {
	t.Helper()

	if len(cuts) == 0 {
		return
	}
	var stall, gate, lock, hold []time.Duration

	var attempts []int
	for _, c := range cuts {
		stall, attempts = append(stall, c.Stall), append(attempts, c.Attempts)

		var l, h time.Duration
		for _, s := range c.Shards {
			l, h = max(l, s.Timings.Lock), max(h, s.Timings.Hold)
		}
		gate, lock, hold = append(gate, c.Shards[0].Timings.Gate), append(lock, l), append(hold, h)
	}
	row := func(name string, d []time.Duration) {
		slices.Sort(d)
		at := func(p int) time.Duration { return d[min(len(d)-1, len(d)*p/100)].Round(10 * time.Microsecond) }
		t.Logf("  %-6s p50 %-9s p90 %-9s p99 %-9s max %s", name, at(50), at(90), at(99), at(100))
	}
	row("stall", stall)
	row("gate", gate)
	row("lock", lock)
	row("hold", hold)
	slices.Sort(attempts)
	t.Logf("  attempts p50 %d, p90 %d, max %d", attempts[len(attempts)/2], attempts[len(attempts)*9/10], attempts[len(attempts)-1])
}

// shardsOf lists the world's shards of a kind.
func (w *world) shardsOf(k targets.Kind) (ids []targets.ShardID) {
	for _, s := range w.shards {
		if s.Kind == k {
			ids = append(ids, s.Shard)
		}
	}

	return ids
}

// TestCheckerCatchesAMissingBarrier proves the proof: the same pipeline without
// the barrier's locks gives cuts in which the checker finds what is torn, and a
// cut with the barrier, taken in between, is whole.
func TestCheckerCatchesAMissingBarrier(t *testing.T) {
	w := newWorld(t, 3)
	good := w.activities(resolver{w, policy(targets.Gate)})
	torn := w.activities(resolver{w, policy(targets.Gate)})
	torn.Drivers[targets.Postgres] = unquiesced{torn.Drivers[targets.Postgres]}

	stopFollow := w.follow(t, good)
	defer stopFollow()

	journal, stop := w.traffic(t, true)
	defer stop()

	time.Sleep(500 * time.Millisecond)
	w.bases(t, good, "early")
	const most = 8
	without := w.cuts(t, torn, most/2, 200*time.Millisecond)
	with := w.cuts(t, good, 1, 0)
	without = append(without, w.cuts(t, torn, most/2, 200*time.Millisecond)...)

	stop()
	stopFollow()
	w.destroy(t)

	if t.Failed() {
		return
	}

	check := func(cut targets.Cut, name string) shop.Report {
		r, err := w.recover(w.set.Vaults[0], cut.ID, w.shardsOf(targets.Postgres), name)
		defer w.discard(t, r)

		if err != nil {
			t.Fatal(err)
		}

		rep, err := shop.Check(t.Context(), shop.CheckOptions{Cut: r.cut, Journals: []string{journal}, Platform: r.shop, BarrierOnly: true})
		if err != nil {
			t.Fatal(err)
		}

		return rep
	}
	if rep := check(with[0], "with"); !rep.OK || rep.Checked[shop.RuleWhole] == 0 {
		t.Errorf("with the barrier: %+v", rep)
	}

	for i, cut := range without {
		rep := check(cut, fmt.Sprintf("without-%d", i))
		// What the missing barrier tears is transfers; a cut that is merely
		// early or late would not prove that consistency is checked.
		if n := rep.ByRule[shop.RuleWhole] + rep.ByRule[shop.RuleSums] + rep.ByRule[shop.RulePrepared]; n > 0 {
			t.Logf("cut %d without the barrier: %v, for example %+v", i+1, rep.ByRule, rep.Violations[0])
			return
		}
	}

	t.Errorf("%d cuts without the barrier were recovered, and the checker found nothing", len(without))
}
