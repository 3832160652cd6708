package stream

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

var ctx = context.Background()

func start(t testing.TB, o Options) *Archiver {
	t.Helper()

	if o.Shard == (targets.ShardID{}) {
		o.Shard = shard
	}
	o.Kind = targets.Redis

	a, err := NewArchiver(ctx, o)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(a.Abort)

	return a
}

func must(t testing.TB, err error) {
	t.Helper()

	if err != nil {
		t.Fatal(err)
	}
}

func TestArchiveAndResume(t *testing.T) {
	set, _ := testSet(t, 2, 2)

	a := start(t, Options{Set: set, ChunkSize: 1000, ChunkAge: 50 * time.Millisecond})
	if _, ok := a.Tail(); ok {
		t.Fatal("an empty archive has a tail")
	}

	must(t, a.Begin(ctx, "L", 100, targets.Position{}, []byte("history")))

	for at := uint64(100); at < 5100; at += 500 {
		must(t, a.Write(ctx, at, streamBytes("L", at, at+500)))
	}

	if err := a.Write(ctx, 6000, []byte("x")); !fail.Is(err, fail.Corrupt) || !contains(err.Error(), "[5100,6000)") {
		t.Fatalf("a hole was accepted: %v", err)
	}

	must(t, a.Write(ctx, 4900, streamBytes("L", 4900, 5150))) // overlap
	waitFor(t, "durable by age", func() bool { return a.Durable() == 5150 })
	must(t, a.Close(ctx))

	for _, v := range set.Vaults {
		mustEqual(t, v, "L", 100, 5150)
		mustEqual(t, v, "L", 333, 4444)
	}

	b := start(t, Options{Set: set, ChunkSize: 1000})
	if at, ok := b.Tail(); !ok || at != (targets.Position{Kind: targets.Redis, Timeline: "L", Offset: 5150}) {
		t.Fatalf("tail %+v", at)
	}

	if b.Durable() != 5150 {
		t.Fatalf("durable %d", b.Durable())
	}

	must(t, b.Begin(ctx, "L", 5000, targets.Position{}, nil))
	must(t, b.Write(ctx, 5000, streamBytes("L", 5000, 6000)))
	must(t, b.Begin(ctx, "M", 6000, pos("L", 6000), nil))

	if d := b.Durable(); d != 6000 {
		t.Fatalf("durable of the new timeline %d", d)
	}

	must(t, b.Write(ctx, 6000, streamBytes("M", 6000, 6500)))
	must(t, b.Close(ctx))

	for _, v := range set.Vaults {
		ls, err := Load(ctx, v, shard)
		must(t, err)
		spans, err := timeline.Path(ls, pos("L", 150), pos("M", 6400))
		must(t, err)

		if len(spans) != 2 {
			t.Fatalf("spans %v", spans)
		}

		mustEqual(t, v, "L", 150, 6000)
		mustEqual(t, v, "M", 6000, 6400)

		h, err := NewReader(v, shard).History(ctx, "L")
		if err != nil || string(h) != "history" {
			t.Fatalf("history %q %v", h, err)
		}
	}

	c := start(t, Options{Set: set})
	if at, _ := c.Tail(); at.Timeline != "M" || at.Offset != 6500 {
		t.Fatalf("tail %+v", at)
	}
}

func TestDeclaredHoleIsKept(t *testing.T) {
	set, _ := testSet(t, 1, 1)
	a := start(t, Options{Set: set})
	must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes("L", 0, 100)))
	must(t, a.Begin(ctx, "L", 300, targets.Position{}, nil))
	must(t, a.Write(ctx, 300, streamBytes("L", 300, 400)))
	must(t, a.Close(ctx))

	b := start(t, Options{Set: set})
	if at, _ := b.Tail(); at.Offset != 400 {
		t.Fatalf("resumes at %d, not behind the declared hole", at.Offset)
	}

	must(t, b.Close(ctx))
	v := set.Vaults[0]
	ls, err := Load(ctx, v, shard)
	must(t, err)

	if _, err := timeline.Path(ls, pos("L", 0), pos("L", 400)); !fail.Is(err, fail.NotFound) || !contains(err.Error(), "L bytes [100,300)") {
		t.Fatalf("the hole is not named: %v", err)
	}
	fs, err := Check(ctx, v, shard, pos("L", 0), pos("L", 400))
	must(t, err)

	if len(fs) != 3 || fs[0].Got != "FOUND" || fs[1].Got != "HOLE" || !contains(fs[1].Expected, "[100,300)") || fs[2].Got != "FOUND" {
		t.Fatalf("check %+v", fs)
	}

	if regions, err := AwaitDurable(ctx, set, shard, pos("L", 300), pos("L", 400), time.Millisecond, nil); err != nil || len(regions) != 1 {
		t.Fatalf("%v %v", regions, err)
	}

	if regions, err := AwaitDurable(ctx, set, shard, pos("L", 0), pos("L", 50), time.Millisecond, nil); err != nil || len(regions) != 1 {
		t.Fatalf("%v %v", regions, err)
	}
}

