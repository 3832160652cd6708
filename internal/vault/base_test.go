package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// tree makes a directory with some files and returns it.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()

	dir := filepath.Join(t.TempDir(), "data")
	for name, content := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}

		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	return dir
}

func sameTree(t testing.TB, a, b string) {
	t.Helper()

	if out, err := exec.Command("diff", "-r", a, b).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

var someFiles = map[string]string{
	"base/1/100": strings.Repeat("page", 5000), "base/1/200": string(noise(1 << 20)), "global/pg_control": "control", "empty": "",
	"pg_wal/x": "left out", "$odd name": "dollar", "tmp$1/x": "left out",
}

// saveBase stores a base of the tree with its record.
func saveBase(t testing.TB, s Set, id, dir string) targets.Artifact {
	t.Helper()
	ctx := context.Background()
	sv := s.Shard(shardA).ForBase(id)

	saved, err := sv.SaveTree(ctx, targets.TreeRequest{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	sha := must(sv.SaveFile(ctx, id, "backup_label", []byte("label "+id)))
	a := testBase(id, 16, saved)

	a.Files, a.Until.Offset = map[string]string{"backup_label": sha}, 32
	if n, err := s.SaveBase(ctx, a); err != nil || n != len(s.Vaults) {
		t.Fatal(n, err)
	}

	return a
}

func TestTrees(t *testing.T) {
	t.Parallel()

	ctx := context.Background()
	for _, b := range backends(t) {
		t.Run(b.name, func(t *testing.T) {
			k := testKey(t)
			east, west := initVault(t, "east", b.loc("east"), k), initVault(t, "west", b.loc("west"), k)
			set := Set{Vaults: []*Vault{east, west}}
			dir := tree(t, someFiles)
			sv := set.Shard(shardA).ForBase("b1")
			var phases sync.Map

			saved, err := sv.SaveTree(ctx, targets.TreeRequest{Dir: dir, Exclude: []string{dir + "/pg_wal", dir + "/tmp$1/*"},
				Progress: func(phase string, _, _ int64) { phases.Store(phase, true) }})
			if err != nil {
				t.Fatal(err)
			}

			if len(saved.Snapshot) != 64 || saved.Path != dir || saved.Files != 5 || saved.Bytes < 1<<20 || saved.BytesAdded < 1<<20 {
				t.Fatalf("%+v", saved)
			}

			if _, ok := phases.Load("save"); !ok {
				t.Fatal("no progress")
			}
			again := must(sv.SaveTree(ctx, targets.TreeRequest{Dir: dir, Exclude: []string{dir + "/pg_wal", dir + "/tmp$1/*"}}))

			full := must(sv.SaveTree(ctx, targets.TreeRequest{Dir: dir, Exclude: []string{dir + "/pg_wal", dir + "/tmp$1/*"}, Full: true}))
			if again.BytesAdded > 100<<10 || full.BytesAdded > 100<<10 || full.Bytes < 1<<20 {
				t.Fatalf("%+v %+v", again, full)
			}
			a := targets.Artifact{ID: "b1", Shard: shardA, Snapshot: saved.Snapshot, Path: saved.Path}

			want := tree(t, map[string]string{"base/1/100": someFiles["base/1/100"], "base/1/200": someFiles["base/1/200"],
				"global/pg_control": "control", "empty": "", "$odd name": "dollar"})
			if err := os.Mkdir(want+"/tmp$1", 0o700); err != nil {
				t.Fatal(err)
			}

			for _, v := range set.Vaults { // the mirrored one restores alone
				out := filepath.Join(t.TempDir(), "out")
				if err := v.Shard(shardA).RestoreTree(ctx, a, out, false, nil); err != nil {
					t.Fatal(v, err)
				}

				sameTree(t, want, out)
				testDelta(t, v, a, want, out)
			}
		})
	}
}

// testDelta changes a restored directory and restores over it.
func testDelta(t *testing.T, v *Vault, a targets.Artifact, want, out string) {
	t.Helper()
	p := filepath.Join(out, "base/1/200")
	st := must(os.Stat(p))
	flip(t, p, 5000)

	if err := os.Chtimes(p, st.ModTime(), st.ModTime()); err != nil { // equal size and time, other content
		t.Fatal(err)
	}

	overwrite(t, filepath.Join(out, "surplus"), []byte("x"))
	_ = os.Remove(filepath.Join(out, "empty"))
	claim := filepath.Join(out, targets.ClaimFile)
	overwrite(t, claim, []byte("x"))

	if err := v.Shard(shardA).RestoreTree(context.Background(), a, out, true, nil); err != nil {
		t.Fatal(err)
	}

	if err := os.Remove(claim); err != nil {
		t.Fatalf("the restore's claim did not stay: %v", err)
	}

	sameTree(t, want, out)
}

func TestStreams(t *testing.T) {
	t.Parallel()

	ctx := context.Background()
	for _, b := range backends(t) {
		t.Run(b.name, func(t *testing.T) {
			v := initVault(t, "east", b.loc("streams"), testKey(t))
			sv := v.Shard(shardA)
			content := noise(5 << 20)

			saved, err := sv.SaveStream(ctx, "dump.rdb", bytes.NewReader(content), nil)
			if err != nil || saved.Bytes != int64(len(content)) || saved.Path != "/dump.rdb" {
				t.Fatalf("%+v %v", saved, err)
			}
			a := targets.Artifact{Snapshot: saved.Snapshot, Path: saved.Path}
			r := must(sv.OpenStream(ctx, a))

			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, content) || r.Close() != nil {
				t.Fatal(err, len(got))
			}
			r = must(sv.OpenStream(ctx, a)) // given up early

			_, _ = io.ReadFull(r, make([]byte, 1000))
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}

			r = must(sv.OpenStream(ctx, targets.Artifact{Snapshot: saved.Snapshot, Path: "/nope"}))
			if _, err = io.ReadAll(r); !fail.Is(err, fail.NotFound) {
				t.Fatalf("a stream that does not exist: %v", err)
			}

			r.Close()
			testFailingReader(t, v)
		})
	}
}

func testFailingReader(t *testing.T, v *Vault) {
	ctx := context.Background()
	repo := must(v.repo(shardA))
	before := must(repo.Snapshots(ctx))
	_, err := v.Shard(shardA).SaveStream(ctx, "bad", io.MultiReader(bytes.NewReader(noise(3<<20)), failing{}), nil)
	wantCode(t, err, fail.Unavailable, "the source broke", "bad")
	cancelled, cancel := context.WithCancel(ctx)
	time.AfterFunc(700*time.Millisecond, cancel)

	_, err = v.Shard(shardA).SaveStream(cancelled, "cut", io.MultiReader(bytes.NewReader(noise(3<<20)), until{cancelled}), nil)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}

	if after := must(repo.Snapshots(ctx)); len(after) != len(before) {
		t.Fatalf("%d snapshots became %d", len(before), len(after))
	}

	if locks := keysOf(t, v.store, ResticPrefix(shardA)+"locks/"); len(locks) != 0 {
		t.Fatalf("locks left: %q", locks)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the source broke") }

type until struct{ ctx context.Context }

func (u until) Read([]byte) (int, error) {
	<-u.ctx.Done()
	return 0, io.EOF // even a reader that lies about the end
}

// TestVanishing removes files while restic reads the directory.
func TestVanishing(t *testing.T) {
	t.Parallel()
	v := fileVault(t, "east", testKey(t))

	files := map[string]string{}
	for i := range 300 {
		files[fmt.Sprintf("d%d/f%03d", i%3, i)] = string(noise(200<<10 + i))
	}

	for _, vanishing := range []bool{true, false} {
		dir := tree(t, files)

		stop := make(chan struct{})
		go func() {
			defer close(stop)

			for i := 299; i >= 0; i-- {
				_ = os.Remove(fmt.Sprintf("%s/d%d/f%03d", dir, i%3, i))

				time.Sleep(2 * time.Millisecond)
			}
		}()
		_, err := v.Shard(shardA).SaveTree(context.Background(), targets.TreeRequest{Dir: dir, Full: true, Vanishing: vanishing})

		<-stop

		if vanishing && err != nil {
			t.Fatal(err)
		}

		if !vanishing && err != nil { // restic may have been lucky and seen no file vanish
			wantCode(t, err, fail.Denied, "no such file")
		}
	}
}

// TestOneRepository: several processes take the first base of a shard at once,
// with the vaults in different orders.
func TestOneRepository(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	k := testKey(t)
	east, west := fileVault(t, "east", k), fileVault(t, "west", k)

	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			order := []*Vault{east, west}
			if i%2 == 1 {
				order = []*Vault{west, east}
			}

			if _, err := (Set{Vaults: order}).Shard(shardA).SaveStream(ctx, fmt.Sprint("s", i), bytes.NewReader(noise(100<<10+i)), nil); err != nil {
				t.Error(i, err)
			}
		})
	}

	wg.Wait()

	for _, pair := range [][2]*Vault{{east, west}, {west, east}} {
		if _, err := Mirror(ctx, pair[0], pair[1], "", MirrorOptions{}); err != nil {
			t.Fatal(err)
		}
	}

	for _, v := range []*Vault{east, west} {
		repo := must(v.repo(shardA))
		if list := must(repo.Snapshots(ctx)); len(list) != 4 {
			t.Fatalf("%s has %d snapshots", v, len(list))
		}

		if n := len(keysOf(t, v.store, ResticPrefix(shardA)+"keys/")); n != 1 {
			t.Fatalf("%d repository keys", n)
		}

		if fs := must(v.Verify(ctx, VerifyOptions{ReadData: "100%"})); Damaged(fs) {
			t.Fatalf("%+v", fs)
		}
	}
}

