// Package trust tells whether a file or directory can be believed and used:
// whether nobody but this user and root could have put it there or change it.
// What is run, and what says what is to be run or killed, must be.
package trust

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"drctl/internal/fail"
)

// Owned checks that a file or directory belongs to this user or to root, and
// that neither others nor its group may write it, but for the owner's private
// group, which has the owner's number. Denied when it is not so.
func Owned(op, path string, info fs.FileInfo) error { return owned(op, path, info, -1) }

func owned(op, path string, info fs.FileInfo, also int) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fail.Newf(fail.Denied, op, path, "its owner is not known")
	}

	uid, self := int(st.Uid), os.Geteuid()
	if uid != self && uid != 0 && uid != also {
		return fail.New(fail.Denied, op, path, fmt.Sprintf("run drctl as %s, or give it to %s with chown if you trust it", UserName(uid), UserName(self)),
			fmt.Errorf("it belongs to %s, and drctl runs as %s", UserName(uid), UserName(self)))
	}

	others := fs.FileMode(0o022)
	if st.Gid == st.Uid { // a group of the owner alone, as many systems give every user
		others = 0o002
	}

	if info.Mode().Perm()&others != 0 {
		return fail.New(fail.Denied, op, path, "chmod go-w "+path, fmt.Errorf("others than its owner may write it (mode %04o)", info.Mode().Perm()))
	}

	return nil
}

// Dir checks a directory that this process is to work in: a link to it must be
// of this user or root too. One that does not exist is fs.ErrNotExist.
func Dir(op, path string) error {
	link, err := os.Lstat(path)
	if err != nil {
		return err
	}

	info, err := os.Stat(path)
	if err != nil {
		return err
	}

	if !info.IsDir() {
		return fail.Newf(fail.Invalid, op, path, "it is no directory")
	}

	if link.Mode()&fs.ModeSymlink != 0 { // its own mode says nothing
		if st, ok := link.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Geteuid() && st.Uid != 0 {
			return fail.Newf(fail.Denied, op, path, "it is another user's link")
		}
	}

	return Owned(op, path, info)
}

// Program checks a program that root is about to run; other users run what
// they please. Who owns the running program is believed as much as root.
func Program(op, path string) error {
	if os.Geteuid() != 0 {
		return nil
	}

	also := 0
	if self, err := os.Executable(); err == nil {
		if info, err := os.Stat(self); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				also = int(st.Uid)
			}
		}
	}

	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fail.New(fail.NotFound, op, path, "", err)
	}

	info, err := os.Stat(real)
	if err != nil {
		return fail.New(fail.NotFound, op, path, "", err)
	}

	return owned(op, real, info, also)
}

// UserName is a user's name, or its number when it has none.
func UserName(uid int) string {
	id := strconv.Itoa(uid)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}

	return "user " + id
}
