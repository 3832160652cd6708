package stream

import (
	"context"
	"slices"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

// notDurable fails the test when a position becomes durable within a moment.
func notDurable(t *testing.T, set vault.Set, from, at targets.Position, words string) {
	t.Helper()
	stalled(t, 200*time.Millisecond, words, func(ctx context.Context) (any, error) {
		return AwaitDurable(ctx, set, shard, from, at, 20*time.Millisecond, nil)
	})
}

// stalled fails the test unless a wait ends with its time, and says why. The reason is
// that of vaults that have answered: on a slow machine they get more time.
func stalled(t *testing.T, limit time.Duration, words string, wait func(context.Context) (any, error)) {
	t.Helper()

	for ; ; limit *= 10 {
		got, err := wait(withTimeout(t, limit))

		switch {
		case !fail.Is(err, fail.Stalled):
			t.Fatalf("got %v: %v", got, err)
		case contains(err.Error(), words):
			return
		case limit > time.Minute:
			t.Fatalf("%v, which does not say %q", err, words)
		}
	}
}

func durable(t *testing.T, set vault.Set, from, at targets.Position) {
	t.Helper()

	if _, err := AwaitDurable(withTimeout(t, 2*time.Minute), set, shard, from, at, 20*time.Millisecond, nil); err != nil {
		t.Fatalf("%+v: %v", at, err)
	}
}

// A Redis that restarted has a new id; a cut that was marked under it before
// the archiver came back is before the timeline's beginning and has no bytes.
func TestBeforeTheBeginningIsNotDurable(t *testing.T) {
	set, _ := testSet(t, 2, 2)
	a := start(t, Options{Set: set})
	must(t, a.Begin(ctx, "L", 500, targets.Position{}, nil))
	must(t, a.Write(ctx, 500, streamBytes("L", 500, 900)))
	must(t, a.Close(ctx))
	notDurable(t, set, pos("L", 400), pos("L", 499), "99 bytes missing")
	durable(t, set, pos("L", 500), pos("L", 900))
}

// After a failover whose old tail was lost, what comes behind the hole is
// durable: the hole cannot be waited for.
func TestDurableBehindAHoleAtAFailover(t *testing.T) {
	for _, begin := range []uint64{150, 200, 300} { // before the switch, as a segment does, at it, and behind it
		set, _ := testSet(t, 2, 2)
		a := start(t, Options{Set: set})
		must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))
		must(t, a.Write(ctx, 0, streamBytes("L", 0, 100)))
		must(t, a.Begin(ctx, "M", begin, pos("L", 200), nil))
		must(t, a.Write(ctx, begin, streamBytes("M", begin, 400)))
		must(t, a.Close(ctx))
		durable(t, set, pos("M", begin), pos("M", 400))
		notDurable(t, set, pos("L", 0), pos("L", 150), "no base behind the hole at L [100,200)")

		why := "no base behind the hole at L [100,200)"
		if begin > 200 {
			why = "archived only from 300"
		}

		notDurable(t, set, pos("L", 0), pos("M", 400), why)
		ls, err := Load(ctx, set.Vaults[0], shard)
		must(t, err)

		if i := slices.IndexFunc(ls, func(l timeline.Timeline) bool { return l.ID == "L" }); !slices.Equal(ls[i].Holes, []timeline.Gap{{From: 100, To: 200}}) {
			t.Fatalf("holes %v", ls[i].Holes)
		}

		if _, err := timeline.Path(ls, pos("L", 0), pos("M", 400)); !fail.Is(err, fail.NotFound) {
			t.Fatalf("a path over the hole: %v", err)
		}
	}
}

// Without a declaration a hole at a failover still holds everything up: the
// parent's tail is on its way.
func TestAnOpenTailOfTheParentIsWaitedFor(t *testing.T) {
	set, dirs := testSet(t, 1, 1)
	a := start(t, Options{Set: set, ChunkSize: 100})
	must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes("L", 0, 300)))
	must(t, a.Begin(ctx, "M", 300, pos("L", 300), nil))
	must(t, a.Write(ctx, 300, streamBytes("M", 300, 400)))
	must(t, a.Close(ctx))
	durable(t, set, pos("L", 0), pos("M", 400))
	remove(t, dirs[0], 200)
	notDurable(t, set, pos("L", 0), pos("M", 400), "100 bytes missing")
}