func TestDifferentRepositoriesConflict(t *testing.T) {
	t.Parallel()
	ctx := context.Background()

	east, west := twoVaults(t)
	for _, v := range []*Vault{east, west} { // each went its own way
		if _, err := v.Shard(shardA).SaveStream(ctx, "s", strings.NewReader("x"), nil); err != nil {
			t.Fatal(err)
		}
	}
	_, err := (Set{Vaults: []*Vault{east, west}}).Shard(shardA).SaveStream(ctx, "s", strings.NewReader("x"), nil)
	wantCode(t, err, fail.Conflict, "east", "west")
	_, err = Mirror(ctx, east, west, "", MirrorOptions{})
	wantCode(t, err, fail.Conflict, "east", "west")
}

func TestSaveBaseNeedsItsContent(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	east, west := twoVaults(t)
	set := Set{Vaults: []*Vault{east, west}}
	_, err := set.SaveBase(ctx, testBase("b", 16, targets.Saved{Snapshot: strings.Repeat("a", 64), Path: "/x"}))
	wantCode(t, err, fail.NotFound, "snapshots/aaa")
	// A vault that missed the base is brought up before it gets the record.
	a := saveBase(t, Set{Vaults: []*Vault{east}}, "b1", tree(t, someFiles))
	if n, err := set.SaveBase(ctx, a); n != 2 || err != nil {
		t.Fatal(n, err)
	}

	if got := must(west.Bases(ctx, shardA)); len(got) != 1 || got[0].Snapshot != a.Snapshot {
		t.Fatalf("%+v", got)
	}

	if err := west.Shard(shardA).RestoreTree(ctx, a, filepath.Join(t.TempDir(), "out"), false, nil); err != nil {
		t.Fatal(err)
	}

	if b := must(west.Shard(shardA).File(ctx, a, "backup_label")); string(b) != "label b1" {
		t.Fatalf("%q", b)
	}
	a.Files["backup_label"] = strings.Repeat("0", 64)
	_, err = west.Shard(shardA).File(ctx, a, "backup_label")
	wantCode(t, err, fail.Corrupt, "backup_label")
}

