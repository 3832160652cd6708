package redis

import (
	"path/filepath"
	"testing"
	"time"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/stream"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

// The whole line: a server followed into two vaults, a cut sealed, and the cut
// restored from the second vault alone.
func TestThroughTheVaults(t *testing.T) {
	d := driver(t)
	key, err := vault.GenerateKey()
	must(t, err)
	set := vault.Set{Durability: 2}

	id := ""
	for _, region := range []string{"east", "west"} {
		v, err := vault.Init(ctx, vault.Options{Region: region, Location: vault.Location{URL: "file://" + filepath.Join(t.TempDir(), region)},
			Key: key, Set: id, ResticBin: sandboxtest.Tools(t).ResticBin})
		must(t, err)
		id = v.SetID()
		set.Vaults = append(set.Vaults, v)
	}
	in := sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	w := newWriter(t, in, seeded(t))
	must(t, w.prepare())
	w.steps(t, 300)
	a, err := stream.NewArchiver(ctx, stream.Options{Set: set, Shard: in.Shard, Kind: targets.Redis, Region: in.Region, ChunkAge: 100 * time.Millisecond})
	must(t, err)

	defer a.Abort()
	stop := follow(t, d, in, a)
	waitFor(t, "the first base", func() bool { _, ok := a.Tail(); return ok })
	w.steps(t, 300)
	cut := mark(t, d, in, "cut-1")
	want := keySpace(t, in) // holds the marker, which the cut does not
	delete(want, "0 "+MarkerKey("shop"))

	regions, err := stream.AwaitRecoverable(ctx, set, in.Shard, cut, nil, 20*time.Millisecond, nil)
	if err != nil || len(regions) != 2 {
		t.Fatalf("sealed in %v: %v", regions, err)
	}

	w.steps(t, 300)
	caughtUp(t, in, a)
	_ = stop()

	must(t, a.Close(ctx))

	west := set.Vaults[1]
	bases, err := west.Bases(ctx, in.Shard)
	must(t, err)

	if len(bases) != 1 || bases[0].Method != "resync" || bases[0].From != bases[0].Until {
		t.Fatalf("bases %+v", bases)
	}
	ls, err := stream.Load(ctx, west, in.Shard)
	must(t, err)
	path, err := timeline.Path(ls, bases[0].From, cut)
	must(t, err)
	fs, err := stream.Check(ctx, west, in.Shard, bases[0].From, cut)
	must(t, err)

	for _, f := range fs {
		if f.Severity != targets.Passed {
			t.Fatalf("check %+v", f)
		}
	}
	got := restoreTo(t, d, stream.NewSource(west, in.Shard), targets.RestoreRequest{Base: bases[0], Point: cut, Path: path})
	sameKeys(t, "restored from the west", want, keySpace(t, got))

	// The next archiver resumes without another base.
	b, err := stream.NewArchiver(ctx, stream.Options{Set: set, Shard: in.Shard, Kind: targets.Redis, Region: in.Region, ChunkAge: 100 * time.Millisecond})
	must(t, err)

	defer b.Abort()
	stop = follow(t, d, in, b)
	w.steps(t, 100)
	end := caughtUp(t, in, b)
	waitFor(t, "durable", func() bool { return b.Durable() >= end.Offset })
	_ = stop()

	if bases, err = west.Bases(ctx, in.Shard); err != nil || len(bases) != 1 {
		t.Fatalf("%d bases, %v", len(bases), err)
	}
}
