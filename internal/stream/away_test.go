package stream

import (
	"testing"
	"time"

	"drctl/targets"
)

func TestVaultThatWasAwayCatchesUp(t *testing.T) {
	set, _ := testSet(t, 2, 1)
	fs, wrap := faults(set)
	a := start(t, Options{Set: set, ChunkSize: 1000, wrap: wrap})
	must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes("L", 0, 3000)))
	must(t, a.Flush(ctx))
	fs[1].down(true)

	for at := uint64(3000); at < 23000; at += 1000 {
		must(t, a.Write(ctx, at, streamBytes("L", at, at+1000)))
	}

	must(t, a.Begin(ctx, "M", 23000, pos("L", 23000), nil))
	must(t, a.Write(ctx, 23000, streamBytes("M", 23000, 25000)))
	must(t, a.Flush(ctx))

	if d := a.Durable(); d != 25000 {
		t.Fatalf("one vault suffices, durable is %d", d)
	}

	fs[1].down(false)
	waitFor(t, "catching up", func() bool { p := a.Progress(); return p.Vaults[1].Live && p.Vaults[1].Behind == 0 })
	must(t, a.Write(ctx, 25000, streamBytes("M", 25000, 26000)))
	must(t, a.Close(ctx))

	for _, v := range set.Vaults {
		mustEqual(t, v, "L", 0, 23000)
		mustEqual(t, v, "M", 23000, 26000)
	}
}

func TestDurableNeedsEverythingInEnoughVaults(t *testing.T) {
	set, _ := testSet(t, 2, 2)
	fs, wrap := faults(set)
	a := start(t, Options{Set: set, ChunkSize: 1000, wrap: wrap, RetryFor: 2 * time.Minute})
	must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes("L", 0, 1000)))
	waitFor(t, "first", func() bool { return a.Durable() == 1000 })
	fs[1].down(true)
	must(t, a.Write(ctx, 1000, streamBytes("L", 1000, 3000)))
	must(t, a.Flush(ctx))

	if d := a.Durable(); d != 1000 {
		t.Fatalf("durable %d with one vault away", d)
	}

	fs[1].down(false)
	waitFor(t, "both", func() bool { return a.Durable() == 3000 })

	for _, v := range set.Vaults {
		mustEqual(t, v, "L", 0, 3000)
	}
}

// A vault that is away for long keeps nothing from the other, and makes nothing
// durable that the policy wants in both; all of it is when it is back. An
// archiver that starts meanwhile does the same, whether the vault was ever
// opened or not.
func TestAVaultThatIsAwayStopsNothingElse(t *testing.T) {
	set, _ := testSet(t, 2, 2)
	fs, wrap := faults(set)
	opt := Options{Set: set, ChunkSize: 100, MaxBuffered: 400, wrap: wrap, RetryFor: 2 * time.Second}
	a := start(t, opt)
	must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes("L", 0, 500)))
	waitFor(t, "both vaults", func() bool { return a.Durable() == 500 })
	fs[1].down(true)
	write := func(a *Archiver, timeline string, from, to uint64) {
		t.Helper()

		for at := from; at < to; at += 100 {
			must(t, a.Write(ctx, at, streamBytes(timeline, at, at+100)))
		}

		must(t, a.Flush(ctx))
		mustEqual(t, set.Vaults[0], timeline, from, to)
	}
	write(a, "L", 500, 1000)
	failing := func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()

		return time.Since(a.members[1].failing) > 2*opt.RetryFor
	}
	waitFor(t, "west to fail for long", failing)
	write(a, "L", 1000, 5000)

	if d := a.Durable(); d != 500 {
		t.Fatalf("durable is %d, west has 500", d)
	}

	if p := a.Progress(); p.Vaults[1].Error == "" || p.Vaults[0].Error != "" {
		t.Fatalf("%+v", p.Vaults)
	}

	must(t, a.Close(ctx))

	alone := opt
	alone.Set.Vaults, alone.Set.Away = set.Vaults[:1], []string{"west"}

	b := start(t, alone)
	if at, _ := b.Tail(); at.Offset != 5000 {
		t.Fatalf("resumes at %d", at.Offset)
	}

	write(b, "L", 5000, 6000)
	must(t, b.Begin(ctx, "M", 6000, pos("L", 6000), nil)) // a failover meanwhile
	write(b, "M", 6000, 7000)

	if d := b.Durable(); d != 0 {
		t.Fatalf("durable is %d in one vault of two", d)
	}

	must(t, b.Close(ctx))

	c := start(t, opt)
	write(c, "M", 7000, 8000)

	if d := c.Durable(); d != 0 {
		t.Fatalf("durable is %d in one vault of two", d)
	}

	fs[1].down(false)
	waitFor(t, "everything in both", func() bool { return c.Durable() == 8000 })
	must(t, c.Close(ctx))

	for _, v := range set.Vaults {
		mustEqual(t, v, "L", 0, 6000)
		mustEqual(t, v, "M", 6000, 8000)
	}
}

// What a vault holds of a timeline is not durable while it lacks the end of the
// one before: the server forgets by position.
func TestNothingIsDurableWithoutWhatCameBefore(t *testing.T) {
	set, dirs := testSet(t, 2, 2)
	a := start(t, Options{Set: set, ChunkSize: 100})
	must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes("L", 0, 200)))
	must(t, a.Begin(ctx, "M", 200, pos("L", 200), nil))
	must(t, a.Write(ctx, 200, streamBytes("M", 200, 400)))
	must(t, a.Close(ctx))
	remove(t, dirs[1], 100)
	fs, wrap := faults(set)
	fs[1].put = func(string) (time.Duration, error, error) { return 0, errFault, nil }

	b := start(t, Options{Set: set, ChunkSize: 100, wrap: wrap})
	if d := b.Durable(); d != 0 {
		t.Fatalf("durable is %d, west lacks the end of L", d)
	}

	fs[1].mu.Lock()
	fs[1].put = nil
	fs[1].mu.Unlock()
	waitFor(t, "west", func() bool { return b.Durable() == 400 })
}
