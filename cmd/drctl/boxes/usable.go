package boxes

import (
	"os"

	"golang.org/x/sys/unix"
)

// Usable is dir, or other when this user may make nothing in dir: whoever restores
// on the worst day need not be the user who drctl runs as.
func Usable(dir, other string) string {
	if os.MkdirAll(dir, 0o755) == nil && unix.Access(dir, unix.W_OK) == nil {
		return dir
	}

	return other
}
