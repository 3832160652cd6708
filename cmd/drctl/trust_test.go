package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drctl/config"
	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
)

// The configuration may name commands to run: one that somebody else put where
// a person happens to stand is refused, and root takes nobody else's at all.
func TestConfigurationOfOthersIsRefused(t *testing.T) {
	dir := sandboxtest.Dir(t)
	t.Chdir(dir)
	t.Setenv("DRCTL_CONFIG", "")
	a := newApp(new(bytes.Buffer), new(bytes.Buffer))
	find := func(what string, want fail.Code) {
		t.Helper()

		got, err := a.findConfig()
		if want == "" && (err != nil || got != filepath.Join(dir, "drctl.yaml")) || want != "" && !fail.Is(err, want) {
			t.Errorf("%s: %q %v", what, got, err)
		}
	}

	if err := os.Mkdir(filepath.Join(dir, "below"), 0o755); err != nil {
		t.Fatal(err)
	}

	if err := os.WriteFile("drctl.yaml", []byte("version: 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}

	find("ours", "")

	if err := os.Chmod("drctl.yaml", 0o666); err != nil {
		t.Fatal(err)
	}

	find("writable by all", fail.Denied)
	t.Chdir("below")

	if got, err := a.findConfig(); err == nil && strings.HasPrefix(got, dir) {
		t.Errorf("a parent's: %q", got)
	}

	if os.Geteuid() != 0 {
		return // another user's file can be made by root alone
	}

	file := filepath.Join(dir, "drctl.yaml")
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}

	if err := os.Chown(file, 65534, 65534); err != nil {
		t.Fatal(err)
	}

	if _, err := config.Load(file, nil); !fail.Is(err, fail.Denied) || !strings.Contains(err.Error(), "belongs to nobody") {
		t.Errorf("another user's, by name: %v", err)
	}

	t.Chdir(dir)
	find("another user's", fail.Denied)
}

// Without a configuration nothing is put below the shared temporary directory.
func TestPrivateDirIsNotShared(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("XDG_STATE_HOME", "relative")
	t.Setenv("HOME", "/home/someone")
	dir, mode, err := privateDir()

	want := "/home/someone/.local/state/drctl"
	if os.Geteuid() == 0 {
		want = "/var/lib/drctl"
	}

	if err != nil || dir != want || mode.Perm()&0o066 != 0 {
		t.Errorf("%s %o %v", dir, mode, err)
	}
}
