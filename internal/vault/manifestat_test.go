package vault

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// A manifest counts for the instant whose state it holds, not for the time at
// which it was stored, however long the snapshot took.
func TestManifestsAroundAnInstant(t *testing.T) {
	ctx := context.Background()
	v := fileVault(t, "east", testKey(t))
	sv := v.Shard(media)
	begin := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	at := func(minutes int) time.Time { return begin.Add(time.Duration(minutes) * time.Minute) }

	put := func(content string, asOf, stored int) {
		v.opt.Now = func() time.Time { return at(stored) }

		must(sv.PutManifest(ctx, at(asOf), strings.NewReader(content)))
	}
	for i := range 40 { // long ago
		put(fmt.Sprint("old ", i), -20000+i, -20000+i)
	}

	put("first", 0, 1)
	put("slow", 5, 300) // took five hours
	put("quick", 60, 61)
	put("later", 400, 401)

	newest := func(minutes int) string {
		t.Helper()

		ms := must(v.ManifestsAround(ctx, media, at(minutes)))
		if len(ms) > 2*headersAround {
			t.Errorf("at %d: looked into %d manifests", minutes, len(ms))
		}

		var best StoredManifest
		for _, m := range ms {
			if !m.AsOf.After(at(minutes)) && m.AsOf.After(best.AsOf) {
				best = m
			}
		}

		if best.SHA256 == "" {
			return "none"
		}

		return best.AsOf.Sub(begin).String()
	}
	for minutes, want := range map[int]string{0: "0s", 4: "0s", 5: "5m0s", 59: "5m0s", 60: "1h0m0s", 301: "1h0m0s", 400: "6h40m0s", 5000: "6h40m0s", -30000: "none"} {
		if got := newest(minutes); got != want {
			t.Errorf("at minute %d the newest state is of %s, want %s", minutes, got, want)
		}
	}

	// One that another version stored says only when that was.
	if err := v.PutEncrypted(ctx, ManifestKey(media, at(6000), strings.Repeat("ab", 32)), nil, []byte("x")); err != nil {
		t.Fatal(err)
	}

	ms := must(v.ManifestsAround(ctx, media, at(6001)))
	if last := ms[len(ms)-1]; !last.AsOf.IsZero() || !last.Stored.Equal(at(6000)) {
		t.Errorf("a manifest without its instant: %+v", last)
	}
}
