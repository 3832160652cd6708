package stream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/stream/chunk"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

// allocated is how much memory f took, given back or not.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)

	return after.TotalAlloc - before.TotalAlloc
}

// zeros gives n bytes, which compress to next to nothing.
func zeros(n int64) io.Reader { return io.LimitReader(zeroReader{}, n) }

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// plantEncrypted writes a chunk that says it holds [from, to), encrypted as one that an
// archiver wrote.
func plantEncrypted(t *testing.T, v *vault.Vault, timeline string, from, to uint64, body io.Reader) string {
	t.Helper()
	now := time.Now()
	key := vault.ChunkKey(shard, timeline, from, to, now)
	h := chunk.Header{Shard: shard, Timeline: timeline, From: from, To: to, Opened: now, Closed: now}

	var encrypted bytes.Buffer
	if err := v.EncryptTo(&encrypted, key, h.Meta(), body); err != nil {
		t.Fatal(err)
	}

	if err := v.Store().Put(context.Background(), key, encrypted.Bytes()); err != nil {
		t.Fatal(err)
	}

	return key
}

// TestPlantedChunks: what a chunk's name says takes no memory, ends no process
// and hides nothing beside it.
func TestPlantedChunks(t *testing.T) {
	ctx := context.Background()
	s, _ := testSet(t, 1, 1)
	v := s.Vaults[0]
	const timeline = "L"
	plantEncrypted(t, v, timeline, 0, 100, zeros(100))
	huge := plantEncrypted(t, v, timeline, 50, 1<<62, zeros(10)) // reaches farthest
	bomb := plantEncrypted(t, v, timeline, 100, 200, zeros(256<<20))
	short := plantEncrypted(t, v, timeline, 200, 200+vault.MaxChunk, zeros(10))

	read := func(from, to uint64) (n int64, err error) {
		r, err := NewReader(v, shard).Log(ctx, targets.Span{Timeline: timeline, From: from, To: to})
		if err != nil {
			return 0, err
		}
		defer r.Close()

		return io.Copy(io.Discard, r)
	}
	for _, c := range []struct {
		from, to uint64
		code     fail.Code
		names    string
	}{
		{0, 100, "", ""},
		{100, 200, fail.Corrupt, bomb},
		{200, 300, fail.Corrupt, short},
		{vault.MaxChunk + 200, vault.MaxChunk + 300, fail.NotFound, ""}, // only the huge one says that it has them
	} {
		var n int64

		var err error
		if took := allocated(func() { n, err = read(c.from, c.to) }); took > 128<<20 {
			t.Errorf("[%d,%d): %d MiB of memory", c.from, c.to, took>>20)
		}

		if c.code == "" && (err != nil || n != int64(c.to-c.from)) || c.code != "" && (!fail.Is(err, c.code) || !strings.Contains(err.Error(), c.names)) {
			t.Errorf("[%d,%d): %d bytes, %v", c.from, c.to, n, err)
		}
	}

	ls, err := Load(ctx, v, shard)
	if err != nil || len(ls) != 1 || len(ls[0].Chunks) != 3 {
		t.Fatalf("%+v, %v", ls, err)
	}

	if len(ls[0].Damage) != 1 || !strings.Contains(ls[0].Damage[0].Error(), huge) {
		t.Errorf("passed over: %v", ls[0].Damage)
	}

	findings, err := v.Verify(ctx, vault.VerifyOptions{Shards: []targets.ShardID{shard}})
	if err != nil {
		t.Fatal(err)
	}

	for _, key := range []string{huge, bomb, short} {
		if !strings.Contains(fmt.Sprint(findings), key) {
			t.Errorf("the check does not name %s", key)
		}
	}
}

// TestDamagedOrigin: a timeline whose origin cannot be read keeps its chunks, and
// the other timelines are there.
func TestDamagedOrigin(t *testing.T) {
	ctx := context.Background()
	s, _ := testSet(t, 1, 1)

	v := s.Vaults[0]
	for _, l := range []string{"good", "bad", "odd", "huge"} {
		body := []byte(`{"lineage":"` + l + `","offset":1}`)
		switch l {
		case "bad":
			body = []byte(`{"lineage":"other"}`)
		case "odd":
			body = []byte(`{"lineage":"odd","offset":5,"parent":{"kind":"postgres","lineage":"../x","offset":5}}`)
		case "huge":
			body = make([]byte, timeline.MaxRecord+1)
		}

		if err := v.PutEncrypted(ctx, vault.OriginKey(shard, l), nil, body); err != nil {
			t.Fatal(err)
		}

		plantEncrypted(t, v, l, 1, 5, zeros(4))
	}

	ls, err := Load(ctx, v, shard)
	if err != nil || len(ls) != 4 {
		t.Fatalf("%+v, %v", ls, err)
	}

	for _, l := range ls {
		if good := l.ID == "good"; l.Origin != good || good != (len(l.Damage) == 0) || len(l.Chunks) != 1 {
			t.Errorf("%+v", l)
		}
	}
}

// FuzzChunkNames: whatever a name says, reading what it names ends with an error
// or with the bytes, and takes no memory on its word.
func FuzzChunkNames(f *testing.F) {
	for _, to := range []string{"0000000000000004", "4000000000000000", "0000000040000000", "FFFFFFFFFFFFFFFF"} {
		f.Add("streams/orders/1/L/0000000000000000-"+to+"-000000000000.zst.age", 4)
	}

	f.Fuzz(func(t *testing.T, key string, have int) {
		c, ok := vault.ParseChunkKey(key)
		if !ok {
			return
		}

		if c.Len() > vault.MaxChunk || c.From >= c.To {
			t.Fatalf("%s: %+v", key, c)
		}
		have = min(max(have, 0), 1<<20)
		var b []byte
		var err error

		took := allocated(func() { b, err = chunk.ReadAll(zeros(int64(have)), key, c.Len()) })
		if took > chunk.AllocAtOnce+8<<20 {
			t.Errorf("%s: %d MiB of memory for %d bytes", key, took>>20, have)
		}

		if good := uint64(have) == c.Len(); good != (err == nil) || good && len(b) != have {
			t.Errorf("%s: %d bytes, %v", key, len(b), err)
		}
	})
}
