package vault

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"drctl/targets"
)

func TestLayoutRoundTrips(t *testing.T) {
	at := time.UnixMilli(1765432101234).UTC()

	key := ChunkKey(shardA, "7310001-00000001", 0xABC, 0x1000ABC, at)
	if key != "streams/orders/1/7310001-00000001/0000000000000ABC-0000000001000ABC-019B0BF40972.zst.age" {
		t.Fatal(key)
	}

	if c, ok := ParseChunkKey(key); !ok || c.From != 0xABC || c.To != 0x1000ABC || !c.Closed.Equal(at) || c.Shard != shardA || c.Key() != key {
		t.Fatalf("%+v %v", c, ok)
	}

	if l, from, to, ok := ParseHoleKey(HoleKey(shardA, "L", 0xABC, 0xDEF)); !ok || l != "L" || from != 0xABC || to != 0xDEF {
		t.Fatalf("hole %q %d %d %v", l, from, to, ok)
	}

	for _, k := range []string{key, OriginKey(shardA, "L"), HoleKey(shardA, "L", 5, 5), strings.TrimSuffix(HoleKey(shardA, "L", 1, 2), encryptedSuffix)} {
		if _, _, _, ok := ParseHoleKey(k); ok {
			t.Fatalf("%s is taken for a hole", k)
		}
	}

	if s, l, ok := ParseOriginKey(OriginKey(shardA, "L")); !ok || s != shardA || l != "L" {
		t.Fatal("origin")
	}

	if s, id, ok := ParseBaseRecordKey(BaseRecordKey(shardA, "b")); !ok || s != shardA || id != "b" {
		t.Fatal("base")
	}

	name := ObservationName{Group: "g", Observer: "o.x", Began: at, Ended: at.Add(time.Second)}
	if o, ok := ParseObservationKey(name.Key()); !ok || o != name || !strings.HasPrefix(name.Key(), ObservationsFrom("g", at)) {
		t.Fatalf("observations: %+v of %s", o, name.Key())
	}

	flat := name
	flat.Flat = true

	if o, ok := ParseObservationKey(flat.Key()); !ok || o != flat || strings.Count(flat.Key(), "/") != 2 || flat.Key() < ObservationsFrom("g", at) {
		t.Fatalf("observations without a folder: %+v of %s", o, flat.Key())
	}

	for from, to := range map[string]string{"g/": "../", "-o": "+o", ".x": "/x", ".zst.age": "", "0": "z", "o.x": ""} {
		if o, ok := ParseObservationKey(strings.Replace(name.Key(), from, to, 1)); ok {
			t.Errorf("%s reads as %+v", strings.Replace(name.Key(), from, to, 1), o)
		}
	}

	if g, id, ok := ParseCutKey(CutKey("g", "i.d")); !ok || g != "g" || id != "i.d" {
		t.Fatal("cut")
	}

	sha := strings.Repeat("0a", 32)
	if s, h, ok := ParseObjectKey(ObjectKey(shardA, sha)); !ok || s != shardA || h != sha {
		t.Fatal("object")
	}

	if s, m, h, ok := ParseManifestKey(ManifestKey(shardA, at, sha)); !ok || s != shardA || h != sha || !m.Equal(at) {
		t.Fatal("manifest")
	}

	for _, k := range []string{key, OriginKey(shardA, "L"), BaseRecordKey(shardA, "b"), CutKey("g", "i"), ObjectKey(shardA, sha),
		ManifestKey(shardA, at, sha), ReportKey("drill", "r"), seedKey(shardA), canaryKey, passwordKey, descriptorKey} {
		if err := validKey(k); err != nil {
			t.Fatal(err)
		}
	}

	for _, bad := range []string{"", ".", "..", "a/b", ".hidden", "-x", "a b", "ä", strings.Repeat("x", 201)} {
		if ValidName(bad) == nil {
			t.Fatalf("%q passes for a name", bad)
		}
	}

	if validKey(ObjectKey(shardA, "../../etc/passwd")) == nil {
		t.Fatal("a bad hash makes a valid key")
	}
}

// TestChunkOrder: keys of a timeline sort as their offsets.
// Of two decisions on a list the first stands: neither may be written over.
func TestOnlyWhatIsTheSameComesBack(t *testing.T) {
	list := condemnedKey(shardA, time.UnixMilli(1_700_000_000_000))
	for key, want := range map[string]bool{list: true, decisionKey(list): false, ObjectKey(shardA, strings.Repeat("a", 64)): true, descriptorKey: false} {
		if comesBack(key) != want {
			t.Errorf("%s: %v", key, !want)
		}
	}
}

func TestChunkOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var keys []string

		var froms []uint64
		for range rapid.IntRange(2, 20).Draw(t, "n") {
			from := rapid.Uint64Max(1<<62-2).Draw(t, "from")
			froms = append(froms, from)
			keys = append(keys, ChunkKey(targets.ShardID{Target: "t", Shard: "s"}, "l", from, from+1, time.UnixMilli(rapid.Int64Range(0, 1<<47).Draw(t, "ms"))))
		}

		slices.Sort(keys)
		slices.Sort(froms)

		for i, k := range keys {
			if c, ok := ParseChunkKey(k); !ok || c.From != froms[i] {
				t.Fatalf("%q at %d", k, i)
			}
		}
	})
}

func FuzzParseChunkKey(f *testing.F) {
	f.Add("streams/orders/1/7310001-00000001/0000000000000ABC-0000000001000ABC-019B0BF40972.zst.age")
	f.Add("streams/a/b/c/0000000000000000-0000000000000000-000000000000.zst.age")
	f.Add("streams/../b/c/0000000000000abc-FFFFFFFFFFFFFFFF-000000000000.zst.age")
	f.Fuzz(func(t *testing.T, key string) {
		if c, ok := ParseChunkKey(key); ok && (c.Key() != key || c.From >= c.To || validKey(key) != nil) {
			t.Fatalf("%q reads as %+v, which is %q", key, c, c.Key())
		}
	})
}

func FuzzReadHeader(f *testing.F) {
	good, _ := encodeHeader("a/b", map[string]string{"x": "y"})
	f.Add(good)
	f.Add([]byte{0x50, 0x2A, 0x4D, 0x18, 0xFF, 0xFF, 0xFF, 0xFF})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)

		h, err := readHeader(r)
		if err == nil && (h.V != envelopeVersion || len(b)-r.Len() > maxHeader+8) {
			t.Fatalf("%+v", h)
		}
	})
}