func TestResticErrors(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	v := fileVault(t, "east", testKey(t))
	a := targets.Artifact{Snapshot: strings.Repeat("a", 64), Path: "/x"}
	wantCode(t, v.Shard(shardA).RestoreTree(ctx, a, t.TempDir(), false, nil), fail.NotFound, "orders/1", "no base")
	saveBase(t, Set{Vaults: []*Vault{v}}, "b1", tree(t, someFiles))
	wantCode(t, v.Shard(shardA).RestoreTree(ctx, a, t.TempDir(), false, nil), fail.NotFound, "restic/orders/1")
	repo := must(v.repo(shardA))
	repo.Password = targets.NewSecret("not-the-password")
	_, err := repo.Snapshots(ctx)
	wantCode(t, err, fail.Denied, "restic/orders/1")

	if strings.Contains(err.Error(), "not-the-password") {
		t.Fatal("the password is in the error")
	}
	v.opt.ResticBin = "/nonexistent/restic"
	_, err = v.Shard(shardA).SaveTree(ctx, targets.TreeRequest{Dir: t.TempDir()})
	wantCode(t, err, fail.NotFound, "install restic")

	old := filepath.Join(t.TempDir(), "restic")
	if err := os.WriteFile(old, []byte("#!/bin/sh\necho '{\"version\":\"0.14.0\"}'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	v.opt.ResticBin = old
	_, err = v.Shard(shardA).SaveTree(ctx, targets.TreeRequest{Dir: t.TempDir()})
	wantCode(t, err, fail.Unsupported, "0.14.0")
}

// TestNoSecretsInArguments looks at the command lines of running children.
func TestNoSecretsInArguments(t *testing.T) {
	t.Parallel()
	v := fileVault(t, "east", testKey(t))
	ctx, cancel := context.WithCancel(context.Background())

	done := make(chan error, 1)
	go func() {
		_, err := v.Shard(shardA).SaveStream(ctx, "slow", until{ctx}, nil)
		done <- err
	}()

	seen := false
	for deadline := time.Now().Add(2 * time.Minute); !seen && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		select {
		case err := <-done:
			t.Fatalf("the backup ended: %v", err)
		default:
		}

		lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, f := range lines {
			b, _ := os.ReadFile(f)
			if strings.Contains(string(b), v.store.(*fileStore).root) {
				seen = true

				if strings.Contains(string(b), v.password.Reveal()) {
					t.Error("the password is in an argument list")
				}
			}
		}
	}

	cancel()
	<-done

	if !seen {
		t.Fatal("no restic was seen")
	}
}
