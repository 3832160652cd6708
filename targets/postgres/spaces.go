package postgres

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/postgres/localwal"
	"drctl/targets/postgres/newspaces"
)

// newSpace is a tablespace that was made after the base. Replaying that writes
// to its location, which the log names as it was on the source. For the time of
// the replay the location is a link to dir, which is inside the data directory
// as the tablespaces of the base are.
type newSpace struct {
	location, dir string
	parents       []string // directories made for the link, the innermost first
}

// findNewSpaces looks in the laid-out log for tablespaces made after the base,
// and refuses a location at which anything is: on the same machine it is the
// live server's directory.
func (r *restoreRun) findNewSpaces(ctx context.Context) error {
	r.spaces = nil

	_, tli, err := targets.ParsePostgresTimeline(r.req.Path[len(r.req.Path)-1].Timeline)
	if err != nil {
		return r.refuse(fail.Invalid, "", "%v", err)
	}

	log, err := localwal.In(r.walDir(), r.systemID, tli)
	if err != nil {
		return err
	}

	made, err := newspaces.Made(ctx, log, r.req.Base.From.Offset, r.req.Base.Until.Offset)
	if err != nil {
		return err
	}

	for _, m := range made {
		s := newSpace{location: m.Location, dir: filepath.Join(r.dir, spacesDir, strconv.FormatUint(uint64(m.OID), 10))}
		if err := r.checkSpace(s); err != nil {
			return err
		}
		r.spaces = append(r.spaces, s)
	}

	return nil
}

// checkSpace admits a location at which nothing is, or a link of ours that an
// attempt before has left.
func (r *restoreRun) checkSpace(s newSpace) error {
	_, err := os.Lstat(s.location)
	to, _ := os.Readlink(s.location) // "" when it is no link

	used := above(r.d.root, s.location)
	switch {
	case errors.Is(err, fs.ErrNotExist) && r.in.Role == targets.Sandbox && used != "":
		// It looks like this, from the mount point on, where a mount is
		// missing just now. The mount may come back over the link while
		// the log is replayed. A drill must not put anything where a live
		// server may look.
		return r.refuse(fail.Conflict, "take a base (drctl backup now) and choose a cut from after it, or one from before the tablespace was made; or restore on a host that has no "+used+", or into instances",
			"tablespace %s was made after the base, and this host may be one that uses that place, because it has %s: a sandbox puts nothing there", s.location, used)
	case errors.Is(err, fs.ErrNotExist) || to == s.dir:
		return nil
	case err != nil:
		return fail.FromOS(opRestore, s.location, err)
	}

	if _, gone := os.Stat(to); filepath.Base(filepath.Dir(to)) == spacesDir && errors.Is(gone, fs.ErrNotExist) {
		return fail.FromOS(opRestore, s.location, os.Remove(s.location)) // of a restore that was killed and removed
	}

	return r.refuse(fail.Conflict, "restore on a host where that path does not exist (the tablespace is then kept inside the data directory); "+
		"if nobody needs what is there, move it away; or choose a cut from before the tablespace was made, or one after the next base",
		"tablespace %s was made after the base, and something is at its location on this host: replaying that would write there", s.location)
}

// above is the outermost directory over a location, below the root, that is
// there or cannot be looked for; "" when there is none.
func above(root, location string) (outermost string) {
	for p := filepath.Dir(location); p != root && p != "/"; p = filepath.Dir(p) {
		if _, err := os.Lstat(p); !errors.Is(err, fs.ErrNotExist) {
			outermost = p
		}
	}

	return outermost
}

// linkSpaces makes the locations lead into the data directory.
func (r *restoreRun) linkSpaces() error {
	for i := range r.spaces {
		s := &r.spaces[i]
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return fail.FromOS(opRestore, s.dir, err)
		}

		if to, _ := os.Readlink(s.location); to == s.dir {
			continue
		}

		for p := filepath.Dir(s.location); ; p = filepath.Dir(p) {
			if _, err := os.Lstat(p); !errors.Is(err, fs.ErrNotExist) {
				break
			}
			s.parents = append(s.parents, p)
		}

		err := os.MkdirAll(filepath.Dir(s.location), 0o755)
		if err == nil {
			err = os.Symlink(s.dir, s.location) // never over anything
		}

		if err != nil {
			return r.refuse(fail.Denied, "let the worker make it, or make it by hand: ln -s "+s.dir+" "+s.location, "tablespace %s was made after the base, and its replay needs a link there: %v", s.location, err)
		}
	}

	return nil
}

// placeSpaces makes the restored directory name its tablespaces where they are,
// and removes the locations again. A server that runs looks names up anew.
func (r *restoreRun) placeSpaces() error {
	links := filepath.Join(r.dir, "pg_tblspc")

	entries, err := os.ReadDir(links)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fail.FromOS(opRestore, links, err)
	}

	for _, s := range r.spaces {
		for _, e := range entries {
			link := filepath.Join(links, e.Name())
			if to, _ := os.Readlink(link); to != s.location {
				continue
			}
			fresh := filepath.Join(r.dir, spacesDir, e.Name()+".link")

			err := os.Symlink(s.dir, fresh)
			if err == nil {
				err = r.tools.RunAs.Own(fresh)
			}

			if err == nil {
				err = os.Rename(fresh, link)
			}

			if err != nil {
				return fail.FromOS(opRestore, link, err)
			}
		}

		if to, _ := os.Readlink(s.location); to == s.dir {
			if err := os.Remove(s.location); err != nil {
				return fail.FromOS(opRestore, s.location, err)
			}
		}

		for _, p := range s.parents {
			_ = os.Remove(p) // stays when somebody has begun to use it
		}
	}

	return nil
}
