package redis

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/targets"
)

// A program that may not read the base is told before anything is restored.
func TestFits(t *testing.T) {
	d := driver(t)
	out := func(settings map[string]string) error {
		return d.Fits(ctx, targets.Artifact{Kind: targets.Redis, Settings: settings})
	}
	in := sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	base, err := d.Base(ctx, in, targets.BaseRequest{ID: "b"}, newMemory(t))
	must(t, err)
	must(t, d.Fits(ctx, base))
	must(t, out(nil)) // an old record

	if err := out(map[string]string{"version": "99.1.0"}); !fail.Is(err, fail.Unsupported) || !strings.Contains(err.Error(), "redis 99.1.0") {
		t.Errorf("a newer source: %v", err)
	}
	if err := out(map[string]string{"version": "8.1.0", "server": "valkey"}); !fail.Is(err, fail.Unsupported) || !strings.Contains(err.Error(), "valkey-server") {
		t.Errorf("another server: %v", err)
	}
	if err := New(Options{}).Fits(ctx, base); !fail.Is(err, fail.NotFound) {
		t.Errorf("no program: %v", err)
	}
	if older("7.0.15", "7.0.99") || !older("7.0.15", "7.2.0") || older("8.0", "7.4.1") {
		t.Error("versions are compared by major and minor")
	}
	for text, want := range map[string]string{"Redis server v=7.0.15 sha=00000000:0": "redis 7.0.15", "Valkey server v=8.1.0 sha=0": "valkey 8.1.0"} {
		if s, v, ok := programVersion(text); !ok || s+" "+v != want {
			t.Errorf("%q: %s %s", text, s, v)
		}
	}
}

// A Valkey server is checked with Valkey's own tool, found beside it. (A
// directory with Redis' programs under Valkey's names stands for an installation.)
func TestValkeyHasItsOwnCheckTool(t *testing.T) {
	tools := sandboxtest.Tools(t)
	dir := sandboxtest.Dir(t)
	server := filepath.Join(dir, "valkey-server")
	must(t, os.Symlink(tools.RedisServer, server))
	script := "#!/bin/sh\nexec " + filepath.Join(filepath.Dir(tools.RedisServer), "redis-check-aof") + " \"$@\"\n"
	must(t, os.WriteFile(filepath.Join(dir, "valkey-check-aof"), []byte(script), 0o755)) // the program goes by its own name

	found, err := servers.Find(servers.Binaries{RedisServer: server})
	must(t, err)
	d := New(Options{Tools: found})
	path, name, ok := d.checkTool()
	if !ok || name != "valkey-check-aof" || filepath.Dir(path) != dir {
		t.Fatalf("check tool %s %s %v", name, path, ok)
	}
	m, end := archived(t, d)
	base, spans := m.path(end)
	in := restoreTo(t, d, m, targets.RestoreRequest{Base: base, Point: end, Path: spans})
	fs, err := d.Verify(ctx, in, targets.Expectation{})
	must(t, err)
	for _, f := range fs {
		if f.Check == name && f.Severity == targets.Passed {
			return
		}
	}
	t.Fatalf("findings: %+v", fs)
}
