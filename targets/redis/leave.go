package redis

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// A server that a person starts uses the person's configuration. With
// "appendonly no" Redis reads the image file and never looks at an append-only
// file, with "appendonly yes" it is the other way round; what it does not find
// it takes for empty. So a restore leaves just the one that the source's own
// configuration reads: two would be one too many, because the one that is not
// read grows old, and is loaded in good faith when somebody changes the setting.

// saveLimit bounds the writing of an image, which blocks the server.
const saveLimit = 6 * time.Hour

// saveImage writes the loaded data as an image file, where the source reads one.
func (d *Driver) saveImage(ctx context.Context, at targets.Instance, s source) error {
	if !s.known || s.appendOnly {
		return nil
	}

	c, err := client(at, 0)
	if err != nil {
		return err
	}
	defer c.Close()

	return wrap(opRestore, at, c.WithTimeout(saveLimit).Save(ctx).Err())
}

// arrangeFiles brings the files of a stopped server into the form that the source's
// configuration reads.
func (l *layout) arrangeFiles(s source) error {
	root := filepath.Dir(l.dir)
	if s.known && !s.appendOnly {
		if st, err := os.Stat(filepath.Join(root, s.dbFile)); err != nil || st.Size() == 0 {
			return fail.New(fail.Unverified, opRestore, root, "", fmt.Errorf("the server left no image %s: %w", s.dbFile, err))
		}

		if err := os.RemoveAll(l.dir); err != nil {
			return fail.FromOS(opRestore, l.dir, err)
		}

		return fail.FromOS(opRestore, root, os.Remove(filepath.Join(root, restoredFile)))
	}

	// The server may have appended the end of keys whose time had passed; the
	// directory is to hold the point exactly.
	if err := l.truncate(); err != nil {
		return err
	}

	if s.dirName == aofDir && s.fileName == aofName {
		return nil
	}

	return l.rename(s)
}

// rename gives the parts of the append-only file the source's own names.
func (l *layout) rename(s source) error {
	root := filepath.Dir(l.dir)
	for _, name := range []string{baseFile, incrFile} {
		to := s.fileName + strings.TrimPrefix(name, aofName)
		if err := os.Rename(filepath.Join(l.dir, name), filepath.Join(l.dir, to)); err != nil {
			return fail.FromOS(opRestore, l.dir, err)
		}
	}

	if err := os.Remove(filepath.Join(l.dir, manifestFile)); err != nil {
		return fail.FromOS(opRestore, l.dir, err)
	}

	if err := l.write(filepath.Join(l.dir, s.fileName+".manifest"), manifest(s.fileName)); err != nil {
		return err
	}

	if err := os.Rename(l.dir, filepath.Join(root, s.dirName)); err != nil {
		return fail.FromOS(opRestore, l.dir, err)
	}

	return fail.FromOS(opRestore, root, os.Remove(filepath.Join(root, restoredFile)))
}

// manifest lists the two parts of an append-only file.
func manifest(name string) []byte {
	return []byte("file " + name + ".1.base.rdb seq 1 type b\nfile " + name + ".1.incr.aof seq 1 type i\n")
}

// startNotes tell how the server that was left stopped is started, and what of
// its configuration is not in the directory.
func startNotes(in targets.Instance, s source, highest int, owner string) []string {
	dir := in.DataDir
	var notes []string
	databases := max(s.databases, highest+1, 16)

	args := fmt.Sprintf("redis-server --dir %s --databases %d", dir, databases)
	if s.server == "valkey" {
		args = "valkey-" + strings.TrimPrefix(args, "redis-")
	}

	if s.known && !s.appendOnly {
		notes = append(notes, fmt.Sprintf("the data is in %s, as the source was configured (appendonly no): start it with: %s --appendonly no --dbfilename %s. "+
			"Started with appendonly yes it is EMPTY: to change to that, set it on the running server (CONFIG SET appendonly yes)", filepath.Join(dir, s.dbFile), args, s.dbFile))
	} else {
		notes = append(notes, fmt.Sprintf("the data is in %s: start it with: %s --appendonly yes --appenddirname %s --appendfilename %s. "+
			"Started with appendonly no, which is Redis' own default, it is EMPTY", filepath.Join(dir, s.dirName), args, s.dirName, s.fileName))
	}

	for _, name := range slices.Sorted(maps.Keys(s.renames)) {
		notes = append(notes, fmt.Sprintf("its configuration must have: rename-command %s %s", strings.ToUpper(name), s.renames[name]))
	}

	notes = append(notes, "the base holds data only: users (ACL), maxmemory, modules and passwords come from the server's own configuration")
	if owner != "" {
		notes = append(notes, fmt.Sprintf("the files belong to the user %s; give them to the user of your Redis service: chown -R redis: %s", owner, dir))
	}

	return notes
}
