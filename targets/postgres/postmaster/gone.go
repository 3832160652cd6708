package postmaster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"drctl/internal/fail"
)

const opGone = "wait for the end of a server"

// goneWithin is how long a killed process may take to be gone for good.
const goneWithin = 10 * time.Second

// Gone waits until the process of a lock file that a killed server has left is gone for good.
// PostgreSQL's programs refuse a directory until then, while Find says that no server runs:
// a process that nobody has collected yet is one to them.
func Gone(ctx context.Context, dir string) error {
	path := filepath.Join(dir, "postmaster.pid")

	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}

	if err != nil {
		return fail.FromOS(opGone, path, err)
	}
	first, _, _ := strings.Cut(string(b), "\n")

	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 0 {
		return nil // one that is cut off belongs to nobody
	}

	ctx, stop := context.WithTimeout(ctx, goneWithin)
	defer stop()

	for !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		select {
		case <-ctx.Done():
			return fail.New(fail.Unavailable, opGone, dir, "try again; if that process is no server of this directory, remove "+path,
				fmt.Errorf("process %d of its lock file is still there: %w", pid, context.Cause(ctx)))
		case <-time.After(poll):
		}
	}

	return nil
}
