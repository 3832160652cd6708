package stream

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/stream/chunk"
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

	notDurable(t, set, pos("L", 0), pos("L", 400), "east")

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

		h := chunk.Header{Shard: shard, Timeline: "L", From: 4000, To: 5000, Opened: time.Now(), Closed: time.Now()}
		for _, n := range []int{999, 1001} {
			encrypted, err := v.Encrypt(key, h.Meta(), make([]byte, n))
			must(t, err)
			overwrite(t, file, encrypted)

			if err := read(v); !fail.Is(err, fail.Corrupt) || !contains(err.Error(), filepath.Base(file)) {
				t.Fatalf("%d bytes: %v", n, err)
			}
		}
		h.Timeline = "M"
		encrypted, err := v.Encrypt(key, h.Meta(), make([]byte, 1000))
		must(t, err)
		overwrite(t, file, encrypted)

		if err := read(v); !fail.Is(err, fail.Corrupt) || !contains(err.Error(), filepath.Base(file)) {
			t.Fatalf("another timeline: %v", err)
		}
	})
	t.Run("read around by an overlap", func(t *testing.T) {
		v, dir := build(t)
		h := chunk.Header{Shard: shard, Timeline: "L", From: 3900, To: 5100, Opened: time.Now(), Closed: time.Now()}
		must(t, v.PutEncrypted(ctx, vault.ChunkKey(shard, "L", 3900, 5100, time.Now()), h.Meta(), streamBytes("L", 3900, 5100)))
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
