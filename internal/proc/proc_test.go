package proc

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"drctl/internal/fail"
)

func TestAnIDIsOneProcessAlone(t *testing.T) {
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	later := ID{self.Pid, self.Start + 1}
	if !self.Alive() || later.Alive() || (ID{}).Alive() {
		t.Error("this process is not told from another that had its id")
	}
	if err := later.Signal(syscall.SIGKILL); err != os.ErrProcessDone {
		t.Errorf("a signal to a process that is gone: %v", err)
	}
}

// A process that has ended is no process, also before its parent has asked.
func TestTheEndedIsNotFound(t *testing.T) {
	cmd := exec.Command("true")
	if err := Start(cmd); err != nil {
		t.Fatal(err)
	}
	id, err := Of(cmd.Process.Pid)
	for err == nil && id.Alive() {
		_, err = Of(cmd.Process.Pid)
	}
	if _, err := Of(cmd.Process.Pid); !fail.Is(err, fail.NotFound) {
		t.Errorf("a zombie: %v", err)
	}
	if err := id.Kill(); err != nil {
		t.Errorf("killing what is gone: %v", err)
	}
	_ = cmd.Wait()
}

// Children with sessions of their own end with the process, and a process is
// found by the directory that it works in.
func TestKillEndsTheTree(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "setsid sleep 600 & echo $!; wait")
	cmd.Dir = dir
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := StartChild(cmd); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	b := make([]byte, 32)
	n, err := out.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil {
		t.Fatal(err)
	}
	child, err := Of(pid)
	if err != nil {
		t.Fatal(err)
	}
	parent, err := Of(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}

	if rs := In(dir, "sh"); !slices.Contains(rs, Resident{parent, dir}) {
		t.Errorf("in the directory: %+v, want %v", rs, parent)
	}
	if rs := In(filepath.Dir(dir), "postgres"); len(rs) != 0 {
		t.Errorf("programs that nobody asked for: %+v", rs)
	}
	if err := parent.Kill(); err != nil {
		t.Fatal(err)
	}
	if parent.Alive() || child.Alive() {
		t.Errorf("alive: the process %v, its child %v", parent.Alive(), child.Alive())
	}
}
