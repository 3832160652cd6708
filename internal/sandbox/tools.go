package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"drctl/internal/atomicfile"
	"drctl/internal/fail"
	"drctl/internal/trust"
)

// Tools are the programs that sandboxes need, and the user that runs them
// when drctl itself runs as root.
type Tools struct {
	PostgresBin string // directory of initdb, postgres, pg_basebackup ...
	RedisServer string // redis-server or valkey-server
	S3Server    string // versitygw
	ResticBin   string
	RunAs       string
	// Taken are ports that no sandbox gets, free or not: those of the platform's
	// own instances, which may be down just now and must not be mistaken for
	// what was restored.
	Taken []int
}

// FindTools completes the hint: what it does not name is looked for beside
// the running program, in PATH, and in Debian's directories, never in the
// working directory, where others may put things. A tool that is nowhere stays
// empty; using it is an error that names the package to install. A tool that the
// hint names and that does not exist is an error here, and so is, for root, one
// that another user owns or may write.
func FindTools(hint Tools) (Tools, error) {
	t := hint
	if t.RunAs == "" {
		t.RunAs = "postgres"
	}
	for _, x := range []struct {
		into *string
		name string
	}{{&t.RedisServer, "redis-server"}, {&t.S3Server, "versitygw"}, {&t.ResticBin, "restic"}} {
		if *x.into != "" {
			if _, err := os.Stat(*x.into); err != nil {
				return t, fail.New(fail.NotFound, "find tools", *x.into, "correct sandbox.tools in the configuration", err)
			}
		} else {
			*x.into = find(x.name)
		}
		if *x.into == "" && x.name == "redis-server" {
			*x.into = find("valkey-server")
		}
		if *x.into == "" {
			continue
		}
		if err := trust.Program("find tools", *x.into); err != nil {
			return t, err
		}
	}
	if t.PostgresBin != "" {
		if _, err := os.Stat(filepath.Join(t.PostgresBin, "postgres")); err != nil {
			return t, fail.New(fail.NotFound, "find tools", t.PostgresBin, "name the directory of the PostgreSQL programs", err)
		}
	} else {
		t.PostgresBin = findPostgres()
	}
	if t.PostgresBin == "" {
		return t, nil
	}
	return t, trust.Program("find tools", filepath.Join(t.PostgresBin, "postgres"))
}

// findPostgres finds the newest PostgreSQL; "" when there is none.
func findPostgres() string {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.SortFunc(dirs, func(a, b string) int { return major(b) - major(a) })
	for _, d := range dirs {
		if _, err := os.Stat(filepath.Join(d, "postgres")); err == nil {
			return d
		}
	}
	if p, err := exec.LookPath("postgres"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			return filepath.Dir(p)
		}
	}
	return ""
}

func major(dir string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
	return n
}

func find(name string) string {
	if exe, err := os.Executable(); err == nil {
		if p := filepath.Join(filepath.Dir(exe), name); exists(p) {
			return p
		}
	}
	if p, err := exec.LookPath(name); err == nil { // never a relative one
		return p
	}
	for _, d := range []string{"/usr/local/bin", "/usr/bin"} { // a service's PATH may be short
		if p := filepath.Join(d, name); exists(p) {
			return p
		}
	}
	return ""
}

func exists(p string) bool {
	_, err := os.Stat(p)
	return err == nil
}

// PG returns the path of a PostgreSQL program.
func (t Tools) PG(name string) (string, error) {
	if t.PostgresBin == "" {
		return "", missing(name, "postgresql")
	}
	p := filepath.Join(t.PostgresBin, name)
	if !exists(p) {
		return "", missing(name, "postgresql")
	}
	return p, nil
}

func missing(program, pkg string) error {
	return fail.New(fail.NotFound, "find tools", program, "install Debian's package "+pkg+", or name the path under sandbox.tools", errors.New("the program is not installed"))
}

// Credential is the user that servers run as: RunAs when this process is
// root, else nil (the same user).
func (t Tools) Credential() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(t.RunAs)
	if err != nil {
		return nil, fail.New(fail.NotFound, "find user", t.RunAs, "PostgreSQL refuses to run as root; install postgresql or set sandbox.run_as", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fail.New(fail.Internal, "find user", t.RunAs, "", err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// Owner names the user that the files of servers belong to, or "" when that is
// the user of this process.
func (t Tools) Owner() string {
	if os.Geteuid() != 0 {
		return ""
	}
	return t.RunAs
}

// Own gives path (and everything below it) to the user that servers run as.
func (t Tools) Own(path string) error {
	c, err := t.Credential()
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

// mkdir makes a directory for a server: owned by its user, mode as given.
// Parents that are made on the way can be traversed by it.
func (t Tools) mkdir(dir string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return ioError("make directory", dir, err)
	}
	if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, os.ErrExist) {
		return ioError("make directory", dir, err)
	}
	c, err := t.Credential()
	if err != nil {
		return err
	}
	if c == nil {
		return nil
	}
	if err := os.Chown(dir, int(c.Uid), int(c.Gid)); err != nil {
		return ioError("chown", dir, err)
	}
	return nil
}

// writeFile writes a file for a server: owned by its user, mode 0600.
func (t Tools) writeFile(path, content string) error {
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return ioError("write", path, err)
	}
	return t.Own(path)
}

// ioError maps an error of the local file system.
func ioError(op, path string, err error) error { return fail.FromOS(op, path, err) }

// writeFile replaces a file of drctl's own, durably.
func writeFile(path string, content []byte, mode os.FileMode) error {
	return fail.FromOS("write", path, atomicfile.Write(path, content, mode))
}

// reachable checks that the identity can enter every parent of a directory:
// when it cannot, servers fail with a message that helps nobody.
func reachable(dir string, cred *syscall.Credential) error {
	if cred == nil {
		return nil
	}
	for d := filepath.Dir(dir); ; d = filepath.Dir(d) {
		var st syscall.Stat_t
		if err := syscall.Stat(d, &st); err != nil {
			return ioError("start server", d, err)
		}
		bit := uint32(0o001)
		switch {
		case st.Uid == cred.Uid:
			bit = 0o100
		case st.Gid == cred.Gid:
			bit = 0o010
		}
		if st.Mode&bit == 0 {
			return fail.New(fail.Denied, "start server", dir,
				fmt.Sprintf("chmod o+x %s, or choose a directory that every user can enter, such as one under /var/tmp", d),
				fmt.Errorf("%s cannot be entered by user %d, which servers run as", d, cred.Uid))
		}
		if d == filepath.Dir(d) {
			return nil
		}
	}
}
