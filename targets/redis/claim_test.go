package redis

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drctl/internal/fail"
	"drctl/internal/sandbox/claim"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/targets"
)

// A repeat after a crash takes up its own half-written directory, and nobody
// else's.
func TestRestoreTakesUpItsOwn(t *testing.T) {
	d := driver(t)
	m, end := archived(t, d)
	base, path := m.path(end)
	top := sandboxtest.Dir(t)
	in := targets.Instance{Shard: targets.ShardID{Target: "carts", Shard: "0"}, Role: targets.Primary, DataDir: filepath.Join(top, "data")}
	req := targets.RestoreRequest{Base: base, Point: end, Path: path, WorkDir: filepath.Join(top, "data.work")}
	half := filepath.Join(in.DataDir, aofDir, incrFile)
	record := filepath.Join(req.WorkDir, recordName)
	must(t, os.MkdirAll(filepath.Dir(half), 0o755))
	must(t, os.MkdirAll(req.WorkDir, 0o755))
	must(t, os.WriteFile(half, []byte("half of it"), 0o644))
	refused := func(what string) {
		t.Helper()
		if _, err := d.Restore(ctx, in, req, m); !fail.Is(err, fail.Conflict) || !strings.Contains(err.Error(), what) {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(half); err != nil || string(b) != "half of it" {
			t.Fatalf("a refused restore wrote: %q %v", b, err)
		}
	}
	refused("not empty")
	other := filepath.Join(top, "other")
	must(t, os.MkdirAll(other, 0o755))
	_, err := claim.New(record, other)
	must(t, err)
	refused("not empty")

	_, err = claim.New(record, in.DataDir)
	must(t, err)
	// A server in the directory: not the restore's to stop, nor its files to remove.
	server, err := d.tools.StartRedis(ctx, servers.RedisSpec{Name: "other", Dir: in.DataDir, Password: targets.NewSecret("x"), LogFile: filepath.Join(top, "log")})
	must(t, err)
	t.Cleanup(func() { _ = server.Kill() })
	refused("runs there")
	if !server.Alive() {
		t.Fatal("somebody else's server was stopped")
	}
	must(t, server.Kill())
	// The directory was made anew.
	must(t, os.Remove(filepath.Join(in.DataDir, targets.ClaimFile)))
	refused("not what the restore that broke off left")
	req.Delta = true
	refused("there is no delta restore of Redis")

	_, err = claim.New(record, in.DataDir)
	must(t, err)
	out, err := d.Restore(ctx, in, req, m)
	must(t, err)
	if out.Reached != end {
		t.Errorf("%+v", out)
	}
	if _, err := os.Stat(record); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the record is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(in.DataDir, targets.ClaimFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the claim is still there: %v", err)
	}
	// Done, it is not drctl's to remove.
	if _, err := d.Restore(ctx, in, req, m); !fail.Is(err, fail.Conflict) {
		t.Errorf("a second restore: %v", err)
	}
}
