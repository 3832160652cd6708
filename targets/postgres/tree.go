package postgres

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"drctl/internal/fail"
	"drctl/targets"
)

// systemParts are the top-level names of a data directory that hold the
// database itself, without those that a base leaves out or empty. What lies
// beside them (configuration, certificates, messages) is not needed for a recovery.
var systemParts = []string{"PG_VERSION", "base", "global", "pg_commit_ts", "pg_logical", "pg_multixact", "pg_stat", "pg_tblspc", "pg_twophase", "pg_xact"}

// inSystem reports whether a slash-separated path inside a data directory
// belongs to the database itself.
func inSystem(path string) bool {
	top, _, _ := strings.Cut(path, "/")
	return slices.Contains(systemParts, top)
}

// inSpace reports the same of a path inside a tablespace: the server uses one
// directory of it, PG_<major>_<catalogue version>.
func inSpace(path string) bool { return strings.HasPrefix(path, "PG_") }

// strays are the parts of a tree that a base cannot hold: a link is saved as a
// link, and a pipe or a device not at all.
type strays struct {
	vital []string // parts of the database
	other []string // beside it
}

// add sorts one path in. inside tells whether it belongs to the database.
func (s *strays) add(path, what string, inside bool) {
	if inside {
		s.vital = append(s.vital, path+" is "+what)
	} else {
		s.other = append(s.other, path)
	}
}

// check refuses a base that would lack a part of the database.
func (s *strays) check(in targets.Instance) error {
	if len(s.vital) == 0 {
		return nil
	}
	const most = 5

	list := s.vital
	if n := len(list) - most; n > 0 {
		list = append(slices.Clone(list[:most]), fmt.Sprintf("%d more", n))
	}

	return fail.New(fail.Unsupported, opBase, in.String(),
		"stop the server and move it back into the data directory; a tablespace is the way to keep a part elsewhere: CREATE TABLESPACE … LOCATION, then ALTER DATABASE … SET TABLESPACE",
		fmt.Errorf("no base was taken, it would lack a part of the database: %s; only pg_wal and tablespaces may be elsewhere", strings.Join(list, ", ")))
}

// inspectTree finds what a base of the tree at root cannot hold. It reads
// directories and no file. tablespaces are names that are links by right.
func inspectTree(root string, inside func(string) bool, tablespaces map[string]string) (strays, error) {
	var found strays
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // dropped meanwhile
		}

		if err != nil {
			return err
		}

		name, err := filepath.Rel(root, path)
		if err != nil || name == "." {
			return err
		}

		belongs := inside(name)
		switch {
		case e.IsDir() && (!belongs || strings.HasPrefix(e.Name(), "pgsql_tmp")):
			return filepath.SkipDir
		case e.IsDir(), e.Type().IsRegular(), name == "pg_wal":
		case e.Type()&fs.ModeSymlink == 0:
			// Of these only a server's socket is usual, and it is nothing to keep.
			if belongs {
				found.add(name, "a special file", true)
			}
		default:
			if oid, ok := strings.CutPrefix(name, "pg_tblspc/"); ok && tablespaces[oid] != "" {
				return nil
			}

			found.add(name, "a symbolic link", belongs)
		}

		return nil
	})

	return found, err
}
