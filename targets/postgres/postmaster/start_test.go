package postmaster

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"drctl/internal/fail"
)

// A server makes its lock file before it writes it. Whoever starts one in that moment
// waits and looks again.
func TestALockFileThatIsBeingWrittenIsWaitedFor(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "postmaster.pid")

	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	time.AfterFunc(50*time.Millisecond, func() { _ = os.WriteFile(path, []byte("999999999\n"+dir+"\n"), 0o600) })

	// What was written names no server; the one that is to be started was never there.
	if _, err := Start(t.Context(), dir); !fail.Is(err, fail.NotFound) {
		t.Errorf("written a moment later: %v", err)
	}

	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	if _, err := Start(t.Context(), dir); !fail.Is(err, fail.Unavailable) {
		t.Errorf("never written: %v", err)
	}
}
