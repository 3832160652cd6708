package watch

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
)

// What is held is not held for a master that does not answer, which is named, and no writer waits
// for what was never held.
func TestNothingIsHeldForASlowMaster(t *testing.T) {
	w := newWorld(t, "east")
	w.primary(sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Shard: "orders/0"}))
	r, slow := newFront(t, master(t, "carts/0"))
	w.primary(slow)

	x := w.watch()
	observed(t, x)

	own := errors.New("the gate is not granted")
	b, err := x.Burst(t.Context(), BurstOptions{Pause: true, During: func(context.Context, func(context.Context) error) error { return own }})

	if !errors.Is(err, own) || b.PauseErr != nil {
		t.Errorf("%+v, %v", b, err)
	}

	var over, after time.Duration

	_, err = x.Burst(t.Context(), BurstOptions{Pause: true, During: func(ctx context.Context, look func(context.Context) error) error {
		r.silent.Store(true)

		ctx, stop := context.WithTimeout(ctx, 300*time.Millisecond)
		defer stop()

		began := time.Now()
		err := look(ctx)
		end, _ := ctx.Deadline()
		over, after = time.Since(end), time.Since(began)

		return err
	}})
	if !fail.Is(err, fail.Stalled) || !strings.Contains(err.Error(), slow.Shard.String()) {
		t.Errorf("a master that does not answer: %v", err)
	}

	if over < 0 || over > answerWithin/2 {
		t.Errorf("it was held for %s, %s longer than it may be", after, over)
	}

	r.silent.Store(false)
	observed(t, x)
	whole(t, x, BurstOptions{Pause: true})
}

// An error of what is done within a burst is returned, and the next burst works.
func TestBurstReturnsWhatFailedWithin(t *testing.T) {
	w := newWorld(t, "east")
	w.primary(sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Shard: "orders/0"}))
	x := w.watch()
	observed(t, x)

	own := errors.New("the gate is not granted")
	if _, err := x.Burst(t.Context(), BurstOptions{During: func(context.Context, func(context.Context) error) error { return own }}); !errors.Is(err, own) {
		t.Error(err)
	}

	var all sync.WaitGroup
	for range 3 { // bursts of several cuts come one after the other
		all.Go(func() {
			for {
				b, err := x.Burst(t.Context(), BurstOptions{For: 20 * time.Millisecond})
				if err != nil {
					t.Errorf("%+v, %v", b, err)
				}

				if err != nil || len(b.Missing) == 0 {
					return
				}
			}
		})
	}

	all.Wait()
}
