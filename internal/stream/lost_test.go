package stream

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

// damagedOnce is an archive of which west lacks two chunks, and east's copy of
// the first is damaged.
func damagedOnce(t *testing.T, durability int, write func(a *Archiver)) (vault.Set, string) {
	t.Helper()
	set, dirs := testSet(t, 2, durability)
	a := start(t, Options{Set: set, ChunkSize: 100})
	must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes("L", 0, 1000)))
	write(a)
	must(t, a.Close(ctx))
	remove(t, dirs[1], 300)
	remove(t, dirs[1], 400)
	file := chunkFile(t, dirs[0], 300)
	b, err := os.ReadFile(file)
	must(t, err)
	b[len(b)-5] ^= 1
	overwrite(t, file, b)

	return set, strings.TrimPrefix(file, dirs[0]+"/")
}

// lostOf is the key of the chunk for which the archiver ended.
func lostOf(t *testing.T, a *Archiver) string {
	t.Helper()
	waitFor(t, "the damage", func() bool { return a.Err() != nil })

	var lost *Lost
	if !errors.As(a.Err(), &lost) {
		t.Fatal(a.Err())
	}

	return lost.Key
}

// Damage in the only copy is not spread, and what nobody holds whole does not
// become durable: the archiver goes back to it, and gets it from the server.
func TestCatchUpDoesNotCopyDamage(t *testing.T) {
	for _, durability := range []int{1, 2} {
		set, key := damagedOnce(t, durability, func(*Archiver) {})

		a := start(t, Options{Set: set, ChunkSize: 100})
		if lost := lostOf(t, a); lost != key {
			t.Fatalf("%s is lost, not %s", key, lost)
		}

		if d := a.Durable(); durability == 2 && d > 300 {
			t.Fatalf("durable is %d, nobody has [300,400)", d)
		}

		a.Abort()

		b := start(t, Options{Set: set, ChunkSize: 100, Lost: []string{key}})
		if at, _ := b.Tail(); at.Offset != 300 {
			t.Fatalf("resumes at %d", at.Offset)
		}

		must(t, b.Write(ctx, 300, streamBytes("L", 300, 1100)))
		waitFor(t, "durable", func() bool { return b.Durable() == 1100 })
		must(t, b.Close(ctx))
		mustEqual(t, set.Vaults[1], "L", 0, 1100)

		if _, err := set.Vaults[1].Store().Stat(ctx, key); !fail.Is(err, fail.NotFound) {
			t.Fatalf("the damaged chunk was copied: %v", err)
		}
		// The next one finds the same bytes in another chunk.
		c := start(t, Options{Set: set, ChunkSize: 100})
		waitFor(t, "catching up", func() bool { return c.Progress().Vaults[1].Live && c.Durable() == 1100 })
		must(t, c.Close(ctx))
	}
}

// When the server no longer has the bytes of a damaged chunk, they are declared
// a hole, no more than they.
func TestALostChunkThatTheServerDropped(t *testing.T) {
	set, key := damagedOnce(t, 2, func(*Archiver) {})
	a := start(t, Options{Set: set, ChunkSize: 100})
	lostOf(t, a)
	a.Abort()
	b := start(t, Options{Set: set, ChunkSize: 100, Lost: []string{key}})
	must(t, b.Begin(ctx, "L", 900, targets.Position{}, nil)) // all that it has

	select {
	case <-b.Interrupted():
	default:
		t.Fatal("it says nothing of the hole")
	}

	if brk, ok := timeline.NeedsBase(b.Timelines(), []targets.Artifact{{From: pos("L", 50)}}); !ok || brk.Gap != (timeline.Gap{From: 300, To: 400}) {
		t.Fatalf("%v %v", brk, ok)
	}

	must(t, b.Write(ctx, 900, streamBytes("L", 900, 1200)))
	waitFor(t, "durable", func() bool { return b.Durable() == 1200 })
	must(t, b.Close(ctx))
	mustEqual(t, set.Vaults[1], "L", 400, 1200)

	c := start(t, Options{Set: set, ChunkSize: 100})
	if at, _ := c.Tail(); at.Offset != 1200 {
		t.Fatalf("resumes at %d", at.Offset)
	}

	waitFor(t, "catching up", func() bool { return c.Progress().Vaults[1].Live && c.Durable() == 1200 })
}

// Of an older timeline the server has nothing: its lost bytes are given up, and
// a base is asked for.
func TestALostChunkOfAnOlderTimeline(t *testing.T) {
	set, _ := damagedOnce(t, 2, func(a *Archiver) {
		must(t, a.Begin(ctx, "M", 1000, pos("L", 1000), nil))
		must(t, a.Write(ctx, 1000, streamBytes("M", 1000, 1500)))
	})
	a := start(t, Options{Set: set, ChunkSize: 100})
	waitFor(t, "catching up", func() bool { return a.Progress().Vaults[1].Live && a.Durable() == 1500 })

	if brk, ok := timeline.NeedsBase(a.Timelines(), []targets.Artifact{{From: pos("L", 50)}}); !ok || brk.Timeline != "L" || brk.Gap != (timeline.Gap{From: 300, To: 400}) {
		t.Fatalf("%v %v", brk, ok)
	}

	select {
	case <-a.Interrupted():
	default:
		t.Fatal("it says nothing of the hole")
	}

	must(t, a.Close(ctx))
	mustEqual(t, set.Vaults[1], "L", 400, 1000)
	ls, err := Load(ctx, set.Vaults[1], shard)
	must(t, err)

	if len(ls[0].Holes) != 1 {
		t.Fatalf("holes %v", ls[0].Holes)
	}
}

// While a vault is away nothing is given up: it may hold the chunk whole.
func TestNothingIsGivenUpWhileAVaultIsAway(t *testing.T) {
	set, key := damagedOnce(t, 2, func(a *Archiver) {
		must(t, a.Begin(ctx, "M", 1000, pos("L", 1000), nil))
		must(t, a.Write(ctx, 1000, streamBytes("M", 1000, 1500)))
	})
	set.Away = []string{"north"}
	a := start(t, Options{Set: set, ChunkSize: 100})
	waitFor(t, "the damage", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()

		return a.bad[key]
	})
	time.Sleep(1200 * time.Millisecond) // and its next try
	a.Abort()

	for _, v := range set.Vaults {
		ls, err := Load(ctx, v, shard)
		must(t, err)

		if len(ls[0].Holes) > 0 {
			t.Fatalf("%s: holes %v", v.Region(), ls[0].Holes)
		}
	}
}

// Two damaged chunks over the same bytes do not excuse each other.
func TestDamagedChunksExcuseNoOther(t *testing.T) {
	set, key := damagedOnce(t, 2, func(*Archiver) {})
	east := set.Vaults[0].Store()
	other := vault.ChunkKey(shard, "L", 300, 400, time.UnixMilli(1)) // the same range once more
	body, err := east.Get(ctx, key)
	must(t, err)
	b, err := io.ReadAll(body)
	must(t, err)
	must(t, body.Close())
	must(t, east.Put(ctx, other, b))
	a := start(t, Options{Set: set, ChunkSize: 100})

	lost := lostOf(t, a)
	if lost != key && lost != other {
		t.Fatal(lost)
	}

	if d := a.Durable(); d > 300 {
		t.Errorf("durable is %d, nobody has [300,400)", d)
	}
}
