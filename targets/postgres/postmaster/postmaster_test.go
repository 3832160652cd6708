package postmaster

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"drctl/internal/fail"
)

// The id in a lock file that a killed server left may be anybody's by now.
func TestALockFileOfAnotherProcessIsNoServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()

	if _, err := Find(dir); !fail.Is(err, fail.NotFound) {
		t.Errorf("without a lock file: %v", err)
	}

	for _, pid := range []int{os.Getpid(), os.Getppid(), 1 << 22} {
		lock := fmt.Sprintf("%d\n%s\n1\n5432\n\n\n\nready   \n", pid, dir)
		if err := os.WriteFile(filepath.Join(dir, "postmaster.pid"), []byte(lock), 0o600); err != nil {
			t.Fatal(err)
		}

		if s, err := Find(dir); !fail.Is(err, fail.NotFound) {
			t.Errorf("process %d was taken for the server: %v, %v", pid, s, err)
		}
	}
}

func TestTheLastCommandIsReadAsTheServerWroteIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()

	for text, want := range map[string][]string{
		"/usr/bin/postgres\n": {"/usr/bin/postgres"},
		"/usr/lib/a b/postgres \"-D\" \"/var/lib/x y\" \"-c\" \"port=5\"\n": {"/usr/lib/a b/postgres", "-D", "/var/lib/x y", "-c", "port=5"},
		"postgres \"-D\" \"x\"\n": nil,
		"":                        nil,
	} {
		if err := os.WriteFile(filepath.Join(dir, "postmaster.opts"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}

		if got, err := LastCommand(dir); !slices.Equal(got, want) || (err == nil) != (want != nil) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}