// What is missing is counted for the vault that the durability waits for.
func TestAwaitDurableTellsWhatIsMissing(t *testing.T) {
	set, dirs := testSet(t, 2, 2)
	a := start(t, Options{Set: set, ChunkSize: 100})
	must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes("L", 0, 500)))
	must(t, a.Close(ctx))
	remove(t, dirs[1], 200)

	missing := func(durability int, offset uint64) uint64 {
		t.Helper()

		wctx, cancel := context.WithCancel(ctx)
		defer cancel()
		set := set
		set.Durability = durability
		got := uint64(1 << 60)

		_, err := AwaitDurable(wctx, set, shard, pos("L", 0), pos("L", offset), time.Millisecond, func(n uint64) {
			got = n

			cancel() // once is enough
		})
		if err != nil && !fail.Is(err, fail.Stalled) {
			t.Fatal(err)
		}

		return got
	}
	for _, c := range []struct {
		durability int
		offset     uint64
		want       uint64
	}{{1, 600, 100}, {2, 600, 200}, {1, 500, 0}, {2, 450, 100}, {2, 150, 0}} {
		if got := missing(c.durability, c.offset); got != c.want {
			t.Errorf("durable in %d up to %d: %d bytes missing, want %d", c.durability, c.offset, got, c.want)
		}
	}
}

// An open gap, as a crash leaves it, is where the next archiver resumes; what
// is behind it does not count as durable.
func TestOpenGapIsWhereItResumes(t *testing.T) {
	set, dirs := testSet(t, 1, 1)
	a := start(t, Options{Set: set, ChunkSize: 100})
	must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes("L", 0, 500)))
	must(t, a.Close(ctx))
	remove(t, dirs[0], 200)

	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()

	if _, err := AwaitDurable(short, set, shard, pos("L", 0), pos("L", 400), 10*time.Millisecond, nil); !fail.Is(err, fail.Stalled) || !contains(err.Error(), "east") {
		t.Fatalf("a position behind a gap is durable: %v", err)
	}

	if _, err := AwaitDurable(ctx, set, shard, pos("L", 0), pos("L", 200), 10*time.Millisecond, nil); err != nil {
		t.Fatal(err)
	}

	b := start(t, Options{Set: set, ChunkSize: 100})
	if at, _ := b.Tail(); at.Offset != 200 {
		t.Fatalf("resumes at %d", at.Offset)
	}

	must(t, b.Write(ctx, 200, streamBytes("L", 200, 700)))
	must(t, b.Close(ctx))
	mustEqual(t, set.Vaults[0], "L", 0, 700)
}

// chunkFile finds the file of the chunk that begins at from.
func chunkFile(t testing.TB, dir string, from uint64) string {
	t.Helper()
	var found string
	must(t, filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if rel, e := filepath.Rel(dir, p); e == nil {
			if c, ok := vault.ParseChunkKey(filepath.ToSlash(rel)); ok && c.From == from {
				found = p
			}
		}

		return err
	}))

	if found == "" {
		t.Fatalf("no chunk at %d", from)
	}

	return found
}

func remove(t testing.TB, dir string, from uint64) {
	t.Helper()
	must(t, os.Remove(chunkFile(t, dir, from)))
}

func overwrite(t testing.TB, path string, b []byte) {
	t.Helper()
	must(t, os.Remove(path))
	must(t, os.WriteFile(path, b, 0o600))
}

