package reconciling_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"drctl/cmd/drctl/configured"
	"drctl/cmd/drctl/reconciling"
	"drctl/config"
	"drctl/internal/fail"
	"drctl/internal/s3client"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/vault"
	"drctl/restore/plan"
	"drctl/restore/runs"
	"drctl/targets"
	"drctl/targets/reconciliation"
	"drctl/targets/s3"
)

var media = targets.ShardID{Target: "media", Shard: "0"}

// world is a platform with a bucket and a vault in each of two regions.
type world struct {
	*testing.T
	cfg *config.Config
	set vault.Set
	in  map[string]targets.Instance
}

func newWorld(t *testing.T) *world {
	t.Helper()

	w := &world{T: t, in: map[string]targets.Instance{"east": sandboxtest.S3(t, true), "west": sandboxtest.S3(t, true)}, set: vault.Set{Durability: 1}}
	dir := t.TempDir()
	t.Setenv("BUCKET", sandboxtest.Password)

	text := fmt.Sprintf("version: 1\nname: shop\nstate_dir: %s/state\nkey: {file: %s/key}\nregions:\n", dir, dir)
	for _, r := range []string{"east", "west"} {
		text += fmt.Sprintf("  %s: {vault: {url: \"file://%s/%s\"}}\n", r, dir, r)
	}
	text += "targets:\n  media:\n    kind: s3\n    access_key: test\n    secret_key: {env: BUCKET}\n    shards:\n      \"0\":\n"

	for r, role := range map[string]string{"east": "primary", "west": "standby"} {
		text += fmt.Sprintf("        %s: {endpoint: \"%s\", bucket: media, role: %s}\n", r, w.in[r].Address, role)
	}
	text += "groups:\n  shop: {targets: [media], home: east}\n"

	path := filepath.Join(dir, "drctl.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	if _, err := configured.NewKey(filepath.Join(dir, "key")); err != nil {
		t.Fatal(err)
	}

	cfg, err := config.Load(path, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	w.cfg = cfg

	tools, err := configured.Tools(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p := configured.New(cfg, tools, slog.New(slog.DiscardHandler))

	for _, r := range []string{"west", "east"} {
		opt, err := p.VaultOptions(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}

		if opt.Set = "6f327b85-4a6c-446e-b2c5-9e1f4b163b8e"; len(w.set.Vaults) > 0 {
			opt.Set = w.set.Vaults[0].SetID()
		}

		v, err := vault.Init(t.Context(), opt)
		if err != nil {
			t.Fatal(err)
		}
		w.set.Vaults = append(w.set.Vaults, v)
	}

	return w
}

func (w *world) client(region string) *awss3.Client {
	w.Helper()

	c, err := s3client.New(w.Context(), s3client.Options{Endpoint: w.in[region].Address, AccessKey: "test", SecretKey: sandboxtest.Password})
	if err != nil {
		w.Fatal(err)
	}

	w.Cleanup(func() { s3client.Close(c) })

	return c
}

func (w *world) put(region, key, content string) {
	w.Helper()

	if _, err := w.client(region).PutObject(w.Context(), &awss3.PutObjectInput{Bucket: aws.String("media"), Key: &key, Body: strings.NewReader(content)}); err != nil {
		w.Fatal(err)
	}
}

func (w *world) remove(region, key string) {
	w.Helper()

	if _, err := w.client(region).DeleteObject(w.Context(), &awss3.DeleteObjectInput{Bucket: aws.String("media"), Key: &key}); err != nil {
		w.Fatal(err)
	}
}

func (w *world) has(region, key, content string) {
	w.Helper()

	out, err := w.client(region).GetObject(w.Context(), &awss3.GetObjectInput{Bucket: aws.String("media"), Key: &key})
	if err != nil {
		w.Errorf("%s in %s: %v", key, region, err)
		return
	}
	defer out.Body.Close()

	var b bytes.Buffer
	if _, err := b.ReadFrom(out.Body); err != nil || b.String() != content {
		w.Errorf("%s in %s: %v, %q", key, region, err, b.String())
	}
}

// cut takes one of the bucket of a region, and seals it.
func (w *world) cut(region string, at time.Time) string {
	w.Helper()

	id := targets.NewID(at)

	pos, _, err := s3.New(s3.Options{}).Snapshot(w.Context(), w.in[region], time.Now().Add(time.Hour), w.set.Shard(media), nil)
	if err != nil {
		w.Fatal(err)
	}
	pos.AsOf = at

	c := targets.Cut{ID: id, Group: "shop", QuiescedAt: at, ReleasedAt: at, SealedAt: at, Attempts: 1,
		Shards: []targets.ShardPoint{{Shard: media, Kind: targets.S3, Region: region, Position: pos}}}
	if _, err := w.set.SaveCut(w.Context(), c); err != nil {
		w.Fatal(err)
	}

	return id
}

// run runs the command.
func (w *world) run(args ...string) ([]reconciliation.Result, string, error) {
	w.Helper()

	var out bytes.Buffer
	asJSON := true

	c := reconciling.Faces{Load: func() (*config.Config, error) { return w.cfg, nil }, Out: &out, Err: &out, JSON: &asJSON, Say: func(slog.Level, string, ...any) {}}.Command()
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetArgs(args)
	c.SetContext(w.Context())
	err := c.Execute()

	var all []reconciliation.Result
	if jerr := json.Unmarshal(out.Bytes(), &all); jerr != nil && err == nil {
		w.Fatalf("%v: %s", jerr, out.String())
	}

	return all, out.String(), err
}

// TestMergeOfVaults: what one vault alone has is in both afterwards.
func TestMergeOfVaults(t *testing.T) {
	w := newWorld(t)

	for i, v := range w.set.Vaults {
		one := vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}
		if _, err := one.SaveReport(t.Context(), "kept", fmt.Sprint(i), "x"); err != nil {
			t.Fatal(err)
		}
	}

	var out bytes.Buffer
	asJSON := false

	run := func(args ...string) error {
		c := reconciling.Faces{Load: func() (*config.Config, error) { return w.cfg, nil }, Out: &out, JSON: &asJSON, Say: func(slog.Level, string, ...any) {}}.Merge()
		c.SilenceErrors, c.SilenceUsage = true, true
		c.SetArgs(args)
		c.SetContext(t.Context())

		return c.Execute()
	}

	if err := run(); err != nil || !strings.Contains(out.String(), "1 objects") {
		t.Errorf("%v %s", err, out.String())
	}

	for _, v := range w.set.Vaults {
		if ids, err := v.Reports(t.Context(), "kept"); err != nil || len(ids) != 2 {
			t.Errorf("%s: %v %v", v.Region(), err, ids)
		}
	}

	if err := run("--between", "east,east"); !fail.Is(err, fail.Invalid) {
		t.Error(err)
	}
}

// TestReconcile: buckets that went on separately through a failover are brought together by the cut from
// before it.
func TestReconcile(t *testing.T) {
	w := newWorld(t)

	for _, r := range []string{"east", "west"} {
		w.put(r, "kept", "kept")
		w.put(r, "gone", "gone")
	}

	now := time.Now().UTC()
	before := w.cut("east", now.Add(-2*time.Hour))

	if _, err := w.set.SaveReport(t.Context(), runs.PromotionKind("shop"), runs.EpochID(1), runs.Promotion{Epoch: 1, Run: "r1", By: "ann", Mode: plan.ModeFailover, From: "east", To: "west", At: now.Add(-time.Hour)}); err != nil {
		t.Fatal(err)
	}

	w.put("west", "new", "in west")
	w.remove("west", "gone")
	w.put("east", "late", "in east")
	w.put("east", "both", "east")
	w.put("west", "both", "west")
	after := w.cut("west", now.Add(-time.Minute)) // what it has is not what both had

	all, text, err := w.run("--dry-run")
	if !fail.Is(err, fail.Unverified) || len(all) != 1 || all[0].Ancestor != before || all[0].ToA != 1 || all[0].ToB != 1 || all[0].Conflicts != 1 || all[0].Deletions != 1 {
		t.Errorf("%v %s", err, text)
	}

	if _, _, err := w.run(); !fail.Is(err, fail.Invalid) || !strings.Contains(err.Error(), "--yes") {
		t.Errorf("nobody was asked: %v", err)
	}

	if _, text, err := w.run("--yes"); !fail.Is(err, fail.Unverified) {
		t.Errorf("%v %s", err, text)
	}

	w.has("east", "new", "in west")
	w.has("west", "late", "in east")
	w.has("east", "both", "east")
	w.has("west", "both", "west")
	w.has("east", "gone", "gone")

	w.put("west", "both", "east") // a person has decided

	all, text, err = w.run("--yes", "--delete", "--cut", before)
	if err != nil || all[0].Deleted != 1 || all[0].ToA+all[0].ToB != 0 {
		t.Errorf("%v %s", err, text)
	}

	w.has("west", "both", "east")

	if all, text, err := w.run("--yes"); err != nil || all[0].ToA+all[0].ToB+all[0].Conflicts+all[0].Deletions != 0 {
		t.Errorf("a last time: %v %s", err, text)
	}

	if _, text, err := w.run("--cut", after, "--dry-run"); !fail.Is(err, fail.Invalid) || !strings.Contains(err.Error(), "apart since") {
		t.Errorf("a cut from after they parted: %v %s", err, text)
	}

	if _, _, err := w.run("--cut", "nonsense", "--dry-run"); !fail.Is(err, fail.NotFound) {
		t.Error(err)
	}

	if _, _, err := w.run("--from", "east", "--to", "east"); !fail.Is(err, fail.Invalid) {
		t.Error(err)
	}
}
