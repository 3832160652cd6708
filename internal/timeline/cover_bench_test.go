package timeline

import "testing"

// BenchmarkCover100k covers a day's chunks of a busy shard.
func BenchmarkCover100k(b *testing.B) {
	const n, size = 100_000, 100_000

	chunks := make([]Chunk, n)
	for i := range chunks {
		chunks[i] = Chunk{From: uint64(i) * size, To: uint64(i+1) * size}
	}

	b.ReportAllocs()

	for b.Loop() {
		use, gaps := Cover(chunks, 0, n*size)
		if len(use) != n || len(gaps) != 0 {
			b.Fatalf("%d chunks, %d gaps", len(use), len(gaps))
		}
	}
}
