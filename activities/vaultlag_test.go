package activities_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"drctl/activities"
	"drctl/internal/platform"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/targets"
)

// mediaWorld is a bucket with objects and three vaults in directories, of which
// the policy asks for two.
func mediaWorld(t *testing.T) (w *world, put func(key, content string)) {
	t.Helper()
	w = &world{instances: map[targets.ShardID]targets.Instance{}, tools: sandboxtest.Tools(t), dir: sandboxtest.Dir(t)}
	media := sandboxtest.S3(t, true)
	w.shop.Postgres = []targets.Instance{{}} // the gate, which nothing here asks for
	w.add(media, nil)

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	for _, region := range []string{"east", "south", "west"} {
		v, err := vault.Init(t.Context(), vault.Options{Region: region, Location: vault.Location{URL: "file://" + filepath.Join(w.dir, region)},
			Key: key, Set: "11111111-2222-3333-4444-555555555555", TempDir: t.TempDir(), ResticBin: w.tools.ResticBin, Log: quiet})
		if err != nil {
			t.Fatal(err)
		}
		w.set.Vaults = append(w.set.Vaults, v)
	}
	w.set.Durability = 2
	c := awss3.New(awss3.Options{Region: "us-east-1", UsePathStyle: true, BaseEndpoint: aws.String(media.Address),
		Credentials: credentials.NewStaticCredentialsProvider(media.User, media.Password.Reveal(), "")})

	return w, func(key, content string) {
		t.Helper()

		if _, err := c.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &media.Database, Key: &key, Body: strings.NewReader(content)}); err != nil {
			t.Fatal(err)
		}
	}
}

// mediaCut takes a cut of the bucket alone.
func mediaCut(t *testing.T, w *world, a *activities.Activities) targets.Cut {
	t.Helper()
	now := time.Now().UTC()
	cut := targets.Cut{ID: targets.IDTime(now) + "-00ab", Group: group, QuiescedAt: now, Shards: []targets.ShardPoint{
		{Shard: w.shards[0].Shard, Kind: targets.S3, Region: "east", Position: targets.Position{Kind: targets.S3, AsOf: now}}}}

	cut, err := finish(a, cut)
	if err != nil {
		t.Fatal(err)
	}

	return cut
}

// A vault that could not be written is not said to hold the cut. Healed, it is
// brought up by the next one, from which the bucket comes back; and it gets the
// cut that it missed.
func TestVaultThatLagsIsBroughtUp(t *testing.T) {
	w, put := mediaWorld(t)
	pol := platform.Policy{Vaults: []string{"east", "south", "west"}, Durability: 2, Retention: vault.RetentionPolicy{KeepCuts: time.Hour}}
	a := w.activities(resolver{w, pol})

	for i := range 30 {
		put(fmt.Sprintf("k%02d", i), fmt.Sprintf("content %d", i))
	}

	broken := filepath.Join(w.dir, "south", "objects")
	if err := os.WriteFile(broken, nil, 0o600); err != nil { // a file where a directory has to be
		t.Fatal(err)
	}

	first := mediaCut(t, w, a)
	if !slices.Equal(first.SealedIn, []string{"east", "west"}) {
		t.Fatalf("sealed in %v while south takes nothing", first.SealedIn)
	}

	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}

	put("k30", "content 30")

	second := mediaCut(t, w, a)
	if len(second.SealedIn) != 3 {
		t.Fatalf("sealed in %v", second.SealedIn)
	}

	south := w.set.Vaults[1]
	to := targets.Instance{Kind: targets.S3, Shard: w.shards[0].Shard, Region: "sandbox", Role: targets.Sandbox, Database: "media",
		DataDir: filepath.Join(w.dir, "restored")}

	out, err := a.Drivers[targets.S3].Restore(t.Context(), to, targets.RestoreRequest{Point: second.Shards[0].Position}, stream.NewSource(south, to.Shard))
	if err != nil {
		t.Fatal("the cut says that it is in south:", err)
	}

	t.Cleanup(func() {
		if p, err := os.FindProcess(out.Pid); err == nil {
			_ = p.Kill()
		}
	})
	to.Address, to.User, to.Password = out.Address, out.User, out.Password

	fs, err := a.Drivers[targets.S3].Verify(t.Context(), to, targets.Expectation{Manifest: func(ctx context.Context) (io.ReadCloser, error) {
		return w.set.Vaults[0].Shard(to.Shard).Manifest(ctx, second.Shards[0].Position.Manifest)
	}})
	if err != nil || vault.Damaged(fs) || !strings.Contains(fs[1].Got, "31 objects") {
		t.Fatalf("%v %+v", err, fs)
	}

	if _, err := execute[any](a, activities.CopyVaultName, activities.CopyIn{Shard: to.Shard, From: "east", To: "south"}, nil); err != nil {
		t.Fatal(err)
	}

	if _, err := execute[any](a, activities.ShareCutsName, activities.GroupIn{Group: group}, nil); err != nil {
		t.Fatal(err)
	}

	if c, err := south.Cut(t.Context(), group, first.ID); err != nil || c.Shards[0].Position != first.Shards[0].Position {
		t.Fatalf("south never got the first cut: %v", err)
	}

	if fs, err := south.Verify(t.Context(), vault.VerifyOptions{}); err != nil || vault.Damaged(fs) {
		t.Fatalf("%v %+v", err, fs)
	}
}
