package stream

import (
	"context"
	"sync"
	"testing"
	"time"

	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

// Archivers die at random moments in front of stores that fail, answer late,
// and lose answers. The sender keeps only what was not acknowledged. In the
// end every vault holds every byte once, and nothing was acknowledged that
// was not in enough vaults.
func TestKilledArchiversLoseNothing(t *testing.T) {
	rng := seeded(t)

	rounds := 60
	if testing.Short() {
		rounds = 15
	}
	set, _ := testSet(t, 2, 2)
	fs, wrap := faults(set)

	var mu sync.Mutex
	for _, f := range fs {
		f.put = func(string) (delay time.Duration, before, after error) {
			mu.Lock()
			defer mu.Unlock()

			switch rng.IntN(8) {
			case 0:
				before = errFault
			case 1:
				after = errFault
			}

			return time.Duration(rng.IntN(4)) * time.Millisecond, before, after
		}
	}
	src := source{timeline: "L"}

	roll := func(n int) int { mu.Lock(); defer mu.Unlock(); return rng.IntN(n) }
	for round := range rounds {
		a := start(t, Options{Set: set, ChunkSize: 2000, ChunkAge: 5 * time.Millisecond, MaxBuffered: 10000, wrap: wrap})

		tail, ok := a.Tail()
		if ok && tail.Timeline == src.timeline && tail.Offset < src.acked {
			t.Fatalf("round %d: resumes at %d, but %d was acknowledged", round, tail.Offset, src.acked)
		}

		if !ok {
			must(t, a.Begin(ctx, src.timeline, 0, targets.Position{}, nil))
		}
		runCtx, cancel := context.WithTimeout(ctx, time.Duration(10+roll(60))*time.Millisecond)

		at := tail.Offset
		for runCtx.Err() == nil {
			n := uint64(1 + roll(900))
			if err := a.Write(runCtx, at, streamBytes(src.timeline, at, at+n)); err != nil {
				break
			}
			at += n
			src.acked = max(src.acked, a.Durable())
		}

		cancel()
		src.acked = max(src.acked, a.Durable())
		a.Abort() // as kill -9: nothing is flushed

		for _, v := range set.Vaults {
			if src.acked > 0 {
				ls, err := Load(ctx, v, shard)
				must(t, err)

				if _, err := timeline.Path(ls, pos("L", 0), pos("L", src.acked)); err != nil {
					t.Fatalf("round %d: %d was acknowledged: %v", round, src.acked, err)
				}
			}
		}
	}
	// What the last rounds left behind is caught up with, but not against faults
	// for ever.
	for _, f := range fs {
		f.mu.Lock()
		f.put = nil
		f.mu.Unlock()
	}
	a := start(t, Options{Set: set, wrap: wrap})
	tail, _ := a.Tail()
	must(t, a.Write(ctx, tail.Offset, streamBytes("L", tail.Offset, tail.Offset+5000)))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%+v, tail %d", a.Progress(), tail.Offset)
		}
	})
	waitFor(t, "all durable", func() bool { return a.Durable() == tail.Offset+5000 })
	must(t, a.Close(ctx))
	t.Logf("%d bytes in %d rounds", tail.Offset+5000, rounds)

	for _, v := range set.Vaults {
		mustEqual(t, v, "L", 0, tail.Offset+5000)
	}
}

