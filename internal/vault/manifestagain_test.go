package vault

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// A manifest equal to the newest is stored once more when the newest cannot be
// opened: an unchanged bucket must not stay without a snapshot.
func TestADamagedManifestIsStoredAgain(t *testing.T) {
	ctx := context.Background()
	v := fileVault(t, "east", testKey(t))
	sv := v.Shard(media)
	now := time.Now().Add(-time.Hour)
	v.opt.Now = func() time.Time { now = now.Add(time.Minute); return now }
	sha := must(sv.PutManifest(ctx, now, strings.NewReader("one\n")))
	keys := keysOf(t, v.store, ManifestsPrefix(media))
	b := must(io.ReadAll(must(v.store.Get(ctx, keys[0]))))
	b[len(b)-1] ^= 0x80
	must(0, v.store.Delete(ctx, keys[0]))
	must(0, v.store.Put(ctx, keys[0], b))
	if again := must(sv.PutManifest(ctx, now, strings.NewReader("one\n"))); again != sha {
		t.Fatal(again)
	}
	if n := len(keysOf(t, v.store, ManifestsPrefix(media))); n != 2 {
		t.Fatalf("%d manifests", n)
	}
	r := must(v.Shard(media).Manifest(ctx, sha))
	defer r.Close()
	if got := must(io.ReadAll(r)); !bytes.Equal(got, []byte("one\n")) {
		t.Fatalf("%q", got)
	}
}

// A damaged manifest does not hide an older one from a plan to an instant.
func TestADamagedManifestHidesNoOther(t *testing.T) {
	ctx := context.Background()
	v := fileVault(t, "east", testKey(t))
	sv := v.Shard(media)
	now := time.Now().Add(-time.Hour)
	v.opt.Now = func() time.Time { now = now.Add(time.Minute); return now }
	one := must(sv.PutManifest(ctx, now, strings.NewReader("one\n")))
	must(sv.PutManifest(ctx, now, strings.NewReader("two\n")))
	keys := keysOf(t, v.store, ManifestsPrefix(media))
	must(0, v.store.Delete(ctx, keys[1]))
	must(0, v.store.Put(ctx, keys[1], []byte("junk")))
	ms, err := v.ManifestsAround(ctx, media, now)
	if len(ms) != 1 || ms[0].SHA256 != one {
		t.Errorf("%+v", ms)
	}
	wantCode(t, err, fail.Corrupt, keys[1])
}

// A manifest that a restore refuses is no good one for the check either, although
// it is stored whole and all that it names is there.
func TestVerifyRefusesAnUnsortedManifest(t *testing.T) {
	ctx := context.Background()
	v := fileVault(t, "east", testKey(t))
	sv := v.Shard(media)
	sha, _, err := sv.PutObject(ctx, strings.NewReader("content"))
	if err != nil {
		t.Fatal(err)
	}
	line := func(key string) string { return "{\"key\":\"" + key + "\",\"sha256\":\"" + sha + "\"}\n" }

	must(sv.PutManifest(ctx, time.Now(), strings.NewReader(line("a")+line("b"))))
	if fs := must(v.Verify(ctx, VerifyOptions{})); Damaged(fs) {
		t.Fatalf("%+v", fs)
	}

	must(sv.PutManifest(ctx, time.Now(), strings.NewReader(line("b")+line("a"))))
	fs := must(v.Verify(ctx, VerifyOptions{}))
	if n := slices.IndexFunc(fs, func(f targets.Finding) bool { return f.Check == CheckManifest && f.Severity == targets.Failed }); n < 0 {
		t.Fatalf("%+v", fs)
	}
}