func TestPlantedDamageIsNamed(t *testing.T) {
	build := func(t *testing.T) (*vault.Vault, string) {
		set, dirs := testSet(t, 1, 1)
		a := start(t, Options{Set: set, ChunkSize: 1000})
		must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))
		must(t, a.Write(ctx, 0, streamBytes("L", 0, 10000)))
		must(t, a.Close(ctx))

		return set.Vaults[0], dirs[0]
	}
	read := func(v *vault.Vault) error {
		r, err := NewReader(v, shard).Log(ctx, targets.Span{Timeline: "L", To: 10000})
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(io.Discard, r)

		return err
	}
	t.Run("none", func(t *testing.T) {
		v, _ := build(t)
		must(t, read(v))
	})
	t.Run("every flipped byte", func(t *testing.T) {
		v, dir := build(t)
		file := chunkFile(t, dir, 4000)
		whole, err := os.ReadFile(file)
		must(t, err)

		for i := 0; i < len(whole); i += 1 + len(whole)/60 {
			b := append([]byte(nil), whole...)
			b[i] ^= 0x10
			overwrite(t, file, b)

			if err := read(v); !fail.Is(err, fail.Corrupt) || !contains(err.Error(), filepath.Base(file)) {
				t.Fatalf("byte %d flipped: %v", i, err)
			}
		}

		overwrite(t, file, whole[:len(whole)-1])

		if err := read(v); !fail.Is(err, fail.Corrupt) || !contains(err.Error(), filepath.Base(file)) {
			t.Fatalf("cut short: %v", err)
		}
	})
	t.Run("missing", func(t *testing.T) {
		v, dir := build(t)
		remove(t, dir, 4000)

		if err := read(v); !fail.Is(err, fail.NotFound) || !contains(err.Error(), "L bytes [4000,5000)") {
			t.Fatal(err)
		}
	})
	t.Run("swapped", func(t *testing.T) {
		v, dir := build(t)
		a, b := chunkFile(t, dir, 4000), chunkFile(t, dir, 5000)
		x, err := os.ReadFile(a)
		must(t, err)
		y, err := os.ReadFile(b)
		must(t, err)
		overwrite(t, a, y)
		overwrite(t, b, x)

		if err := read(v); !fail.Is(err, fail.Corrupt) || !contains(err.Error(), filepath.Base(a)) {
			t.Fatal(err)
		}
	})
	t.Run("content of another length under a true name", func(t *testing.T) {
		v, dir := build(t)
		file := chunkFile(t, dir, 4000)
		rel, err := filepath.Rel(dir, file)
		must(t, err)
		key := filepath.ToSlash(rel)

		h := header{shard: shard, timeline: "L", from: 4000, to: 5000, opened: time.Now(), closed: time.Now()}
		for _, n := range []int{999, 1001} {
			encrypted, err := v.Encrypt(key, h.meta(), make([]byte, n))
			must(t, err)
			overwrite(t, file, encrypted)

			if err := read(v); !fail.Is(err, fail.Corrupt) || !contains(err.Error(), filepath.Base(file)) {
				t.Fatalf("%d bytes: %v", n, err)
			}
		}
		h.timeline = "M"
		encrypted, err := v.Encrypt(key, h.meta(), make([]byte, 1000))
		must(t, err)
		overwrite(t, file, encrypted)

		if err := read(v); !fail.Is(err, fail.Corrupt) || !contains(err.Error(), filepath.Base(file)) {
			t.Fatalf("another timeline: %v", err)
		}
	})
	t.Run("read around by an overlap", func(t *testing.T) {
		v, dir := build(t)
		h := header{shard: shard, timeline: "L", from: 3900, to: 5100, opened: time.Now(), closed: time.Now()}
		must(t, v.PutEncrypted(ctx, vault.ChunkKey(shard, "L", 3900, 5100, time.Now()), h.meta(), streamBytes("L", 3900, 5100)))
		b, err := os.ReadFile(chunkFile(t, dir, 4000))
		must(t, err)
		b[len(b)/2] ^= 1
		overwrite(t, chunkFile(t, dir, 4000), b)
		mustEqual(t, v, "L", 0, 10000)
		// The damaged one is the overlap itself:
		b, err = os.ReadFile(chunkFile(t, dir, 3900))
		must(t, err)
		b[len(b)/2] ^= 1
		overwrite(t, chunkFile(t, dir, 3900), b)

		if err := read(v); !fail.Is(err, fail.Corrupt) {
			t.Fatal(err)
		}
	})
}

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
	a := start(t, Options{Set: set, ChunkSize: 1000, wrap: wrap, RetryFor: 20 * time.Second})
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
	opt := Options{Set: set, ChunkSize: 100, MaxBuffered: 400, wrap: wrap, RetryFor: 200 * time.Millisecond}
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

