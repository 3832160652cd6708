package trust_test

import (
	"os"
	"path/filepath"
	"testing"

	"drctl/internal/fail"
	"drctl/internal/trust"
)

func TestOwned(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	check := func(what string, want fail.Code) {
		t.Helper()

		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}

		err = trust.Owned("test", file, info)
		if want == "" && err != nil || want != "" && !fail.Is(err, want) {
			t.Errorf("%s: %v", what, err)
		}
		// Only root asks who owns its programs.
		if perr := trust.Program("test", file); os.Geteuid() == 0 && (perr == nil) != (err == nil) || os.Geteuid() != 0 && perr != nil {
			t.Errorf("%s as a program: %v", what, perr)
		}
	}

	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}

	check("ours", "")

	for _, mode := range []os.FileMode{0o646, 0o666} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}

		check(mode.String(), fail.Denied)
	}

	if os.Geteuid() != 0 {
		return // only root can make another user's file
	}

	if err := os.Chmod(file, 0o664); err != nil {
		t.Fatal(err)
	}

	check("writable by the owner's private group", "")

	if err := os.Chown(file, -1, 65534); err != nil {
		t.Fatal(err)
	}

	check("writable by another group", fail.Denied)

	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}

	if err := os.Chown(file, 65534, 65534); err != nil {
		t.Fatal(err)
	}

	check("another user's", fail.Denied)
}

func TestDir(t *testing.T) {
	dir := t.TempDir()

	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}

	for _, d := range []string{dir, link} {
		if err := trust.Dir("test", d); err != nil {
			t.Errorf("%s: %v", d, err)
		}
	}

	if err := trust.Dir("test", filepath.Join(dir, "none")); !os.IsNotExist(err) {
		t.Errorf("none: %v", err)
	}

	if os.Geteuid() == 0 {
		if err := os.Lchown(link, 65534, 65534); err != nil {
			t.Fatal(err)
		}

		if err := trust.Dir("test", link); !fail.Is(err, fail.Denied) {
			t.Errorf("another user's link: %v", err)
		}
	}

	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}

	if err := trust.Dir("test", dir); !fail.Is(err, fail.Denied) {
		t.Errorf("writable by all: %v", err)
	}
}
