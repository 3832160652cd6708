package stream

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

// recoverable fails the test unless the position can be recovered from exactly
// these vaults.
func recoverable(t *testing.T, set vault.Set, at targets.Position, regions ...string) {
	t.Helper()
	set.Durability = len(regions)

	in, err := AwaitRecoverable(withTimeout(t, 2*time.Minute), set, shard, at, nil, 20*time.Millisecond, nil)
	if err != nil || len(in) != len(regions) || in[regions[0]] == "" {
		t.Fatalf("%s %d can be recovered from %v: %v", at.Timeline, at.Offset, in, err)
	}
}

// What led to a place from one base says nothing of an older one: between the
// two the log may have a hole that nobody declared.
func TestAFootholdIsOfItsBase(t *testing.T) {
	set, _ := testSet(t, 1, 1)
	v := set.Vaults[0]
	plantBase(t, v, "b1", pos(idL, 0), pos(idL, 10))
	plantChunk(t, v, idL, 0, 100)
	plantChunk(t, v, idL, 300, 400)
	newer := plantBase(t, v, "b2", pos(idL, 300), pos(idL, 310))

	lead, err := NewTrail(v, shard, Foothold{"b2", pos(idL, 350)}).To(ctx, pos(idL, 380))
	if err != nil || !lead.Held() || lead.Base.ID != "b2" {
		t.Fatalf("with both bases: %+v %v", lead, err)
	}

	must(t, v.Store().Delete(ctx, vault.BaseRecordKey(newer.Shard, newer.ID)))

	lead, err = NewTrail(v, shard, Foothold{"b2", pos(idL, 350)}).To(ctx, pos(idL, 380))
	if err != nil || lead.Held() || lead.Missing != 200 {
		t.Errorf("without the base of the foothold: %+v %v", lead, err)
	}
}

// baseless fails the test unless it is said soon that no base leads there.
func baseless(t *testing.T, set vault.Set, at targets.Position, words string) {
	t.Helper()

	in, err := AwaitRecoverable(withTimeout(t, 2*time.Minute), set, shard, at, nil, 20*time.Millisecond, nil)
	if !fail.Is(err, fail.NotFound) || !contains(err.Error(), words) {
		t.Fatalf("%s %d in %v: %v, want %q", at.Timeline, at.Offset, in, err, words)
	}
}

func shortGrace(t *testing.T) { grace(t, 300*time.Millisecond) }

func grace(t *testing.T, d time.Duration) {
	was := baseGrace
	baseGrace = d
	t.Cleanup(func() { baseGrace = was })
}

func TestWithoutABaseNothingIsRecoverable(t *testing.T) {
	set, _ := testSet(t, 2, 2)
	a := start(t, Options{Set: set})
	must(t, a.Begin(ctx, idL, 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes(idL, 0, 100)))
	must(t, a.Close(ctx))

	grace(t, time.Hour) // it is not waited for a base when there is none at all
	baseless(t, set, pos(idL, 100), "there is no base yet")
	// A base in one vault only is worth as much.
	shortGrace(t)
	plantBase(t, set.Vaults[0], "b1", pos(idL, 10), pos(idL, 50))
	baseless(t, set, pos(idL, 100), "west (there is no base yet)")
	recoverable(t, set, pos(idL, 100), "east")
	plantBase(t, set.Vaults[1], "b1", pos(idL, 10), pos(idL, 50))
	recoverable(t, set, pos(idL, 100), "east", "west")
	baseless(t, set, pos(idL, 40), "before the base") // its image is not whole there
}

// A base that is recorded soon is waited for.
func TestABaseOnItsWayIsWaitedFor(t *testing.T) {
	grace(t, time.Hour)
	set, _ := testSet(t, 1, 1)
	a := start(t, Options{Set: set})
	must(t, a.Begin(ctx, idL, 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes(idL, 0, 100)))
	must(t, a.Begin(ctx, idL, 200, targets.Position{}, nil)) // a hole
	must(t, a.Write(ctx, 200, streamBytes(idL, 200, 300)))
	must(t, a.Close(ctx))
	v := set.Vaults[0]
	plantBase(t, v, "b1", pos(idL, 10), pos(idL, 50))

	go func() {
		time.Sleep(500 * time.Millisecond)
		plantBase(t, v, "b2", pos(idL, 210), pos(idL, 250))
	}()

	recoverable(t, set, pos(idL, 300), "east")
}

