package losses_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/observation"
	"drctl/internal/observation/batches"
	"drctl/internal/proof/clock"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/restore/losses"
	"drctl/targets"
	"drctl/targets/handover"
)

const (
	line  = "7441-00000001"
	other = "7441-00000002"
)

var shard = targets.ShardID{Target: "orders", Shard: "0"}

func at(id string, offset uint64) targets.Position {
	return targets.Position{Kind: targets.Postgres, Timeline: id, Offset: offset}
}

func newSet(t *testing.T) vault.Set {
	t.Helper()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err := vault.Init(t.Context(), vault.Options{Region: "west", Location: vault.Location{URL: "file://" + filepath.Join(t.TempDir(), "west")}, Key: key})
	if err != nil {
		t.Fatal(err)
	}

	return vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}
}

// archive writes the old log up to an offset.
func archive(t *testing.T, set vault.Set, to uint64) {
	t.Helper()

	a, err := stream.NewArchiver(t.Context(), stream.Options{Set: set, Shard: shard, Kind: targets.Postgres})
	if err == nil {
		err = a.Begin(t.Context(), line, 0, targets.Position{}, nil)
	}

	if err == nil {
		err = a.Write(t.Context(), 0, make([]byte, to))
	}

	if err == nil {
		err = a.Close(t.Context())
	}

	if err != nil {
		t.Fatal(err)
	}
}

// observe stores what an observer saw of a primary, ago before now.
func observe(t *testing.T, set vault.Set, id string, now time.Time, ago time.Duration, offset uint64) {
	t.Helper()

	o := observation.NewObserver()
	wall := now.Add(-ago)
	i := o.Now()
	stamp := clock.Stamp(wall.UnixNano())

	b := observation.Batch{Group: "shop", Observer: o.Name(), Since: i, Until: i + 2, Began: wall, Ended: wall.Add(time.Millisecond), Shards: []observation.Seen{{Shard: shard, Kind: targets.Postgres, Server: "s",
		Observations: []observation.Observation{{Sample: clock.Sample{T0: i, T1: i + 1, Stamp: stamp, Wall: stamp}, Timeline: id, Flushed: offset, Inserted: offset}}}}}
	if err := batches.Save(t.Context(), set, b); err != nil {
		t.Fatal(err)
	}
}

func find(t *testing.T, set vault.Set, now time.Time, p losses.Promoted) losses.Shard {
	t.Helper()
	p.Shard, p.Kind = shard, targets.Postgres

	out, notes := losses.Find(t.Context(), set, "shop", []losses.Promoted{p}, now)
	if len(out) != 1 || len(notes) > 0 {
		t.Fatalf("%+v, %q", out, notes)
	}

	return out[0]
}

// A loss is at least what anybody saw beyond the fork, and at most what was written from
// the last instant on at which all was held. Where nobody saw more it is unknown, and
// never called nothing.
func TestWhatIsKnownOfALoss(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Millisecond)

	if s := find(t, newSet(t), now, losses.Promoted{Fork: at(line, 900)}); s.Verdict != losses.Unknown || s.Known.Timeline != "" || !s.Since.IsZero() {
		t.Errorf("nobody saw anything: %+v", s)
	}

	set := newSet(t)
	archive(t, set, 900)
	observe(t, set, line, now, 3*time.Second, 800)
	observe(t, set, other, now, time.Second, 5000) // the new primary's own

	s := find(t, set, now, losses.Promoted{Fork: at(line, 900)})
	if s.Verdict != losses.Unknown || s.Bytes != 0 || s.Known.Offset != 900 || now.Sub(s.Since).Round(time.Second) != 3*time.Second {
		t.Errorf("nobody saw more: %+v", s)
	}

	if w := (losses.Statement{Silent: now}).Words(s); !strings.Contains(w, "not known what is lost") || strings.Contains(w, "nothing") {
		t.Error(w)
	}

	set = newSet(t)
	observe(t, set, line, now, 10*time.Second, 900)
	observe(t, set, line, now, 2*time.Second, 1500)

	if s := find(t, set, now, losses.Promoted{Fork: at(line, 900)}); s.Verdict != losses.Lost || s.Bytes != 600 || now.Sub(s.Since).Round(time.Second) != 10*time.Second {
		t.Errorf("an observer saw more: %+v", s)
	}

	heard := []handover.Heard{{At: at(line, 1000), Seen: now}, {At: at(other, 9000)}}
	if s := find(t, newSet(t), now, losses.Promoted{Fork: at(line, 900), Heard: heard}); s.Verdict != losses.Lost || s.Bytes != 100 {
		t.Errorf("its standby was told of more: %+v", s)
	}

	set = newSet(t)
	observe(t, set, line, now, 5*time.Hour, 700) // people took hours to decide

	if s := find(t, set, now, losses.Promoted{Fork: at(line, 900)}); s.Since.IsZero() || s.Known.Offset != 700 {
		t.Errorf("an observer saw it hours before: %+v", s)
	}
}

