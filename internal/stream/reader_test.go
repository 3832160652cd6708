package stream

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/stream/chunk"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

// putChunks encrypts chunks of the size, one after the other, straight into a vault.
func putChunks(t testing.TB, v *vault.Vault, n int, size uint64) uint64 {
	t.Helper()
	closed := time.Now()

	at := uint64(0)
	for range n {
		c := timeline.Chunk{From: at, To: at + size, Closed: closed}
		c.Key = vault.ChunkKey(shard, "L", c.From, c.To, c.Closed)
		h := chunk.Header{Shard: shard, Timeline: "L", From: c.From, To: c.To, Opened: closed, Closed: closed}
		must(t, v.PutEncrypted(ctx, c.Key, h.Meta(), streamBytes("L", c.From, c.To)))
		at += size
	}

	return at
}

// However large the chunks are, a reader keeps within its limits, and however
// small, it has many under way.
func TestReaderBoundsWhatIsInFlight(t *testing.T) {
	for _, c := range []struct {
		size          uint64
		atMost, least int // chunks
	}{
		{200, prefetchChunks, prefetchChunks},
		{prefetchBytes / 4, 4, 4},
		{prefetchBytes - 1, 1, 1},
		{prefetchBytes * 2, 1, 1}, // one is always allowed
	} {
		fctx, cancel := context.WithCancel(ctx)
		// The fetches never end, so only what fill starts is counted.
		l := &logReader{ctx: fctx, fetch: func(ctx context.Context, _ timeline.Chunk, _ string) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		for i := range uint64(100) {
			l.next = append(l.next, timeline.Chunk{From: i * c.size, To: (i + 1) * c.size})
		}

		l.fill()
		cancel()

		if n := len(l.queue); n > c.atMost || n < c.least {
			t.Errorf("chunks of %d bytes: %d in flight, want %d to %d", c.size, n, c.least, c.atMost)
		}

		if l.flight != uint64(len(l.queue))*c.size {
			t.Errorf("chunks of %d bytes: %d bytes counted for %d", c.size, l.flight, len(l.queue))
		}
	}
}

// BenchmarkManySmallChunks reads what an idle store leaves behind: one small
// chunk a second.
func BenchmarkManySmallChunks(b *testing.B) {
	set, _ := testSet(b, 1, 1)
	in := sandboxtest.S3(b, false)
	key, err := vault.GenerateKey()
	must(b, err)
	remote, err := vault.Init(ctx, vault.Options{Region: "east", Key: key, Location: vault.Location{URL: "s3://" + in.Database + "/v",
		Endpoint: in.Address, Region: "us-east-1", AccessKey: in.User, SecretKey: in.Password}})
	must(b, err)

	const n = 2000
	for name, v := range map[string]*vault.Vault{"file": set.Vaults[0], "s3": remote} {
		end := putChunks(b, v, n, 200)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r, err := NewReader(v, shard).Log(ctx, targets.Span{Timeline: "L", From: 0, To: end})
				must(b, err)
				got, err := io.ReadAll(r)
				must(b, err)

				if !bytes.Equal(got, streamBytes("L", 0, end)) {
					b.Fatal("read something else")
				}

				must(b, r.Close())
			}

			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N)*86400/n/1000, "s/day-of-idle")
		})
	}
}