func TestNothingBehindAHoleIsRecoverableWithoutABase(t *testing.T) {
	shortGrace(t)
	set, _ := testSet(t, 1, 1)
	a := start(t, Options{Set: set, ChunkSize: 50})
	must(t, a.Begin(ctx, idL, 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes(idL, 0, 100)))
	must(t, a.Begin(ctx, idL, 200, targets.Position{}, nil))
	must(t, a.Write(ctx, 200, streamBytes(idL, 200, 300)))
	must(t, a.Begin(ctx, idM, 300, pos(idL, 300), nil))
	must(t, a.Write(ctx, 300, streamBytes(idM, 300, 400)))
	must(t, a.Close(ctx))
	v := set.Vaults[0]
	plantBase(t, v, "b1", pos(idL, 10), pos(idL, 50))
	recoverable(t, set, pos(idL, 100), "east")
	why := "no base behind the hole at " + idL + " [100,200)"
	baseless(t, set, pos(idL, 300), why)
	baseless(t, set, pos(idM, 400), why)
	// A cut that was sealed there does not make it better.
	lead, err := NewTrail(v, shard, Foothold{"b1", pos(idM, 350)}).To(ctx, pos(idM, 400))
	if err != nil || lead.Held() || !contains(lead.Why, why) {
		t.Errorf("from a cut behind the hole: %+v %v", lead, err)
	}
	// Another vault's archiver had had the bytes, and they were copied.
	b := start(t, Options{Set: set})
	b.Abort()
	body, err := v.Encrypt(vault.ChunkKey(shard, idL, 90, 210, time.UnixMilli(1)), nil, nil)
	must(t, err)
	filler := vault.ChunkKey(shard, idL, 90, 210, time.UnixMilli(1))
	must(t, v.Store().Put(ctx, filler, body))
	recoverable(t, set, pos(idM, 400), "east")
	must(t, v.Store().Delete(ctx, filler))
	baseless(t, set, pos(idM, 400), why)
	plantBase(t, v, "b2", pos(idL, 220), pos(idL, 280))
	recoverable(t, set, pos(idM, 400), "east")
}

// What was lost without a declaration, by a lifecycle rule or a person, is
// missing however far behind the end it is.
func TestAnOldGapIsMissing(t *testing.T) {
	shortGrace(t)
	set, dirs := testSet(t, 1, 1)
	v := set.Vaults[0]
	plantBase(t, v, "b1", pos(idL, 0), pos(idL, 100))
	must(t, os.MkdirAll(filepath.Join(dirs[0], vault.TimelinePrefix(shard, idL)), 0o700))
	const tip = 8 << 30

	held := []timeline.Gap{{From: 0, To: 100}, {From: 200, To: 1 << 30}} // a chunk has a GiB at the most
	for at := uint64(1 << 30); at < tip; at += 1 << 30 {
		held = append(held, timeline.Gap{From: at, To: at + 1<<30})
	}

	for _, c := range held {
		must(t, v.Store().Put(ctx, vault.ChunkKey(shard, idL, c.From, c.To, time.UnixMilli(1)), nil))
	}

	lead, err := NewTrail(v, shard).To(ctx, pos(idL, tip))
	if err != nil || lead.Missing != 100 {
		t.Fatalf("%+v %v", lead, err)
	}

	plantBase(t, v, "b2", pos(idL, 300), pos(idL, 400))
	recoverable(t, set, pos(idL, tip), "east")
}

// A vault that has the newest timeline whole and lacks the one before, which
// has the base, cannot recover anything.
func TestATimelineWithoutItsParentIsNotRecoverable(t *testing.T) {
	shortGrace(t)
	set, dirs := testSet(t, 2, 2)
	a := start(t, Options{Set: set})
	must(t, a.Begin(ctx, idM, 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes(idM, 0, 100)))
	must(t, a.Begin(ctx, idC, 100, pos(idM, 100), nil))
	must(t, a.Write(ctx, 100, streamBytes(idC, 100, 200)))
	must(t, a.Close(ctx))

	for _, v := range set.Vaults {
		plantBase(t, v, "b1", pos(idM, 10), pos(idM, 50))
	}

	recoverable(t, set, pos(idC, 200), "east", "west")
	must(t, os.RemoveAll(filepath.Join(dirs[1], vault.TimelinePrefix(shard, idM))))
	recoverable(t, set, pos(idC, 200), "east")
	set.Durability = 2

	stalled(t, time.Second, "west (90 bytes missing)", func(ctx context.Context) (any, error) {
		return AwaitRecoverable(ctx, set, shard, pos(idC, 200), nil, 20*time.Millisecond, nil)
	})
}