// A chunk that every vault lost is an open gap until the archiver finds that
// the server no longer has its bytes and declares the hole, wherever that ends.
func TestALostChunkStopsHoldingUpWhenDeclared(t *testing.T) {
	set, dirs := testSet(t, 2, 2)
	a := start(t, Options{Set: set, ChunkSize: 100})
	must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes("L", 0, 500)))
	must(t, a.Close(ctx))

	for _, d := range dirs {
		remove(t, d, 200)
	}

	notDurable(t, set, pos("L", 0), pos("L", 500), "100 bytes missing")

	b := start(t, Options{Set: set, ChunkSize: 100})
	if at, _ := b.Tail(); at.Offset != 200 {
		t.Fatalf("resumes at %d", at.Offset)
	}
	// The server has everything from the middle of what is archived on.
	must(t, b.Begin(ctx, "L", 450, targets.Position{}, nil))
	must(t, b.Write(ctx, 450, streamBytes("L", 450, 800)))
	waitFor(t, "durable", func() bool { return b.Durable() == 800 })
	b.Abort()
	durable(t, set, pos("L", 450), pos("L", 800))
	notDurable(t, set, pos("L", 0), pos("L", 800), "no base behind the hole at L [200,300)")

	c := start(t, Options{Set: set, ChunkSize: 100})
	if at, _ := c.Tail(); at.Offset != 800 {
		t.Fatalf("resumes at %d", at.Offset)
	}

	must(t, c.Write(ctx, 800, streamBytes("L", 800, 1000)))
	must(t, c.Close(ctx))
	// A gap behind the declared one is an open one again.
	for _, d := range dirs {
		remove(t, d, 800)
	}

	notDurable(t, set, pos("L", 450), pos("L", 1000), "100 bytes missing")
	durable(t, set, pos("L", 450), pos("L", 800))
}

// Killed between the record of a hole and the first chunk behind it, the
// archive goes on behind it.
func TestAHoleWithNothingBehindIt(t *testing.T) {
	set, _ := testSet(t, 2, 2)
	a := start(t, Options{Set: set})
	must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes("L", 0, 100)))
	must(t, a.Begin(ctx, "L", 300, targets.Position{}, nil))
	a.Abort()

	b := start(t, Options{Set: set})
	if at, _ := b.Tail(); at.Offset != 300 {
		t.Fatalf("resumes at %d", at.Offset)
	}

	must(t, b.Write(ctx, 300, streamBytes("L", 300, 400)))
	must(t, b.Close(ctx))
	durable(t, set, pos("L", 300), pos("L", 400))
}

// The record of a hole reaches a vault that was away when it was declared.
func TestAHoleCatchesUp(t *testing.T) {
	set, _ := testSet(t, 2, 1)
	fs, wrap := faults(set)
	a := start(t, Options{Set: set, wrap: wrap})
	must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes("L", 0, 100)))
	must(t, a.Flush(ctx))
	fs[1].down(true)
	must(t, a.Begin(ctx, "L", 300, targets.Position{}, nil))
	must(t, a.Write(ctx, 300, streamBytes("L", 300, 400)))
	must(t, a.Close(ctx))
	fs[1].down(false)
	b := start(t, Options{Set: set})
	waitFor(t, "catching up", func() bool { return b.Progress().Vaults[1].Live })
	must(t, b.Close(ctx))
	set.Durability = 2
	durable(t, set, pos("L", 300), pos("L", 400))
}

// Two servers that were promoted to the same timeline at different places must
// not be mixed: neither within one archiver's life nor after a resume.
func TestAnotherPastUnderTheSameNameIsRefused(t *testing.T) {
	set, _ := testSet(t, 2, 2)
	a := start(t, Options{Set: set})
	must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes("L", 0, 300)))
	must(t, a.Begin(ctx, "M", 200, pos("L", 200), []byte("1\t0/C8")))
	must(t, a.Write(ctx, 200, streamBytes("M", 200, 400)))
	must(t, a.Flush(ctx))
	refused := func(a *Archiver) {
		t.Helper()
		must(t, a.Begin(ctx, "M", 200, pos("L", 200), []byte("1\t0/C8")))
		must(t, a.Begin(ctx, "M", 400, targets.Position{}, nil)) // it is not said

		if err := a.Begin(ctx, "M", 400, pos("L", 250), []byte("1\t0/C8")); !fail.Is(err, fail.Corrupt) || !contains(err.Error(), "left L at 250") {
			t.Fatalf("another switch point: %v", err)
		}

		if err := a.Begin(ctx, "M", 400, pos("L", 200), []byte("1\t0/C8\tby hand")); !fail.Is(err, fail.Corrupt) || !contains(err.Error(), "history") {
			t.Fatalf("another history: %v", err)
		}
	}
	refused(a)
	must(t, a.Close(ctx))
	refused(start(t, Options{Set: set}))
}
