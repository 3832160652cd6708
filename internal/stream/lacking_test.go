package stream

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"drctl/internal/stream/chunk"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

// later is the clock of an archiver two days after the test's own: retention
// removes nothing that is younger than one.
func later() time.Time { return time.Now().Add(48 * time.Hour) }

// What one vault's retention has removed before another's is not copied back,
// keeps no vault from being live, and moves nothing back.
func TestWhatRetentionRemovedIsNotCopiedBack(t *testing.T) {
	set, dirs := testSet(t, 2, 2)
	a := start(t, Options{Set: set, ChunkSize: 100})
	must(t, a.Begin(ctx, idL, 1000, targets.Position{}, nil))
	must(t, a.Write(ctx, 1000, streamBytes(idL, 1000, 2000)))
	must(t, a.Close(ctx))

	if a.Durable() != 2000 {
		t.Fatalf("durable %d", a.Durable())
	}

	var gone []string
	for _, from := range []uint64{1000, 1100, 1200} {
		gone = append(gone, chunkFile(t, dirs[0], from))
		remove(t, dirs[0], from)
	}
	fs, wrap := faults(set)
	fs[0].put = func(string) (time.Duration, error, error) { return 200 * time.Millisecond, nil, nil }

	b := start(t, Options{Set: set, ChunkSize: 100, wrap: wrap, Clock: later})
	if d := b.Durable(); d != 2000 {
		t.Errorf("durable %d at the start, 2000 was before", d)
	}

	for _, v := range b.Progress().Vaults {
		if !v.Live || v.Behind > 0 {
			t.Errorf("%+v", v)
		}
	}

	must(t, b.Write(ctx, 2000, streamBytes(idL, 2000, 2100)))
	must(t, b.Close(ctx))

	for _, f := range gone {
		if _, err := os.Stat(f); !os.IsNotExist(err) {
			t.Errorf("%s is back (%v)", filepath.Base(f), err)
		}
	}

	mustEqual(t, set.Vaults[0], idL, 1300, 2100)
}

// A dead timeline that one vault's retention has removed whole does not come
// back either; one that a vault without bases of its own lacks does, from the
// first base of any vault on.
func TestATimelineIsNeededFromItsFirstBaseOn(t *testing.T) {
	set, dirs := testSet(t, 3, 1)
	old := time.Now().Add(-72 * time.Hour)
	a := start(t, Options{Set: set, ChunkSize: 100, Clock: func() time.Time { return old }})
	must(t, a.Begin(ctx, idD, 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes(idD, 0, 500)))
	must(t, a.Close(ctx))
	b := start(t, Options{Set: set, ChunkSize: 100})
	must(t, b.Begin(ctx, idL, 0, targets.Position{}, nil))
	must(t, b.Write(ctx, 0, streamBytes(idL, 0, 500)))
	must(t, b.Close(ctx))

	for i := range 2 { // east by retention, west because it is new
		wipe(t, dirs[i], idD)
	}
	plant := func(i int, timeline string, from uint64, started time.Time) {
		plantRecord(t, set.Vaults[i], targets.Artifact{ID: "b-" + timeline, Shard: shard, Kind: targets.Redis, Region: "east", Method: "resync", Snapshot: strings.Repeat("0", 64),
			Path: "/dump.rdb", From: pos(timeline, from), Until: pos(timeline, from), Started: started, Finished: started})
	}
	plant(0, idL, 100, old.Add(10*time.Hour))
	plant(2, idD, 250, old)
	c := start(t, Options{Set: set, ChunkSize: 100, Clock: later})
	waitFor(t, "catching up", func() bool { return c.Progress().Vaults[1].Live })
	must(t, c.Close(ctx))

	for i, want := range []int{0, 3, 5} {
		if n := countChunks(t, dirs[i], idD); n != want {
			t.Errorf("%s has %d chunks of the dead timeline, want %d", set.Vaults[i].Region(), n, want)
		}
	}
}

// A quiet shard: one vault was away for longer than the other keeps. What lies
// between is nowhere, and not where the archive goes on.
func TestAnOldGapIsNotTheTail(t *testing.T) {
	set, dirs := testSet(t, 2, 1)
	plantOrigin(t, set, idL)
	plantNames(t, dirs[0], idL, 20_000, 29_990)
	plantChunk(t, set.Vaults[0], idL, 29_990, 30_000)
	plantNames(t, dirs[1], idL, 0, 10_000)

	a := start(t, Options{Set: set, Clock: later})
	if at, _ := a.Tail(); at.Offset != 30_000 {
		t.Errorf("resumes at %d", at.Offset)
	}

	a.Abort()
}

