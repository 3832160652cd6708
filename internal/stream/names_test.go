package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

// counting counts the keys that listings yield. It hides that a directory can
// be read backwards, so that what is tested works on any store.
type counting struct {
	vault.Store
	keys *atomic.Int64
}

func (c counting) List(ctx context.Context, prefix, after string) iter.Seq2[vault.Info, error] {
	return func(yield func(vault.Info, error) bool) {
		for i, err := range c.Store.List(ctx, prefix, after) {
			c.keys.Add(1)

			if !yield(i, err) {
				return
			}
		}
	}
}

// memory lists keys that are nowhere else.
type memory struct {
	vault.Store
	keys []string // sorted
}

func (m memory) List(_ context.Context, prefix, after string) iter.Seq2[vault.Info, error] {
	return func(yield func(vault.Info, error) bool) {
		i, _ := slices.BinarySearch(m.keys, max(prefix, after))
		for _, k := range m.keys[i:] {
			if k > after && k >= prefix && !yield(vault.Info{Key: k}, nil) {
				return
			}
		}
	}
}

// The last names before a place are found whatever lies before them, on a
// store that lists forward only, with few keys listed.
func TestLastNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m memory
		var all []timeline.Chunk
		pos := rapid.Uint64Range(0, 1<<50).Draw(t, "begin")

		begin := pos
		for range rapid.IntRange(1, 6).Draw(t, "runs") {
			size := uint64(1) << rapid.IntRange(0, 24).Draw(t, "size")
			for range rapid.IntRange(1, 3000).Draw(t, "chunks") {
				c := timeline.Chunk{From: pos, To: pos + size}
				c.Key = vault.ChunkKey(shard, idL, c.From, c.To, time.UnixMilli(1))
				all = append(all, c)
				m.keys = append(m.keys, c.Key)
				pos += size
			}
		}
		m.keys = append(m.keys, vault.HoleKey(shard, idL, 1, 2), vault.OriginKey(shard, idL))
		var keys atomic.Int64
		n := names{counting{m, &keys}, shard, idL}
		want := rapid.IntRange(1, 500).Draw(t, "want")
		check := func(what string, got []timeline.Chunk, end int) {
			t.Helper()

			if len(got) < min(want, end) || len(got) > page {
				t.Fatalf("%s: %d chunks, at least %d of %d wanted", what, len(got), want, end)
			}

			for i, c := range got {
				if c.Key != all[end-len(got)+i].Key {
					t.Fatalf("%s: chunk %d of %d is %+v", what, i, len(got), c)
				}
			}

			if k := keys.Swap(0); k > 60*(page+1) {
				t.Fatalf("%s: %d keys listed of %d", what, k, len(all))
			}
		}

		got, whole, err := n.last(context.Background(), rapid.SampledFrom([]uint64{0, begin}).Draw(t, "least"), want)
		if err != nil {
			t.Fatal(err)
		}

		check("last", got, len(all))

		if whole != (len(all) <= page) {
			t.Fatalf("last: whole %v of %d", whole, len(all))
		}
		i := rapid.IntRange(0, len(all)-1).Draw(t, "at")

		at := rapid.Uint64Range(all[i].From+1, all[i].To).Draw(t, "offset")
		if got, err = n.before(context.Background(), at, want); err != nil {
			t.Fatal(err)
		}

		check("before", got, i+1)
	})
}

