package pgbouncer_test

import (
	"os"
	"syscall"
)

// owner is user and group of a file.
func owner(info os.FileInfo) [2]uint32 {
	st := info.Sys().(*syscall.Stat_t)
	return [2]uint32{st.Uid, st.Gid}
}
