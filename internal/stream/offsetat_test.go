package stream

import (
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// An archiver that was away receives late what was written before: an instant
// in its absence has no known offset, and none after the archive's end has one.
func TestOffsetAtWhileNothingWasReceived(t *testing.T) {
	const small, large = uint64(100), uint64(3 * burst)
	for _, x := range []struct {
		name   string
		away   time.Duration
		then   uint64 // bytes that came at once
		refuse bool
	}{
		{"an idle store", 8 * time.Second, small, false},
		{"a store that is written steadily", 150 * time.Millisecond, large, false},
		{"away for a moment", 4 * time.Second, large, true},
		{"away for long", time.Minute, small, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			set, _ := testSet(t, 1, 1)
			t0 := time.UnixMilli(1700000000000)
			now := t0
			a := start(t, Options{Set: set, ChunkSize: 1 << 20, ChunkAge: time.Hour, Clock: func() time.Time { return now }})
			must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))
			must(t, a.Write(ctx, 0, streamBytes("L", 0, 500)))
			must(t, a.Close(ctx))
			now = now.Add(x.away)
			a = start(t, Options{Set: set, ChunkSize: 1 << 20, ChunkAge: time.Hour, Clock: func() time.Time { return now }})
			must(t, a.Begin(ctx, "L", 500, targets.Position{}, nil))
			must(t, a.Write(ctx, 500, streamBytes("L", 500, 500+x.then)))
			must(t, a.Close(ctx))

			for _, at := range []time.Duration{time.Millisecond, x.away / 2, x.away - time.Millisecond} {
				got, err := OffsetAt(ctx, set.Vaults[0], shard, "L", t0.Add(at))
				if x.refuse {
					if !fail.Is(err, fail.Conflict) || !strings.Contains(err.Error(), "received nothing from 2023-11-14T22:13:20Z") {
						t.Fatalf("after %s: %d, %v", at, got, err)
					}
				} else if err != nil || got != 500 {
					t.Fatalf("after %s: %d, %v", at, got, err)
				}
			}

			got, err := OffsetAt(ctx, set.Vaults[0], shard, "L", now.Add(time.Hour))
			if !fail.Is(err, fail.NotFound) || !strings.Contains(err.Error(), "the archive ends at") {
				t.Fatalf("after the end: %d, %v", got, err)
			}
		})
	}
}
