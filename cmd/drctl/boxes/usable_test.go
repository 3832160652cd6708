package boxes

import (
	"path/filepath"
	"testing"
)

func TestUsable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if got := Usable(dir, "other"); got != dir {
		t.Errorf("a directory that can be made is not used, but %s", got)
	}

	// Nobody may make anything there, not even root.
	if got := Usable("/proc/state", "other"); got != "other" {
		t.Errorf("%s is used", got)
	}
}