// Two archivers of one shard at once, with random pauses, do no harm.
func TestTwoArchiversAtOnce(t *testing.T) {
	set, _ := testSet(t, 2, 2)
	const end = 60000

	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			a, err := NewArchiver(ctx, Options{Set: set, Shard: shard, Kind: targets.Redis, ChunkSize: 700 + 300*i, ChunkAge: 3 * time.Millisecond})
			if err != nil {
				t.Error(err)
				return
			}
			defer a.Abort()

			if err := a.Begin(ctx, "L", 0, targets.Position{}, nil); err != nil {
				t.Error(err)
				return
			}

			tail, _ := a.Tail()
			for at := tail.Offset; at < end; at += 500 {
				if err := a.Write(ctx, at, streamBytes("L", at, at+500)); err != nil {
					t.Error(err)
					return
				}
			}

			if err := a.Close(ctx); err != nil {
				t.Error(err)
			}
		})
	}

	wg.Wait()

	for _, v := range set.Vaults {
		mustEqual(t, v, "L", 0, end)
		ls, err := Load(ctx, v, shard)
		must(t, err)

		if len(ls) != 1 {
			t.Fatalf("timelines %v", ls)
		}
	}

	if got, err := AwaitDurable(ctx, set, shard, pos("L", 0), pos("L", end), time.Millisecond, nil); err != nil || len(got) != 2 {
		t.Fatalf("%v %v", got, err)
	}
}

// AwaitDurable sees a position become durable while the archive grows, with
// listings of what is new only.
func TestAwaitDurableFollowsTheArchive(t *testing.T) {
	set, _ := testSet(t, 2, 2)
	a := start(t, Options{Set: set, ChunkSize: 500, ChunkAge: 5 * time.Millisecond})
	must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))

	done := make(chan error, 1)
	go func() {
		_, err := AwaitDurable(ctx, set, shard, pos("L", 0), pos("L", 20000), 2*time.Millisecond, nil)
		done <- err
	}()

	for at := uint64(0); at < 19500; at += 500 {
		must(t, a.Write(ctx, at, streamBytes("L", at, at+500)))
		time.Sleep(time.Millisecond)
	}

	must(t, a.Flush(ctx))

	select {
	case err := <-done:
		t.Fatalf("durable before it was written: %v", err)
	case <-time.After(30 * time.Millisecond):
	}

	must(t, a.Write(ctx, 19500, streamBytes("L", 19500, 20000)))

	select {
	case err := <-done:
		must(t, err)
	case <-time.After(2 * time.Minute):
		t.Fatal("not seen")
	}
}

var _ vault.Store = (*faulty)(nil)

// A crash can lose the first chunk of a new timeline while later ones, in
// flight with it, arrive. Nothing behind it may count as durable.
func TestALostFirstChunkIsNotSkipped(t *testing.T) {
	for _, lostIn := range [][]int{{1}, {0, 1}} {
		set, _ := testSet(t, 2, 2)
		a := start(t, Options{Set: set, ChunkSize: 1000, ChunkAge: time.Second})
		must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))
		must(t, a.Write(ctx, 0, streamBytes("L", 0, 5000)))
		must(t, a.Close(ctx))

		for _, i := range lostIn {
			ls, err := Load(ctx, set.Vaults[i], shard)
			must(t, err)
			must(t, set.Vaults[i].Store().Delete(ctx, ls[0].Chunks[0].Key))
		}

		if _, err := AwaitDurable(withTimeout(t, 300*time.Millisecond), set, shard, pos("L", 0), pos("L", 5000), 50*time.Millisecond, nil); err == nil {
			t.Fatalf("lost in %v: the end counts as durable although the beginning is missing", lostIn)
		}
		fs, wrap := faults(set)
		hold := make(chan struct{})
		fs[1].put = func(string) (time.Duration, error, error) { <-hold; return 0, nil, nil }
		b := start(t, Options{Set: set, ChunkSize: 1000, wrap: wrap})

		tail, _ := b.Tail()
		if d := b.Durable(); d != 0 {
			t.Errorf("lost in %v: %d counts as durable although the beginning is missing", lostIn, d)
		}

		if len(lostIn) == 2 && tail.Offset != 0 {
			t.Errorf("resumes at %d; the sender still has the beginning", tail.Offset)
		}

		close(hold)
		b.Abort()
	}
}

func withTimeout(t *testing.T, d time.Duration) context.Context {
	c, cancel := context.WithTimeout(ctx, d)
	t.Cleanup(cancel)

	return c
}
