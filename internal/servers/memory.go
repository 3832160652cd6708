package servers

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// releaseMemory removes the small segment of System V shared memory that a
// killed PostgreSQL server leaves. A server that is started in the same directory
// removes it by itself, but a sandbox's directory goes. The system has room for
// 4,096 of them, and when they are used up no PostgreSQL starts on the host any
// more. It removes only what is sure to be that server's: what the lock file
// names, made by the process that it names, and used by nobody.
func releaseMemory(dir string) {
	b, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	if err != nil {
		return // stopped in order, or not PostgreSQL
	}

	// The first line is the pid, the seventh the segment's key and id.
	lines := strings.Split(string(b), "\n")
	if len(lines) < 7 {
		return
	}

	pid, perr := strconv.Atoi(strings.TrimSpace(lines[0]))

	words := strings.Fields(lines[6])
	if perr != nil || len(words) != 2 {
		return
	}

	key, kerr := strconv.ParseUint(words[0], 10, 64) // a negative key is written with 64 bits

	id, ierr := strconv.Atoi(words[1])
	if kerr != nil || ierr != nil {
		return
	}

	var seg unix.SysvShmDesc
	if _, err := unix.SysvShmCtl(id, unix.IPC_STAT, &seg); err != nil || seg.Nattch > 0 || int(seg.Cpid) != pid || uint32(seg.Perm.Key) != uint32(key) {
		return
	}

	_, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) // somebody was faster, or it is not ours to remove
}
