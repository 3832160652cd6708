package stream

import (
	"testing"
	"time"
)

// BenchmarkAmongKept does what is done again and again in a vault in a
// directory that keeps 600,000 chunks of one shard, a busy week: seal a cut
// whose log is there, list for status, start an archiver.
func BenchmarkAmongKept(b *testing.B) {
	const kept = 10 * 600_000
	set, dirs := testSet(b, 1, 1)
	plantOrigin(b, set, "L")
	plantBase(b, set.Vaults[0], "b1", pos("L", 0), pos("L", 100))
	plantNames(b, dirs[0], "L", 0, kept-10)
	plantChunk(b, set.Vaults[0], "L", kept-10, kept)
	b.Run("seal", func(b *testing.B) {
		b.ReportAllocs()

		for b.Loop() {
			w := &watch{trail: NewTrail(set.Vaults[0], shard, Foothold{"b1", pos("L", kept-605)}), at: pos("L", kept-5)}
			if in, err := await(ctx, set, []*watch{w}, 100*time.Millisecond, nil); err != nil || len(in) != 1 {
				b.Fatal(in, err)
			}
		}
	})
	b.Run("outline", func(b *testing.B) {
		b.ReportAllocs()

		for b.Loop() {
			if ls, err := Outline(ctx, set.Vaults[0], shard); err != nil || ls[0].Tip() != kept {
				b.Fatal(err)
			}
		}
	})
	b.Run("start", func(b *testing.B) {
		b.ReportAllocs()

		for b.Loop() {
			a, err := NewArchiver(ctx, Options{Set: set, Shard: shard, Clock: later})
			if err != nil {
				b.Fatal(err)
			}

			a.Abort()
		}
	})
}