func TestVaultErrorSurfaces(t *testing.T) {
	set, _ := testSet(t, 2, 2)
	fs, wrap := faults(set)
	a := start(t, Options{Set: set, ChunkSize: 100, MaxBuffered: 400, wrap: wrap, RetryFor: 300 * time.Millisecond})
	must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))
	fs[0].down(true)
	fs[1].down(true)

	var err error
	for at := uint64(0); err == nil && at < 1<<20; at += 100 {
		err = a.Write(ctx, at, streamBytes("L", at, at+100))

		time.Sleep(time.Millisecond)
	}

	if !fail.Is(err, fail.Unavailable) || !contains(err.Error(), "west") || !contains(err.Error(), "east") {
		t.Fatalf("error %v", err)
	}
}

func TestWriteBlocksWhenTooMuchIsOnItsWay(t *testing.T) {
	set, _ := testSet(t, 1, 1)
	fs, wrap := faults(set)
	hold := make(chan struct{})
	fs[0].put = func(key string) (time.Duration, error, error) {
		if _, ok := vault.ParseChunkKey(key); ok {
			<-hold
		}

		return 0, nil, nil
	}
	a := start(t, Options{Set: set, ChunkSize: 100, MaxBuffered: 400, wrap: wrap})
	must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))

	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()

	if err := a.Write(short, 0, streamBytes("L", 0, 10000)); err == nil {
		t.Fatal("Write took 10000 bytes into 400")
	}

	at, _ := a.Tail()
	if at.Offset > 400 {
		t.Fatalf("%d bytes are buffered", at.Offset)
	}

	close(hold)
	must(t, a.Write(ctx, at.Offset, streamBytes("L", at.Offset, 10000)))
	must(t, a.Close(ctx))
	mustEqual(t, set.Vaults[0], "L", 0, 10000)
}

func TestDivergentVaultsAreJoined(t *testing.T) {
	set, dirs := testSet(t, 2, 2)
	a := start(t, Options{Set: set, ChunkSize: 100})
	must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes("L", 0, 1000)))
	must(t, a.Close(ctx))
	remove(t, dirs[0], 300)
	remove(t, dirs[0], 900)
	remove(t, dirs[1], 200)
	remove(t, dirs[1], 500)

	b := start(t, Options{Set: set, ChunkSize: 100})
	if at, _ := b.Tail(); at.Offset != 1000 {
		t.Fatalf("tail %d", at.Offset)
	}

	must(t, b.Write(ctx, 1000, streamBytes("L", 1000, 1200)))
	waitFor(t, "durable", func() bool { return b.Durable() == 1200 })
	must(t, b.Close(ctx))

	for _, v := range set.Vaults {
		mustEqual(t, v, "L", 0, 1200)
	}
}

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

func TestTwoStreamsUnderOneNameAreFound(t *testing.T) {
	set, _ := testSet(t, 1, 1)
	now := time.UnixMilli(1700000000000)
	clock := func() time.Time { return now }
	write := func(b []byte) error {
		a := start(t, Options{Set: set, ChunkSize: 100, Clock: clock})
		if err := a.Begin(ctx, "L", 0, targets.Position{}, nil); err != nil {
			return err
		}

		a.mu.Lock()
		a.tail, a.members[0].held.end = 0, 0 // a second archiver that saw an empty vault
		a.mu.Unlock()

		if err := a.Write(ctx, 0, b); err != nil {
			return err
		}

		return a.Close(ctx)
	}
	must(t, write(streamBytes("L", 0, 100)))
	must(t, write(streamBytes("L", 0, 100)))

	if err := write(streamBytes("L", 8, 108)); !fail.Is(err, fail.Corrupt) {
		t.Fatalf("error %v", err)
	}
}

func TestOffsetAt(t *testing.T) {
	set, _ := testSet(t, 1, 1)
	t0 := time.UnixMilli(1700000000000)
	now := t0
	a := start(t, Options{Set: set, ChunkSize: 1000, ChunkAge: time.Hour, Clock: func() time.Time { return now }})
	must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))

	for i := range uint64(40) { // 100 bytes every 150 ms
		must(t, a.Write(ctx, i*100, streamBytes("L", i*100, i*100+100)))
		now = now.Add(150 * time.Millisecond)
	}

	must(t, a.Close(ctx))

	v := set.Vaults[0]
	if _, err := OffsetAt(ctx, v, shard, "L", t0.Add(-time.Millisecond)); !fail.Is(err, fail.NotFound) {
		t.Fatalf("before the beginning: %v", err)
	}

	for ms := 0; ms < 5850; ms += 37 {
		at, err := OffsetAt(ctx, v, shard, "L", t0.Add(time.Duration(ms)*time.Millisecond))
		must(t, err)

		if want := uint64(min(40, ms/150+1) * 100); at != want {
			t.Fatalf("at %d ms: %d, want %d", ms, at, want)
		}
	}
}