// What an archiver's start lists does not depend on what is kept; nor does an
// outline, from which status tells what it tells.
func TestStartListsTheEnd(t *testing.T) {
	for _, kept := range []uint64{300_000, 50_000} {
		set, dirs := testSet(t, 2, 2)
		plantOrigin(t, set, idL)

		for i, d := range dirs {
			plantNames(t, d, idL, 0, kept-10)
			plantChunk(t, set.Vaults[i], idL, kept-10, kept)
		}
		var keys atomic.Int64
		count := func(v *vault.Vault) vault.Store { return counting{v.Store(), &keys} }

		a := start(t, Options{Set: set, wrap: count, Clock: later})
		if at, _ := a.Tail(); at.Offset != kept || a.Durable() != kept {
			t.Errorf("resumes at %d, durable %d", at.Offset, a.Durable())
		}

		a.Abort()

		if n := keys.Swap(0); n > 2*12*page {
			t.Errorf("%d keys listed at a start with %d chunks in each vault", n, kept/10)
		}

		ls, err := outline(ctx, set.Vaults[0], count(set.Vaults[0]), shard)
		if err != nil || len(ls) != 1 || ls[0].Tip() != kept {
			t.Fatalf("%+v %v", ls, err)
		}

		if n := keys.Load(); n > 12*page {
			t.Errorf("%d keys listed for an outline of %d chunks", n, kept/10)
		}
	}
}

// plantChunk puts one whole chunk into a vault.
func plantChunk(t testing.TB, v *vault.Vault, timeline string, from, to uint64) {
	t.Helper()
	at := time.UnixMilli(int64(from))
	h := chunk.Header{Shard: shard, Timeline: timeline, From: from, To: to, Opened: at, Closed: at, Marks: []chunk.Mark{{At: at, Offset: to}}}
	must(t, v.PutEncrypted(ctx, vault.ChunkKey(shard, timeline, from, to, at), h.Meta(), streamBytes(timeline, from, to)))
}

// A chunk that no vault has whole, forged or damaged, does not move the end of
// the archive: nothing that nobody can give back counts as durable.
func TestANameIsNotTheTail(t *testing.T) {
	for _, only := range []bool{true, false} {
		set, dirs := testSet(t, 2, 2)
		a := start(t, Options{Set: set, ChunkSize: 100})
		must(t, a.Begin(ctx, idL, 0, targets.Position{}, nil))
		must(t, a.Write(ctx, 0, streamBytes(idL, 0, 500)))
		must(t, a.Close(ctx))
		must(t, set.Vaults[0].Store().Put(ctx, vault.ChunkKey(shard, idL, 500, 5000, time.Now()), []byte("garbage")))
		forged := vault.ChunkKey(shard, "X", 0, 10, time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)) // of a timeline of its own
		must(t, set.Vaults[1].Store().Put(ctx, forged, []byte("garbage")))

		end := uint64(500)
		if !only { // and the last one is damaged in both
			for _, d := range dirs {
				overwrite(t, chunkFile(t, d, 400), []byte("x"))
			}
			end = 400
		}

		b := start(t, Options{Set: set, ChunkSize: 100})
		if at, _ := b.Tail(); at.Timeline != idL || at.Offset != end || b.Durable() != end {
			t.Fatalf("the archive ends at %s %d, durable to %d, want %d", at.Timeline, at.Offset, b.Durable(), end)
		}

		must(t, b.Begin(ctx, idL, 600, targets.Position{}, nil)) // what the server has yet
		must(t, b.Write(ctx, 600, streamBytes(idL, 600, 700)))
		must(t, b.Close(ctx))

		for _, v := range set.Vaults {
			ls, err := Load(ctx, v, shard)
			must(t, err)

			if l := timeline.Find(ls, idL); len(l.Holes) != 1 || l.Holes[0] != (timeline.Gap{From: end, To: 600}) {
				t.Errorf("holes %v", l.Holes)
			}

			mustEqual(t, v, idL, 600, 700)
		}
	}
}

// One vault's damage alone is no reason to go back.
func TestATailThatOneVaultHasIsTheTail(t *testing.T) {
	set, dirs := testSet(t, 2, 1)
	a := start(t, Options{Set: set, ChunkSize: 100})
	must(t, a.Begin(ctx, idL, 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes(idL, 0, 500)))
	must(t, a.Close(ctx))
	overwrite(t, chunkFile(t, dirs[0], 400), []byte("x"))

	b := start(t, Options{Set: set, ChunkSize: 100})
	if at, _ := b.Tail(); at.Offset != 500 {
		t.Fatalf("the archive ends at %d", at.Offset)
	}
}