// What old disks show goes before what was said at once, and is kept each time.
func TestWhatOldDisksShowIsKept(t *testing.T) {
	set := newSet(t)
	ctx := t.Context()
	said := losses.Statement{Run: "r1", Group: "shop", From: "east", To: "west", Shards: []losses.Shard{{Shard: shard, Kind: targets.Postgres, Fork: at(line, 900), Verdict: losses.Unknown}}}

	if _, err := losses.Load(ctx, set, "shop", ""); !fail.Is(err, fail.NotFound) {
		t.Fatalf("nothing was kept: %v", err)
	}

	if _, err := losses.Save(ctx, set, said); err != nil {
		t.Fatal(err)
	}

	later := said
	later.Made = time.Now().UTC()

	if st, err := losses.Save(ctx, set, later); err != nil || !st.Made.IsZero() {
		t.Errorf("what was said first was not returned: %+v, %v", st, err)
	}

	for i, c := range []struct {
		loss handover.Loss
		want losses.Verdict
	}{
		{handover.Loss{Read: true, Bytes: 10, Count: 2}, losses.Lost},
		{handover.Loss{Read: true, Bytes: 10}, losses.Nothing}, // log without a transaction
		{handover.Loss{}, losses.Unknown},                      // it was not read to its end
		{handover.Loss{Bytes: 10}, losses.Lost},                // nor this, and there was more
	} {
		if err := losses.SaveReading(ctx, set, "shop", losses.Reading{Run: "r1", Shard: shard, Loss: c.loss}); err != nil {
			t.Fatal(err)
		}

		st, err := losses.Load(ctx, set, "shop", "")
		if err != nil || st.Shards[0].Verdict != c.want || st.Shards[0].Read == nil {
			t.Errorf("reading %d: %+v, %v", i, st, err)
		}
	}

	if st, err := losses.At(ctx, set, "shop", shard, at(line, 900)); err != nil || st.Run != "r1" {
		t.Errorf("%+v, %v", st, err)
	}

	if _, err := losses.At(ctx, set, "shop", shard, at(line, 901)); !fail.Is(err, fail.NotFound) {
		t.Errorf("another fork: %v", err)
	}
}

// A vault that was away when the disks were read again does not bring back what they showed
// first; and a log that was not read to its end is said to be at least what was read.
func TestTheLastReadingCounts(t *testing.T) {
	ctx := t.Context()
	west := newSet(t).Vaults[0]

	north, err := vault.Init(ctx, vault.Options{Region: "north", Location: vault.Location{URL: "file://" + filepath.Join(t.TempDir(), "north")}, Key: west.Key(), Set: west.SetID()})
	if err != nil {
		t.Fatal(err)
	}
	both := vault.Set{Vaults: []*vault.Vault{west, north}, Durability: 2}

	read := func(set vault.Set, count int) {
		t.Helper()

		if err := losses.SaveReading(ctx, set, "shop", losses.Reading{Run: "r1", Shard: shard, Loss: handover.Loss{Bytes: 10, Count: count}}); err != nil {
			t.Fatal(err)
		}
	}

	if _, err := losses.Save(ctx, both, losses.Statement{Run: "r1", Group: "shop", Shards: []losses.Shard{{Shard: shard, Kind: targets.Postgres, Fork: at(line, 900)}}}); err != nil {
		t.Fatal(err)
	}

	read(both, 1)
	read(vault.Set{Vaults: both.Vaults[:1], Durability: 1}, 2)

	st, err := losses.Load(ctx, both, "shop", "r1")
	if err != nil || st.Shards[0].Read == nil || st.Shards[0].Read.Count != 2 {
		t.Fatalf("%+v, %v", st, err)
	}

	if w := st.Words(st.Shards[0]); !strings.Contains(w, "at least 2 transactions") || !strings.Contains(w, "could not be read to its end") {
		t.Error(w)
	}
}
