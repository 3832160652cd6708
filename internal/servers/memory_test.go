package servers_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
)

// segment is the shared memory that a server's lock file names.
func segment(t *testing.T, dir string) (lock string, id int) {
	t.Helper()

	b, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}

	var key uint64
	if _, err := fmt.Sscan(strings.Split(string(b), "\n")[6], &key, &id); err != nil {
		t.Fatal(err)
	}

	return string(b), id
}

func thereIs(id int) bool {
	_, err := unix.SysvShmCtl(id, unix.IPC_STAT, &unix.SysvShmDesc{})
	return err == nil
}

// A host has room for some thousand segments: each that is left is a step to
// the day on which no PostgreSQL server starts there any more.
func TestAKilledServerLeavesNoSharedMemory(t *testing.T) {
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	other := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	_, id := segment(t, in.DataDir)

	foreign, otherID := segment(t, other.DataDir)
	if !thereIs(id) || !thereIs(otherID) {
		t.Fatal("no segment: this test shows nothing")
	}

	for _, s := range servers.In(in.DataDir) {
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
	}

	if thereIs(id) {
		t.Error("the segment of the killed server is still there")
	}

	// A lock file that names what another server uses.
	if err := os.WriteFile(filepath.Join(in.DataDir, "postmaster.pid"), []byte(foreign), 0o600); err != nil {
		t.Fatal(err)
	}

	if err := (servers.Server{Name: "gone", Dir: in.DataDir}).Kill(); err != nil {
		t.Log(err)
	}

	if !thereIs(otherID) {
		t.Error("the segment of another server is gone")
	}
}
