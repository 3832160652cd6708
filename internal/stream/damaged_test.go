package stream

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/vault"
	"drctl/targets"
)

// junkOrigin puts an object that nobody can read in the place of an origin.
func junkOrigin(t *testing.T, v *vault.Vault, dir, timeline string) {
	t.Helper()

	key := vault.OriginKey(shard, timeline)
	if _, err := v.Store().Stat(ctx, key); err == nil {
		overwrite(t, filepath.Join(dir, key), []byte("junk"))
		return
	}

	must(t, v.Store().Put(ctx, key, []byte("junk")))
}

// A damaged origin, of a timeline that nobody made or of the one that the shard
// is on, in one vault or in both, ends archiving into none.
func TestADamagedOriginEndsNoArchiving(t *testing.T) {
	for name, spoil := range map[string]func(set vault.Set, dirs []string){
		"planted": func(set vault.Set, dirs []string) { junkOrigin(t, set.Vaults[1], dirs[1], "X") },
		"one":     func(set vault.Set, dirs []string) { junkOrigin(t, set.Vaults[1], dirs[1], idL) },
		"both": func(set vault.Set, dirs []string) {
			for i, v := range set.Vaults {
				junkOrigin(t, v, dirs[i], idL)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			set, dirs := testSet(t, 2, 2)
			a := start(t, Options{Set: set, ChunkSize: 100})
			must(t, a.Begin(ctx, idL, 0, targets.Position{}, nil))
			must(t, a.Write(ctx, 0, streamBytes(idL, 0, 500)))
			must(t, a.Close(ctx))
			spoil(set, dirs)

			if at, ok, err := Began(ctx, set.Vaults, shard, idL); at != 0 || !ok || err != nil {
				t.Errorf("begins at %d, %v, %v", at, ok, err)
			}

			b := start(t, Options{Set: set, ChunkSize: 100, RetryFor: time.Minute})
			if at, ok := b.Tail(); !ok || at.Offset != 500 || at.Timeline != idL {
				t.Fatalf("resumes at %+v", at)
			}

			must(t, b.Begin(ctx, idL, 500, targets.Position{}, nil))
			must(t, b.Write(ctx, 500, streamBytes(idL, 500, 700)))
			waitFor(t, "both vaults", func() bool { return b.Durable() == 700 })
			must(t, b.Close(ctx))

			for _, v := range set.Vaults {
				mustEqual(t, v, idL, 0, 700)
			}
		})
	}
}

// A damaged record of a base keeps no vault, and no new one, from the log.
func TestADamagedBaseRecordEndsNoArchiving(t *testing.T) {
	set, dirs := testSet(t, 2, 2)
	a := start(t, Options{Set: set, ChunkSize: 100})
	must(t, a.Begin(ctx, idL, 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes(idL, 0, 500)))
	must(t, a.Close(ctx))

	for _, v := range set.Vaults {
		must(t, v.Store().Put(ctx, vault.BaseRecordKey(shard, "junk"), []byte("junk")))
	}

	wipe(t, dirs[1], idL)
	b := start(t, Options{Set: set, ChunkSize: 100, RetryFor: time.Minute})
	waitFor(t, "west", func() bool { return b.Durable() == 500 })
	must(t, b.Close(ctx))
	mustEqual(t, set.Vaults[1], idL, 0, 500)
}

// A base on a position's own timeline leads there without the timeline's origin;
// that of a newer timeline does not hide it.
func TestABaseOfTheSameTimelineNeedsNoOrigin(t *testing.T) {
	shortGrace(t)

	for _, damaged := range []bool{true, false} {
		set, dirs := testSet(t, 1, 1)
		a := start(t, Options{Set: set})
		must(t, a.Begin(ctx, idL, 0, targets.Position{}, nil))
		must(t, a.Write(ctx, 0, streamBytes(idL, 0, 300)))
		must(t, a.Begin(ctx, idM, 300, pos(idL, 300), nil))
		must(t, a.Write(ctx, 300, streamBytes(idM, 300, 400)))
		must(t, a.Close(ctx))
		v := set.Vaults[0]
		plantBase(t, v, "b1", pos(idL, 10), pos(idL, 50))
		plantBase(t, v, "b2", pos(idM, 310), pos(idM, 350))
		plantBase(t, v, "b3", pos(idM, 360), pos(idM, 370))

		if damaged {
			junkOrigin(t, v, dirs[0], idL)
		} else {
			must(t, v.Store().Delete(ctx, vault.OriginKey(shard, idL)))
		}

		if lead, err := NewTrail(v, shard).To(ctx, pos(idL, 300)); err != nil || !lead.Held() || lead.Base.ID != "b1" {
			t.Errorf("asked once, as by a plan: %+v %v", lead, err)
		}

		recoverable(t, set, pos(idL, 300), "east")
		recoverable(t, set, pos(idM, 400), "east")

		lead, err := NewTrail(v, shard).To(ctx, pos(idL, 20))
		if err != nil || lead.Held() || damaged != strings.Contains(lead.Why, "origin") {
			t.Errorf("before the base of the timeline: %+v %v", lead, err)
		}
	}
}