// A plan lists the log from its base to its cut, wherever in what is kept they
// lie.
func TestPlanListsFromTheBase(t *testing.T) {
	const kept = 500_000
	set, dirs := testSet(t, 1, 1)
	v := set.Vaults[0]

	plantNames(t, dirs[0], idL, 0, kept)

	for i := range uint64(5) {
		plantBase(t, v, fmt.Sprintf("b%d", i), pos(idL, i*kept/5+5), pos(idL, i*kept/5+100))
	}

	var keys atomic.Int64
	for _, at := range []uint64{kept - 3, kept*4/5 + 1000, kept*2/5 + 5000, 500} {
		keys.Store(0)
		trail := NewTrail(v, shard)
		trail.st = counting{v.Store(), &keys}

		lead, err := trail.To(ctx, pos(idL, at))
		if err != nil || !lead.Held() || lead.Base.ID != fmt.Sprintf("b%d", at/(kept/5)) {
			t.Fatalf("%+v %v", lead, err)
		}
		ls, err := trail.Load(ctx, lead)
		must(t, err)

		spans, err := timeline.Path(ls, lead.Base.From, pos(idL, at))
		if err != nil || len(spans) != 1 {
			t.Fatalf("%v %v", spans, err)
		}

		if n, way := keys.Load(), int64(at-lead.Base.From.Offset)/10; n > 2*way+6*page {
			t.Errorf("to %d: %d keys listed for a way of %d chunks", at, n, way)
		}
	}
}

// plantBase puts the record of a base into a vault.
func plantBase(t testing.TB, v *vault.Vault, id string, from, until targets.Position) targets.Artifact {
	t.Helper()
	b := targets.Artifact{ID: id, Shard: shard, Kind: targets.Redis, Region: "east", Method: "resync", Snapshot: strings.Repeat("0", 64), Path: "/dump.rdb",
		From: from, Until: until, Started: time.Now(), Finished: time.Now()}
	plantRecord(t, v, b)

	return b
}

func plantRecord(t testing.TB, v *vault.Vault, b targets.Artifact) {
	t.Helper()
	body, err := json.Marshal(b)
	must(t, err)
	must(t, v.PutEncrypted(ctx, vault.BaseRecordKey(b.Shard, b.ID), nil, body))
}

// plantNames puts the names of chunks of 10 bytes [from, to) of a timeline into
// a vault's directory: nobody opens them.
func plantNames(t testing.TB, dir, timeline string, from, to uint64) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(dir, vault.TimelinePrefix(shard, timeline)), 0o700))

	for at := from; at < to; at += 10 {
		plantName(t, dir, timeline, at)
	}
}

func plantName(t testing.TB, dir, timeline string, at uint64) {
	t.Helper()
	key := vault.ChunkKey(shard, timeline, at, at+10, time.UnixMilli(int64(at)))
	must(t, os.WriteFile(filepath.Join(dir, filepath.FromSlash(key)), nil, 0o600))
}

// What a cut's seal lists does not depend on what is kept.
func TestSealListsWhatIsNew(t *testing.T) {
	for _, kept := range []uint64{500_000, 20_000} {
		t.Run(fmt.Sprint(kept), func(t *testing.T) {
			set, dirs := testSet(t, 1, 1)
			v := set.Vaults[0]
			plantBase(t, v, "b1", pos(idL, 0), pos(idL, 100))
			plantNames(t, dirs[0], idL, 0, kept)
			var keys atomic.Int64

			known := Foothold{"b1", pos(idL, kept-25)} // inside a chunk
			for cut := range uint64(5) {
				at := pos(idL, kept+10*cut+5)
				ws := []*watch{{trail: NewTrail(v, shard, known), at: at}}
				ws[0].trail.st = counting{v.Store(), &keys}
				keys.Store(0)

				go func() {
					time.Sleep(50 * time.Millisecond)
					plantName(t, dirs[0], idL, kept+10*cut)
				}()

				in, err := await(withTimeout(t, 2*time.Minute), set, ws, 200*time.Millisecond, nil)
				if err != nil || len(in) != 1 {
					t.Fatalf("in %v: %v", in, err)
				}
				// Some hundred names around the last cut, and few at each poll.
				if n := keys.Load(); n > 1500 {
					t.Errorf("cut %d: %d keys listed", cut, n)
				}
				known.At = at
			}
		})
	}
}

// Ids of logs as the records of bases must have them.
var (
	idL = strings.Repeat("a", 40)
	idM = strings.Repeat("b", 40)
	idC = strings.Repeat("c", 40)
	idD = strings.Repeat("d", 40)
)
