package postgres

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"drctl/internal/fail"
)

// emptied are directories of which a restore takes nothing from the base.
var emptied = []string{"pg_wal", "pg_replslot", "pg_stat_tmp", "pg_subtrans", "pg_notify", "pg_serial", "pg_snapshots", "pg_dynshmem"}

// dataNames are what a server keeps its data in, at the top of the directory.
// Anything else there, such as a log directory or a certificate, it can do without.
var dataNames = []string{"base", "global", "pg_xact", "pg_multixact", "pg_commit_ts", "pg_logical", "pg_stat", "pg_tblspc", "pg_twophase", "PG_VERSION", spacesDir}

// plainTree looks through a tree as it came from the vault, before anything is
// written into it: whatever is no file and no directory leads elsewhere, perhaps
// to the live server's files, and is not the data that should be there. It is
// refused. Of the data directory itself, links at the top that hold no data are
// removed.
func (r *restoreRun) plainTree(dir string, top bool) error {
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Type().IsRegular() {
			return err
		}

		path := filepath.Join(dir, name)
		if top && e.Type()&fs.ModeSymlink != 0 && !strings.Contains(name, "/") && !slices.Contains(dataNames, name) {
			return os.Remove(path)
		}

		what := fmt.Sprintf("is a special file (%s)", e.Type())
		if e.Type()&fs.ModeSymlink != 0 {
			to, _ := os.Readlink(path) // for the message only
			what = "is a link to " + to
		}

		return r.refuse(fail.Unsupported, "choose a base that has the data itself, or move it back into the data directory of the source and take a new base (drctl backup now)",
			"the base does not hold the data of %s: it %s, and nothing is written through that", path, what)
	})
	if codeOr(err, "") != "" {
		return err
	}

	return fail.FromOS(opRestore, dir, err)
}