// plantOrigin begins a timeline in every vault that was begun two days ago.
func plantOrigin(t testing.TB, set vault.Set, timeline string) {
	t.Helper()
	a := start(t, Options{Set: set, Clock: func() time.Time { return time.Now().Add(-48 * time.Hour) }})
	must(t, a.Begin(ctx, timeline, 0, targets.Position{}, nil))
	must(t, a.Close(ctx))
}

// What is known to be lost stays absent when more of a timeline is listed.
func TestLostStaysAbsentWhenMoreIsListed(t *testing.T) {
	set, _ := testSet(t, 1, 1)
	v := set.Vaults[0]
	plantChunk(t, v, idL, 0, 100)
	plantChunk(t, v, idL, 100, 200)
	lost := vault.ChunkKey(shard, idL, 100, 200, time.UnixMilli(100))
	a := start(t, Options{Set: set, Lost: []string{lost}})
	l := &timeline.Timeline{ID: idL, ListedFrom: 200}
	must(t, a.extend(ctx, a.members[0], l, 0))

	if len(l.Chunks) != 1 || l.Chunks[0].From != 0 {
		t.Fatalf("listed %v", l.Chunks)
	}
}

// wipe empties a vault of what it holds of a timeline's log.
func wipe(t *testing.T, dir, timeline string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, vault.TimelinePrefix(shard, timeline), "0*"))
	must(t, err)

	for _, f := range files {
		must(t, os.Remove(f))
	}
}

func countChunks(t *testing.T, dir, timeline string) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, vault.TimelinePrefix(shard, timeline), "0*"))
	must(t, err)

	return len(files)
}

// An archiver that dies while it brings up a new vault leaves no later chunk in
// it without the first: what lies before the first that is there would pass for
// removed by retention.
func TestANewVaultBeginsWithItsFirstChunk(t *testing.T) {
	set, dirs := testSet(t, 2, 1)
	old := time.Now().Add(-72 * time.Hour)
	a := start(t, Options{Set: set, ChunkSize: 100, Clock: func() time.Time { return old }})
	must(t, a.Begin(ctx, idL, 1000, targets.Position{}, nil))
	must(t, a.Write(ctx, 1000, streamBytes(idL, 1000, 1600)))
	must(t, a.Close(ctx))
	first := filepath.Base(chunkFile(t, dirs[0], 1000))
	wipe(t, dirs[1], idL)
	fs, wrap := faults(set)
	var tried atomic.Int64
	fs[1].put = func(key string) (time.Duration, error, error) {
		if strings.HasSuffix(key, first) {
			tried.Add(1)
			return 0, errFault, nil
		}

		return 0, nil, nil
	}
	b := start(t, Options{Set: set, ChunkSize: 100, wrap: wrap})
	waitFor(t, "the first chunk's second try", func() bool { return tried.Load() > 1 })
	b.Abort()
	c := start(t, Options{Set: set, ChunkSize: 100})
	waitFor(t, "catching up", func() bool { return c.Progress().Vaults[1].Live })
	must(t, c.Close(ctx))

	if n := countChunks(t, dirs[1], idL); n != 6 {
		t.Errorf("%d chunks of 6", n)
	}
}

// A vault with no chunk and no base of the timeline that the shard is on does not
// hold it, however young its bases are.
func TestAYoungBaseOfAnotherTimelineHoldsNothing(t *testing.T) {
	set, dirs := testSet(t, 2, 2)
	old := time.Now().Add(-72 * time.Hour)
	a := start(t, Options{Set: set, ChunkSize: 100, Clock: func() time.Time { return old }})
	must(t, a.Begin(ctx, idL, 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes(idL, 0, 500)))
	must(t, a.Close(ctx))
	wipe(t, dirs[1], idL)
	plantRecord(t, set.Vaults[1], targets.Artifact{ID: "b", Shard: shard, Kind: targets.Redis, Region: "east", Method: "resync", Snapshot: strings.Repeat("0", 64),
		Path: "/dump.rdb", From: pos(idD, 100), Until: pos(idD, 100), Started: old.Add(10 * time.Hour), Finished: old.Add(10 * time.Hour)})
	b := start(t, Options{Set: set, ChunkSize: 100})
	waitFor(t, "catching up", func() bool { return b.Progress().Vaults[1].Live })
	must(t, b.Close(ctx))

	if n := countChunks(t, dirs[1], idL); n != 5 {
		t.Errorf("%d chunks of 5, and all of it counts as durable (%d)", n, b.Durable())
	}
}
