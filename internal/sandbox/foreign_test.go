package sandbox_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/proc"
	"drctl/internal/sandbox"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
)

// plantBox writes the record of a box whose time is up, which names a process to kill.
func plantBox(t *testing.T, root, id string, victim servers.Server) (dir string) {
	t.Helper()
	dir = filepath.Join(root, id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	victim.Dir = filepath.Join(dir, "pg")
	js, err := json.Marshal(map[string]any{"format": 1, "id": id, "purpose": "harm", "created": time.Now().Add(-time.Hour),
		"expires": time.Now().Add(-time.Minute), "procs": []servers.Server{victim}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sandbox.json"), js, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A box that another user made, or could have, is not believed: its record
// would have this user kill any process.
func TestABoxThatOthersMadeIsNotBelieved(t *testing.T) {
	victim := exec.Command("sleep", "600")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = victim.Process.Kill(); _ = victim.Wait() }()
	id, err := proc.Of(victim.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	target := servers.Server{Name: "postgres", ID: id}
	root := filepath.Join(sandboxtest.Dir(t), "boxes")
	chown := func(path string) {
		t.Helper()
		if err := os.Lchown(path, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	chmod := func(path string, mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	sweep := func() {
		t.Helper()
		if removed, err := sandbox.Sweep(t.Context(), root, time.Now(), nil); err != nil || len(removed) != 0 {
			t.Errorf("sweep: %v %v", removed, err)
		}
	}

	dir := plantBox(t, root, "open-directory", target)
	chmod(dir, 0o777)
	dir = plantBox(t, root, "open-record", target)
	chmod(filepath.Join(dir, "sandbox.json"), 0o666)
	elsewhere := plantBox(t, sandboxtest.Dir(t), "linked", target)
	if err := os.Symlink(elsewhere, filepath.Join(root, "linked")); err != nil {
		t.Fatal(err)
	}
	dir = plantBox(t, root, "linked-record", target)
	if err := os.Rename(filepath.Join(dir, "sandbox.json"), filepath.Join(elsewhere, "other.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(elsewhere, "other.json"), filepath.Join(dir, "sandbox.json")); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		chown(plantBox(t, root, "foreign-directory", target))
		dir = plantBox(t, root, "foreign-record", target)
		chown(filepath.Join(dir, "sandbox.json"))
	}
	sweep()
	if boxes, err := sandbox.List(root); err != nil || len(boxes) != 0 {
		t.Errorf("list: %v %v", boxes, err)
	}
	if _, err := sandbox.Open(filepath.Join(root, "open-directory")); !fail.Is(err, fail.Denied) {
		t.Errorf("open: %v", err)
	}

	// A place where others can put things is not worked in at all.
	ours := plantBox(t, root, "ours", target)
	chmod(root, 0o777)
	if _, err := sandbox.Sweep(t.Context(), root, time.Now(), nil); !fail.Is(err, fail.Denied) {
		t.Errorf("sweep in a place of all: %v", err)
	}
	if _, err := sandbox.Create(t.Context(), sandbox.Options{Root: root, ID: "new"}); !fail.Is(err, fail.Denied) {
		t.Errorf("create in a place of all: %v", err)
	}
	if !target.Alive() {
		t.Fatal("the process that the records name was killed")
	}

	// The test can tell: the same record of our own is believed.
	chmod(root, 0o755)
	if removed, err := sandbox.Sweep(t.Context(), root, time.Now(), nil); err != nil || len(removed) != 1 || removed[0] != filepath.Base(ours) {
		t.Errorf("our own: %v %v", removed, err)
	}
	if err := victim.Wait(); err == nil {
		t.Error("the process of our own record was not ended")
	}
}
