package barrier

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"drctl/internal/fail"
	"drctl/targets"
)

// calls returns a world of one member that notes what is called.
func calls(fault func(call string) error) (*world, Party, *[]string) {
	var all []string
	w, ps := newWorld(1, func(call, _ string) error {
		all = append(all, call)
		return fault(call)
	})

	return w, ps[0], &all
}

// The gate is held around the work and nothing else is locked.
func TestTheGateAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, gate, all := calls(func(string) error { return nil })
		ran := 0

		held, err := HoldGate(t.Context(), gate, options(targets.Gate), func(context.Context) error {
			ran++
			return w.fault("during", "0")
		})
		if err != nil || ran != 1 || held.Tries != 1 || held.From.Before(time.Now().Add(-time.Minute)) || held.To.Before(held.From) {
			t.Fatalf("%d times, held %+v: %v", ran, held, err)
		}

		if want := []string{"join", "gate", "during", "release"}; !slices.Equal(*all, want) || len(w.open) > 0 {
			t.Errorf("called %v, open %v", *all, w.open)
		}

		if !w.gateOnly {
			t.Error("it did not join for the gate alone")
		}
	})
}

// Whatever fails, the work runs once at most, a time is returned only if it ran and the
// release was answered, and nothing stays open.
func TestWhateverFailsTheGateIsHeldOrNot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		script := rapid.SliceOfN(rapid.IntRange(0, 5), 0, 40).Draw(t, "faults")
		n := 0
		w, gate, all := calls(func(call string) error {
			n++
			switch {
			case n > len(script) || script[n-1] > 1:
				return nil
			case script[n-1] == 0:
				return stalled(call)
			}

			return fail.Newf(fail.Unavailable, call, "orders/0", "scripted")
		})
		opt := options(targets.Gate)
		opt.Patience = 20 * time.Millisecond

		held, err := HoldGate(context.Background(), gate, opt, func(context.Context) error { return w.fault("during", "0") })
		ran := 0

		for _, call := range *all {
			if call == "during" {
				ran++
			}
		}

		if ran > 1 || err == nil && ran != 1 || err != nil && held != (Held{}) || len(w.open) > 0 {
			t.Fatalf("%v: ran %d times, held %+v, open %v: %v", *all, ran, held, w.open, err)
		}

		if last := (*all)[len(*all)-1]; err == nil && last != "release" {
			t.Fatalf("%v: held without a release", *all)
		}
	})
}

// While it waits others wait behind it: waits are short, and each is followed by a pause.
func TestShortWaitsForTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, gate, _ := calls(func(call string) error {
			if call == "gate" {
				return stalled(call)
			}

			return nil
		})
		opt := options(targets.Gate)
		opt.Attempts, opt.LockTimeout, opt.Budget = 6, 2*time.Millisecond, 10*time.Millisecond
		_, err := HoldGate(t.Context(), gate, opt, func(context.Context) error { t.Error("it ran"); return nil })

		if !fail.Is(err, fail.Stalled) {
			t.Fatal(err)
		}

		if want := []time.Duration{2e6, 4e6, 6e6, 6e6, 6e6, 6e6}; !slices.Equal(w.waits, want) {
			t.Errorf("it waited %v, want %v", w.waits, want)
		}
	})
}

// Work that takes longer than the budget is cut off, and is no time in which the gate was held.
func TestWorkBeyondTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, gate, all := calls(func(string) error { return nil })
		opt := options(targets.Gate)
		opt.Budget = 20 * time.Millisecond

		held, err := HoldGate(t.Context(), gate, opt, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		if !fail.Is(err, fail.Stalled) || held != (Held{}) || len(w.open) > 0 || (*all)[len(*all)-1] != "release" {
			t.Errorf("held %+v, called %v: %v", held, *all, err)
		}

		mine := errors.New("mine")
		if _, err := HoldGate(t.Context(), gate, opt, func(context.Context) error { return mine }); !errors.Is(err, mine) {
			t.Error(err)
		}
		opt.Lease = opt.Budget / 2

		if _, err := HoldGate(t.Context(), gate, opt, func(context.Context) error { return nil }); !fail.Is(err, fail.Invalid) {
			t.Error(err)
		}
	})
}

// One busy member does not make the others join again.
func TestWhoHasJoinedStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		joins := map[string]int{}
		w, ps := newWorld(3, func(call, shard string) error {
			if call != "join" {
				return nil
			}

			if joins[shard]++; shard == "1" && joins[shard] < 3 {
				return stalled(call)
			}

			return nil
		})
		opt := options(targets.Gate)
		opt.Patience = time.Minute

		if _, err := Take(t.Context(), ps, opt); err != nil {
			t.Fatal(err)
		}

		if joins["0"] != 1 || joins["1"] != 3 || joins["2"] != 1 || len(w.open) > 0 {
			t.Errorf("joined %v, open %v", joins, w.open)
		}
	})
}

// What maintenance holds is left out in mode gate, once half of the patience is over; in
// mode share only when that is asked for.
func TestMaintenanceIsLeftOutInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			mode     targets.BarrierMode
			leaveOut bool
			want     bool
		}{{targets.Gate, false, true}, {targets.Share, false, false}, {targets.Share, true, true}} {
			w, ps := newWorld(2, func(string, string) error { return nil })
			w.busy = "1"
			opt := options(c.mode)
			opt.LeaveOut = c.leaveOut

			cut, err := Take(t.Context(), ps, opt)
			if (err == nil) != c.want {
				t.Errorf("%s: %v", c.mode, err)
			}

			if c.want && (len(cut.Shards) != 2 || len(w.left) == 0 || w.left[0]) {
				t.Errorf("%s: it was left out at once: %v", c.mode, w.left)
			}
		}
	})
}

// Where the policy wants a cut of the rest, a shard that fails or stays busy is what the cut lacks; never
// the one that holds the gate.
func TestACutOfTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, why := range map[string]error{"down": fail.Newf(fail.Unavailable, "join", "orders/1", "connection refused"), "busy": stalled("join")} {
			for _, mode := range []targets.BarrierMode{targets.Gate, targets.Share} {
				for _, away := range []string{"0", "1"} {
					w, ps := newWorld(3, func(call, shard string) error {
						if call == "join" && shard == away {
							return why
						}

						return nil
					})
					w.size = 2
					opt := options(mode)
					opt.Patience = time.Millisecond

					if _, err := Take(t.Context(), ps, opt); fail.CodeOf(err) != fail.CodeOf(why) {
						t.Errorf("%s, %s, %s: whole cuts: %v", name, mode, away, err)
					}
					opt.Partial = true

					cut, err := Take(t.Context(), ps, opt)
					if holdsGate := mode == targets.Gate && away == "0"; holdsGate {
						if err == nil {
							t.Errorf("%s: a cut without its gate: %+v", name, cut)
						}
					} else if err != nil || len(cut.Shards) != 2 || len(cut.Without) != 1 || cut.Without[0].Shard.Shard != away || cut.Without[0].Why != why.Error() {
						t.Errorf("%s, %s, %s: %+v, %v", name, mode, away, cut, err)
					}

					if len(w.problems)+len(w.locked)+len(w.open) > 0 {
						t.Errorf("%s, %s, %s: %v, locked %v, open %v", name, mode, away, w.problems, w.locked, w.open)
					}
				}
			}
		}
	})
}
