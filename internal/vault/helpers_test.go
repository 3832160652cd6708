package vault

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
)

var shardA = targets.ShardID{Target: "orders", Shard: "1"}

// testTimeline is the log of shardA.
const testTimeline = "7000000000000000001-00000001"

var media = targets.ShardID{Target: "media", Shard: "main"}

// places makes locations of one kind of store.
type places struct {
	name string
	loc  func(sub string) Location
}

// backends are the kinds of store that every test of a store runs on.
func backends(t *testing.T) []places {
	dir := t.TempDir()
	in := sandboxtest.S3(t, true)

	return []places{
		{"file", func(sub string) Location { return Location{URL: "file://" + filepath.Join(dir, sub)} }},
		{"s3", func(sub string) Location { return s3Location(in, sub) }},
	}
}

func s3Location(in targets.Instance, sub string) Location {
	end := in.Address
	if !strings.Contains(end, "://") {
		end = "http://" + end
	}

	return Location{URL: "s3://" + in.Database + "/" + sub, Endpoint: end, AccessKey: in.User, SecretKey: in.Password}
}

func testKey(t testing.TB) Key {
	t.Helper()

	k, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	return k
}

const testSet = "11111111-2222-3333-4444-555555555555"

func options(t testing.TB, region string, l Location, k Key) Options {
	return Options{Region: region, Location: l, Key: k, Set: testSet, TempDir: t.TempDir(),
		ResticBin: sandboxtest.Tools(t).ResticBin, Log: slog.New(slog.DiscardHandler)}
}

func initVault(t testing.TB, region string, l Location, k Key) *Vault {
	t.Helper()

	v, err := Init(context.Background(), options(t, region, l, k))
	if err != nil {
		t.Fatal(err)
	}

	return v
}

func fileVault(t testing.TB, region string, k Key) *Vault {
	t.Helper()
	return initVault(t, region, Location{URL: "file://" + filepath.Join(t.TempDir(), region)}, k)
}

// twoVaults are an east and a west vault of one set in directories.
func twoVaults(t testing.TB) (east, west *Vault) {
	k := testKey(t)
	return fileVault(t, "east", k), fileVault(t, "west", k)
}

// testBase is the record of a base of shardA that begins and ends at an offset.
func testBase(id string, at uint64, saved targets.Saved) targets.Artifact {
	pos := targets.Position{Kind: targets.Postgres, Timeline: testTimeline, Offset: at}

	return targets.Artifact{ID: id, Shard: shardA, Kind: targets.Postgres, Region: "east", Method: "files", From: pos, Until: pos,
		Snapshot: saved.Snapshot, Path: saved.Path, Started: time.Now().UTC(), Finished: time.Now().UTC()}
}

// onDisk is the file that holds a key of a file vault.
func onDisk(v *Vault, key string) string {
	return filepath.Join(v.store.(*fileStore).root, filepath.FromSlash(key))
}

// flip damages one byte of a file in place.
func flip(t testing.TB, file string, at int) {
	t.Helper()

	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	if at < 0 {
		at += len(b)
	}
	b[at] ^= 1
	overwrite(t, file, b)
}

func overwrite(t testing.TB, file string, b []byte) {
	t.Helper()

	if err := os.Chmod(file, 0o600); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}

	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, code fail.Code, parts ...string) {
	t.Helper()

	if !fail.Is(err, code) {
		t.Fatalf("error %v has code %q, want %q", err, fail.CodeOf(err), code)
	}

	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Fatalf("error %q does not name %q", err, p)
		}
	}
}

func must[T any](x T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("unexpected: %v", err))
	}

	return x
}

func keysOf(t testing.TB, s Store, prefix string) (keys []string) {
	t.Helper()

	for i, err := range s.List(context.Background(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, i.Key)
	}

	return keys
}
