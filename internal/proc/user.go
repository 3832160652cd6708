package proc

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"drctl/internal/fail"
)

// User is the login name of the user that servers run as when this process is
// root's. Any other process runs them as itself, whatever the name says.
type User string

// Credential is what a server is started with: the user's when this process is
// root's, else nil, which is the same user. Not-found when there is no such user.
func (u User) Credential() (*syscall.Credential, error) {
	const op = "find user"
	if os.Geteuid() != 0 {
		return nil, nil
	}
	x, err := user.Lookup(string(u))
	if err != nil {
		return nil, fail.New(fail.NotFound, op, string(u), "PostgreSQL refuses to run as root; install postgresql or set sandbox.run_as", err)
	}
	uid, err1 := strconv.ParseUint(x.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(x.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fail.New(fail.Internal, op, string(u), "", err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// Owner names the user that the files of servers belong to, or "" when that is
// the user of this process.
func (u User) Owner() string {
	if os.Geteuid() != 0 {
		return ""
	}
	return string(u)
}

// Own gives path, and everything below it, to the user.
func (u User) Own(path string) error {
	c, err := u.Credential()
	if err != nil || c == nil {
		return err
	}
	err = filepath.WalkDir(path, func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, int(c.Uid), int(c.Gid))
	})
	if err != nil {
		return fail.New(fail.Denied, "chown", path, "", err)
	}
	return nil
}

// Mkdir makes a directory that belongs to the user; one that exists is given to
// it. Parents that are made on the way can be traversed by all.
func (u User) Mkdir(dir string, mode os.FileMode) error {
	const op = "make directory"
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fail.FromOS(op, dir, err)
	}
	if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, os.ErrExist) {
		return fail.FromOS(op, dir, err)
	}

	c, err := u.Credential()
	if err != nil || c == nil {
		return err
	}
	if err := os.Chown(dir, int(c.Uid), int(c.Gid)); err != nil {
		return fail.FromOS("chown", dir, err)
	}
	return nil
}

// WriteFile writes a file that the user alone can read.
func (u User) WriteFile(path, content string) error {
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return fail.FromOS("write", path, err)
	}
	return u.Own(path)
}

// CanEnter checks that the user can enter every parent of a directory: when it
// cannot, servers fail with a message that helps nobody. Denied when it cannot.
func (u User) CanEnter(dir string) error {
	const op = "start server"
	c, err := u.Credential()
	if err != nil || c == nil {
		return err
	}
	for d := filepath.Dir(dir); ; d = filepath.Dir(d) {
		var st syscall.Stat_t
		if err := syscall.Stat(d, &st); err != nil {
			return fail.FromOS(op, d, err)
		}
		bit := uint32(0o001)
		switch {
		case st.Uid == c.Uid:
			bit = 0o100
		case st.Gid == c.Gid:
			bit = 0o010
		}
		if st.Mode&bit == 0 {
			return fail.New(fail.Denied, op, dir,
				fmt.Sprintf("chmod o+x %s, or choose a directory that every user can enter, such as one under /var/tmp", d),
				fmt.Errorf("%s cannot be entered by user %d, which servers run as", d, c.Uid))
		}
		if d == filepath.Dir(d) {
			return nil
		}
	}
}
