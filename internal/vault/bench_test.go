package vault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// walLike is bytes that compress about as well as PostgreSQL's log: pages
// that repeat with small changes.
func walLike(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))

	page := make([]byte, 8192)
	for i := range page {
		page[i] = byte(r.Uint32() >> (i % 3 * 8))
	}

	out := make([]byte, 0, n)
	for len(out) < n {
		for range 2000 {
			page[r.IntN(len(page))] = byte(r.Uint32())
		}
		out = append(out, page[:min(len(page), n-len(out))]...)
	}

	return out
}

// BenchmarkEncryptAndPut compresses, encrypts and stores one chunk, fsynced, in a
// vault in a directory.
func BenchmarkEncryptAndPut(b *testing.B) {
	for _, size := range []int{64 << 10, 1 << 20, 16 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			v := fileVault(b, "east", testKey(b))
			chunk := walLike(size)
			b.SetBytes(int64(size))
			b.ReportAllocs()

			from := uint64(0)
			for b.Loop() {
				key := ChunkKey(shardA, "L", from, from+uint64(size), time.Now())
				if err := v.PutEncrypted(context.Background(), key, nil, chunk); err != nil {
					b.Fatal(err)
				}
				from += uint64(size)
			}
		})
	}
}
