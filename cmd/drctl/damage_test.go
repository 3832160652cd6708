package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/stream"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/restore/plan"
	"drctl/targets"
)

// damage is one kind of damage to one object of a vault.
type damage struct {
	name string
	key  string
	// spoil returns what lies there afterwards; nil for nothing.
	spoil func(content []byte) []byte
	// names are texts by which it is named where the key cannot be: a chunk
	// that is gone is a range, and restic knows packs by their ids.
	verify, drill string
}

// TestDamage plants kinds of damage in the vault of west, one at a time (all of
// them at night; internal/vault plants each in every run):
// the verification and a drill must find it and name it, and pass again when
// it is healed. drctl up rests meanwhile, so that nothing heals by itself.
func TestDamage(t *testing.T) {
	w := ownLab(t, labShape{shards: 1, cutEvery: "20s"})
	w.running(t)
	w.must(t, "cut", "now") // one kind of damage needs an older cut
	w.stopUp(t)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	v := w.openVault(t, "west")
	// The newest cut grows old meanwhile: no drill may fail for that alone.
	b, err := os.ReadFile(w.config())
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(w.lab, "patient.yaml")

	text := strings.ReplaceAll(string(b), "{rto: 10m, rpo: 60s}", "{rto: 1h, rpo: 1h}")
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)

	all := w.damages(t, ctx, v)
	for _, i := range rand.New(rand.NewPCG(uint64(seed), 1)).Perm(len(all))[:sandboxtest.Size(3, len(all))] {
		d := all[i]
		t.Run(d.name, func(t *testing.T) {
			heal := w.plant(t, ctx, v.Store(), d)
			defer heal()

			w.expect(t, 4, []string{"FAILED", cmp.Or(d.verify, d.key), "verification failed"}, "backup", "verify", "--vault", "west")

			r := w.run(t, "drill", "run", "region-loss", "--engine", "embedded", "-c", config)
			if r.code != 4 && r.code != 1 {
				t.Errorf("a drill of a damaged vault: %s", r)
			}

			if name := cmp.Or(d.drill, d.key); !strings.Contains(r.out+r.err, name) {
				t.Errorf("the drill does not name %s: %s", name, r)
			}

			plain(t, r)
			w.nothingLeft(t)
		})
	}

	w.wrongKey(t)
	w.expect(t, 0, nil, "backup", "verify")
	w.expect(t, 0, nil, "drill", "run", "region-loss", "--engine", "embedded", "-c", config)
	w.searchSecrets(t)
}

// damages picks what the newest cut needs.
func (w *world) damages(t *testing.T, ctx context.Context, v *vault.Vault) []damage {
	t.Helper()
	p := decode[plan.Run](t, w.must(t, "restore", "plan", "--json", "--vault", "west"))
	chunks := map[string][]timeline.Chunk{}

	var manifest string
	for _, s := range p.Steps {
		switch {
		case s.Op != plan.OpRestore:
		case s.Kind == targets.S3:
			manifest = s.Point.Manifest
		default:
			chunks[s.Shard.String()] = chunksOf(t, ctx, v, s)
		}
	}

	cuts, err := v.Cuts(ctx, "shop")
	if err != nil || len(cuts) < 2 {
		t.Fatalf("%d cuts: %v", len(cuts), err)
	}
	newest, older := vault.CutKey("shop", cuts[len(cuts)-1].ID), vault.CutKey("shop", cuts[len(cuts)-2].ID)

	pg := chunks["orders/0"]
	if len(pg) < 2 || len(chunks["carts/0"]) == 0 {
		t.Fatalf("too few chunks: %d and %d", len(pg), len(chunks["carts/0"]))
	}
	last := pg[len(pg)-1].Key
	gone := chunks["carts/0"][0]
	pack := largest(t, ctx, v, vault.ResticPrefix(targets.ShardID{Target: "orders", Shard: "0"})+"data/")

	other, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	return []damage{
		{name: "flipped byte in a chunk", key: last, spoil: func(b []byte) []byte { b[len(b)/2] ^= 1; return b }},
		{name: "missing chunk", key: gone.Key, spoil: func([]byte) []byte { return nil },
			verify: fmt.Sprintf("MISSING): no chunk holds these bytes: %s%016X-%016X", gone.Key[:strings.LastIndexByte(gone.Key, '/')+1], gone.From, gone.To),
			drill:  fmt.Sprintf("bytes [%d,%d): no chunk holds these bytes", gone.From, gone.To)},
		{name: "truncated restic pack", key: pack, spoil: func(b []byte) []byte { return b[:len(b)/2] }, verify: path.Base(pack), drill: path.Base(pack)[:10]},
		{name: "chunk encrypted with another key", key: last, spoil: func([]byte) []byte { return encryptedBy(t, other, last) }},
		{name: "older cut over a newer", key: newest, spoil: func([]byte) []byte { return fetch(t, ctx, v.Store(), older) }},
		{name: "older chunk over a newer", key: last, spoil: func([]byte) []byte { return fetch(t, ctx, v.Store(), pg[0].Key) }},
		{name: "flipped byte in an object manifest", key: manifestKey(t, ctx, v, manifest), spoil: func(b []byte) []byte { b[len(b)-1] ^= 0x80; return b }},
	}
}

