package redis

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
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
	must(t, os.MkdirAll(filepath.Dir(half), 0o755))
	must(t, os.WriteFile(half, []byte("half of it"), 0o644))
	mark := filepath.Join(req.WorkDir, markName)
	must(t, os.MkdirAll(req.WorkDir, 0o755))

	for _, other := range []string{"", filepath.Join(top, "other")} {
		if other != "" {
			must(t, os.WriteFile(mark, []byte(other), 0o600))
		}
		if _, err := d.Restore(ctx, in, req, m); !fail.Is(err, fail.Conflict) {
			t.Fatalf("with the mark %q: %v", other, err)
		}
		if b, err := os.ReadFile(half); err != nil || string(b) != "half of it" {
			t.Fatalf("a refused restore wrote: %q %v", b, err)
		}
	}
	must(t, os.WriteFile(mark, []byte(in.DataDir), 0o600))
	out, err := d.Restore(ctx, in, req, m)
	must(t, err)
	if out.Reached != end {
		t.Errorf("%+v", out)
	}
	if _, err := os.Stat(mark); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the mark is still there: %v", err)
	}
	// Done, it is not drctl's to remove.
	if _, err := d.Restore(ctx, in, req, m); !fail.Is(err, fail.Conflict) {
		t.Errorf("a second restore: %v", err)
	}
}
