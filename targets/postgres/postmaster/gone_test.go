package postmaster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"drctl/internal/fail"
)

// A process that was killed and not collected is no server, and keeps PostgreSQL's programs
// out all the same.
func TestAKilledProcessIsGoneOnceItIsCollected(t *testing.T) {
	dir := t.TempDir()
	if err := Gone(t.Context(), dir); err != nil {
		t.Errorf("without a lock file: %v", err)
	}

	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}

	err := cmd.Process.Kill()
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "postmaster.pid"), fmt.Appendf(nil, "%d\n%s\n", cmd.Process.Pid, dir), 0o600)
	}

	if err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()

	if err := Gone(ctx, dir); !fail.Is(err, fail.Unavailable) {
		t.Errorf("not collected: %v", err)
	}

	if _, err := Find(dir); !fail.Is(err, fail.NotFound) {
		t.Errorf("found: %v", err)
	}

	done := make(chan error, 1)
	go func() { done <- Gone(t.Context(), dir) }()

	_ = cmd.Wait()

	if err := <-done; err != nil {
		t.Errorf("collected: %v", err)
	}
}