// chunksOf are the chunks that a step reads.
func chunksOf(t *testing.T, ctx context.Context, v *vault.Vault, s plan.Step) (out []timeline.Chunk) {
	t.Helper()

	ls, err := stream.Load(ctx, v, s.Shard)
	if err != nil {
		t.Fatal(err)
	}

	for _, span := range s.Path {
		for _, l := range ls {
			if l.ID == span.Timeline {
				use, gaps := timeline.Cover(l.Chunks, max(span.From, s.Base.From.Offset), s.Point.Offset)
				if len(gaps) > 0 {
					t.Fatalf("%s: gaps %v", s.Shard, gaps)
				}
				out = append(out, use...)
			}
		}
	}

	return out
}

func largest(t *testing.T, ctx context.Context, v *vault.Vault, prefix string) string {
	t.Helper()

	var best vault.Info
	for i, err := range v.Store().List(ctx, prefix, "") {
		if err != nil {
			t.Fatal(err)
		}

		if i.Size > best.Size {
			best = i
		}
	}

	if best.Key == "" {
		t.Fatalf("nothing below %s", prefix)
	}

	return best.Key
}

func manifestKey(t *testing.T, ctx context.Context, v *vault.Vault, sum string) string {
	t.Helper()

	for i, err := range v.Store().List(ctx, vault.ManifestsPrefix(targets.ShardID{Target: "media", Shard: "0"}), "") {
		if err != nil {
			t.Fatal(err)
		}

		if _, _, s, ok := vault.ParseManifestKey(i.Key); ok && s == sum {
			return i.Key
		}
	}

	t.Fatalf("no manifest %s", sum)

	return ""
}

// encryptedBy is an object that a vault with another key would hold under the key.
func encryptedBy(t *testing.T, k vault.Key, key string) []byte {
	t.Helper()
	dir := t.TempDir()

	tools, err := sandboxTools()
	if err != nil {
		t.Fatal(err)
	}

	v, err := vault.Init(t.Context(), vault.Options{Region: "other", Location: vault.Location{URL: "file://" + dir}, Key: k, ResticBin: tools.ResticBin})
	if err != nil {
		t.Fatal(err)
	}

	b, err := v.Encrypt(key, nil, []byte("not of this vault"))
	if err != nil {
		t.Fatal(err)
	}

	return b
}

func fetch(t *testing.T, ctx context.Context, s vault.Store, key string) []byte {
	t.Helper()

	r, err := s.Get(ctx, key)
	if err != nil {
		t.Fatal(err)
	}

	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}

	return b
}

// plant damages an object and returns the way back. It writes past the vault,
// which would never put a record over another.
func (w *world) plant(t *testing.T, ctx context.Context, s vault.Store, d damage) (heal func()) {
	t.Helper()
	good := fetch(t, ctx, s, d.key)
	raw := sandboxtest.Client(w.instance(t, "west", "media/0"))
	ctx = context.WithoutCancel(ctx) // it is healed whatever happens
	put := func(b []byte) {
		t.Helper()

		var err error
		if b == nil {
			_, err = raw.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: aws.String("vault"), Key: &d.key})
		} else {
			_, err = raw.PutObject(ctx, &awss3.PutObjectInput{Bucket: aws.String("vault"), Key: &d.key, Body: bytes.NewReader(b)})
		}

		if err != nil {
			t.Fatal(err)
		}
	}
	put(d.spoil(append([]byte(nil), good...)))

	return func() { put(good) }
}

// wrongKey has the right vaults and another identity.
func (w *world) wrongKey(t *testing.T) {
	t.Helper()

	k, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	b, err := os.ReadFile(w.config())
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(w.lab, "wrong-key.txt")
	config := filepath.Join(w.lab, "wrong-key.yaml")

	text := strings.Replace(string(b), filepath.Join(w.lab, "key.txt"), key, 1)
	if err := errors.Join(os.WriteFile(key, []byte(k.Secret().Reveal()+"\n"), 0o600), os.WriteFile(config, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}

	for _, args := range [][]string{
		{"backup", "verify", "--vault", "west"}, {"cut", "list"}, {"restore", "plan"}, {"vault", "init"},
		{"restore", "run", "--engine", "embedded"},
	} {
		r := w.start(t, runOptions{config: config}, args...).wait(t)
		r.expect(t, 1, "key")
		plain(t, r)
	}
	// A drill leaves a report of its failure, or says plainly why it cannot.
	r := w.start(t, runOptions{config: config}, "drill", "run", "region-loss", "--engine", "embedded").wait(t)
	if r.code != 1 && r.code != 4 || !strings.Contains(r.out+r.err, "key") {
		t.Error(r)
	}

	plain(t, r)
}
