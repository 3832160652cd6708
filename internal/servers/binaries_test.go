package servers_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
)

// Programs that lie about the working directory are nobody's choice.
func TestToolsAreNotTakenFromTheWorkingDirectory(t *testing.T) {
	dir := sandboxtest.Dir(t)
	below := filepath.Join(dir, "a", "b")
	for _, d := range []string{below, filepath.Join(dir, "bin"), filepath.Join(below, "bin")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	names := []string{"restic", "redis-server", "versitygw"}
	for _, d := range []string{filepath.Join(dir, "bin"), filepath.Join(below, "bin"), below} {
		for _, n := range names {
			if err := os.WriteFile(filepath.Join(d, n), []byte("#!/bin/sh\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Chdir(below)
	for _, path := range []string{"", "bin:.", t.TempDir()} {
		t.Setenv("PATH", path)
		tools, err := servers.Find(servers.Binaries{})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{tools.ResticBin, tools.RedisServer, tools.S3Server} {
			if p != "" && (!filepath.IsAbs(p) || strings.HasPrefix(p, dir)) {
				t.Errorf("PATH %q: it would run %s", path, p)
			}
		}
	}
	// For root a program that others may change is none.
	if os.Geteuid() == 0 {
		mine := filepath.Join(dir, "bin", "restic")
		if _, err := servers.Find(servers.Binaries{ResticBin: mine}); err != nil {
			t.Errorf("named and ours: %v", err)
		}
		if err := os.Chown(mine, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if _, err := servers.Find(servers.Binaries{ResticBin: mine}); !fail.Is(err, fail.Denied) {
			t.Errorf("another user's restic: %v", err)
		}
	}
}
