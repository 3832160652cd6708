package servers

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"

	"drctl/internal/fail"
	"drctl/internal/proc"
	"drctl/internal/trust"
)

// Binaries are the programs that drctl starts, and how it starts them.
type Binaries struct {
	PostgresBin string // directory of initdb, postgres, pg_basebackup ...
	RedisServer string // redis-server or valkey-server
	S3Server    string // versitygw
	ResticBin   string
	// RunAs runs the servers when drctl itself runs as root.
	RunAs proc.User
	// Taken are ports that no sandbox gets, free or not: those of the platform's
	// own instances, which may be down just now and must not be mistaken for
	// what was restored.
	Taken []int
}

// Find completes the hint: what it does not name is looked for beside
// the running program, in PATH, and in Debian's directories, never in the
// working directory, where others may put things. A tool that is nowhere stays
// empty; using it is an error that names the package to install. A tool that the
// hint names and that does not exist is an error here, and so is, for root, one
// that another user owns or may write.
func Find(hint Binaries) (Binaries, error) {
	b := hint
	if b.RunAs == "" {
		b.RunAs = "postgres"
	}
	for _, x := range []struct {
		into *string
		name string
	}{{&b.RedisServer, "redis-server"}, {&b.S3Server, "versitygw"}, {&b.ResticBin, "restic"}} {
		if *x.into != "" {
			if _, err := os.Stat(*x.into); err != nil {
				return b, fail.New(fail.NotFound, "find tools", *x.into, "correct sandbox.tools in the configuration", err)
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
			return b, err
		}
	}
	if b.PostgresBin != "" {
		if _, err := os.Stat(filepath.Join(b.PostgresBin, "postgres")); err != nil {
			return b, fail.New(fail.NotFound, "find tools", b.PostgresBin, "name the directory of the PostgreSQL programs", err)
		}
	} else {
		b.PostgresBin = findPostgres()
	}
	if b.PostgresBin == "" {
		return b, nil
	}
	return b, trust.Program("find tools", filepath.Join(b.PostgresBin, "postgres"))
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
func (b Binaries) PG(name string) (string, error) {
	if b.PostgresBin == "" {
		return "", missing(name, "postgresql")
	}
	p := filepath.Join(b.PostgresBin, name)
	if !exists(p) {
		return "", missing(name, "postgresql")
	}
	return p, nil
}

func missing(program, pkg string) error {
	return fail.New(fail.NotFound, "find tools", program, "install Debian's package "+pkg+", or name the path under sandbox.tools", errors.New("the program is not installed"))
}
