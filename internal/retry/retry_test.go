package retry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"drctl/internal/fail"
)

func broken(code fail.Code) error { return fail.Newf(code, "open", "orders/0", "no answer") }

// Under any policy the tries keep to its bounds, and the error tells the truth.
func TestTriesKeepToTheirBounds(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			p := Policy{First: time.Duration(1+r.IntN(500)) * time.Millisecond, For: time.Duration(1+r.IntN(60)) * time.Second}

			p.Max = p.First * time.Duration(1+r.IntN(20))
			if r.IntN(2) == 0 {
				p.Tries = 1 + r.IntN(10)
			}

			work := time.Duration(r.IntN(2000)) * time.Millisecond
			begin := time.Now()
			var began []time.Duration
			err := Do(t.Context(), p, func() error {
				began = append(began, time.Since(begin))
				time.Sleep(work)

				return broken(fail.Unavailable)
			})

			for i, at := range began {
				if at > p.For {
					t.Errorf("seed %d: try %d began after %s, the bound is %s", seed, i, at, p.For)
				}

				if i == 0 {
					continue
				}

				least := min(p.First/2, p.For-began[i-1]-work)
				if wait := at - began[i-1] - work; wait > p.Max || wait < least {
					t.Errorf("seed %d: wait %d is %s, not within %s and %s", seed, i, wait, least, p.Max)
				}
			}

			if n := len(began); p.Tries > 0 && n > p.Tries || n < p.Tries && time.Since(begin) < p.For {
				t.Errorf("seed %d: tried %d times in %s of %d in %s", seed, n, time.Since(begin), p.Tries, p.For)
			}

			times := "once"
			if len(began) > 1 {
				times = fmt.Sprint(len(began), " times")
			}

			if !fail.Is(err, fail.Unavailable) || !strings.Contains(err.Error(), "(tried "+times+" in ") {
				t.Errorf("seed %d: %v, after %d tries", seed, err, len(began))
			}
		})
	}
}

func TestWaitsGrowToTheLongest(t *testing.T) {
	tries := Policy{First: 100 * time.Millisecond, Max: time.Minute}.Start()

	want := 100 * time.Millisecond
	for range 20 {
		if w := tries.next(); w < want/2 || w > min(want*3/2+1, time.Minute) {
			t.Errorf("wait of %s, want about %s", w, want)
		}
		want = min(2*want, time.Minute)
	}

	tries.Reset()

	if w := tries.next(); w > 150*time.Millisecond+1 {
		t.Errorf("the first wait after Reset is %s", w)
	}
}

func TestWhichErrorsAreTriedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		when  func(error) bool
		err   error
		again bool
	}{
		"retryable":       {nil, broken(fail.Unavailable), true},
		"wrapped":         {nil, fmt.Errorf("first: %w", broken(fail.Stalled)), true},
		"permanent":       {nil, broken(fail.Denied), false},
		"without a code":  {nil, errors.New("what is this"), false},
		"named":           {On(fail.NotFound, fail.Conflict), broken(fail.Conflict), true},
		"not named":       {On(fail.NotFound, fail.Conflict), broken(fail.Unavailable), false},
		"any, and coded":  {Any, broken(fail.Corrupt), true},
		"any, without it": {Any, errors.New("what is this"), true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				err := Do(t.Context(), Policy{First: time.Second, Tries: 3, If: c.when}, func() error { n++; return c.err })

				if c.again && (n != 3 || !errors.Is(err, c.err)) || !c.again && (n != 1 || err != c.err) {
					t.Errorf("called %d times: %v", n, err)
				}
			})
		})
	}
}

func TestSuccessEndsTheTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0

		err := Do(t.Context(), Policy{First: time.Second}, func() error {
			if n++; n < 4 {
				return broken(fail.Unavailable)
			}

			return nil
		})
		if err != nil || n != 4 {
			t.Errorf("called %d times: %v", n, err)
		}
	})
}

// A context that ends during a wait ends it at once, and hides nothing.
func TestEndOfTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Second, cancel)

		begin := time.Now()
		err := Do(ctx, Policy{First: time.Hour}, func() error { return broken(fail.Unavailable) })

		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("ended after %s", took)
		}

		if !errors.Is(err, context.Canceled) || !fail.Is(err, fail.Unavailable) || !strings.Contains(err.Error(), "no answer (tried once in 10 s, until context canceled)") {
			t.Error(err)
		}
	})
}

// Under a context that has ended nothing is tried again, and nothing is waited for.
func TestContextThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()

		begin, n := time.Now(), 0
		if err := Do(ctx, Policy{First: time.Hour}, func() error { n++; return ctx.Err() }); err != context.Canceled || n != 1 {
			t.Errorf("called %d times: %v", n, err)
		}

		if err := Sleep(ctx, time.Hour); err != context.Canceled {
			t.Error(err)
		}

		if err := (Policy{First: time.Hour}).Start().Wait(ctx); err != context.Canceled {
			t.Error(err)
		}

		if time.Since(begin) != 0 {
			t.Errorf("waited for %s", time.Since(begin))
		}
	})
}

// Reset makes the bounds count anew.
func TestReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := Policy{First: time.Second, For: 5 * time.Second, Tries: 3}.Start()
		for i := range 20 {
			if err := tries.Again(t.Context(), broken(fail.Unavailable)); err != nil {
				t.Fatalf("try %d: %v", i, err)
			}

			if i%2 == 1 {
				tries.Reset()
			}
		}
	})
}
