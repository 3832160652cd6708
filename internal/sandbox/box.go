package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"drctl/internal/atomicfile"
	"drctl/internal/fail"
	"drctl/internal/proc"
	"drctl/internal/servers"
	"drctl/internal/trust"
)

const recordName = "sandbox.json"

// Options describe a new Box.
type Options struct {
	Root    string // directory of all boxes
	ID      string
	Purpose string
	// Until Keep is called the box belongs to a process or to a workflow, and
	// Sweep removes it when that has ended. With neither nobody but Remove ends it.
	Owner int // a process id on this host; 0 is none
	Run   Run
	// MadeBy is for people: the run that made it, which stays on record.
	MadeBy Run
}

// Run names one run of a workflow in the engine of this host's workers.
type Run struct {
	Workflow string `json:"workflow"`
	ID       string `json:"id"`
}

// record is what sandbox.json holds.
type record struct {
	Format  int            `json:"format"`
	ID      string         `json:"id"`
	Purpose string         `json:"purpose"`
	Created time.Time      `json:"created"`
	Owner   servers.Server `json:"owner,omitzero"`
	Host    string         `json:"host,omitempty"` // the owner's: a process of another host cannot be seen
	Run     Run            `json:"run,omitzero"`
	MadeBy  Run            `json:"made_by,omitzero"`
	// Expires is when Sweep may remove it; zero means never.
	Expires time.Time        `json:"expires,omitzero"`
	Procs   []servers.Server `json:"procs"`
}

// Box is one sandbox: a directory with a record of all that runs in it. It is
// safe for concurrent use, by several processes and by several Boxes of one
// directory: changes of the record are serialised by a lock on the directory.
type Box struct {
	dir string
	mu  sync.Mutex
	rec record
}

// change reads the record anew, lets f change it and writes it, all under the
// directory's lock.
func (b *Box) change(f func(*record) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()

	d, err := os.Open(b.dir)
	if err != nil {
		return fail.FromOS("sandbox: lock", b.dir, err)
	}
	defer d.Close() // lets go of the lock

	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		return fail.FromOS("sandbox: lock", b.dir, err)
	}

	fresh, err := Open(b.dir)
	if err != nil {
		return err
	}

	b.rec = fresh.rec
	if err := f(&b.rec); err != nil {
		return err
	}

	return b.save()
}

var validID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// Create makes a sandbox. One that exists already is a conflict.
func Create(_ context.Context, o Options) (*Box, error) {
	if !validID.MatchString(o.ID) {
		return nil, fail.Newf(fail.Invalid, "sandbox: create", o.ID, "a sandbox id holds letters, digits, dot, dash and underscore only")
	}

	root, err := filepath.Abs(o.Root)
	if err != nil {
		return nil, fail.FromOS("sandbox: create", o.Root, err)
	}

	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, fail.FromOS("sandbox: create", root, err)
	}

	if err := trust.Dir("sandbox: create", root); err != nil {
		return nil, err
	}

	dir := filepath.Join(root, o.ID)
	if err := os.Mkdir(dir, 0o755); err != nil {
		if errors.Is(err, os.ErrExist) {
			return nil, fail.New(fail.Conflict, "sandbox: create", dir, "remove it with: drctl sandbox rm "+o.ID, err)
		}

		return nil, fail.FromOS("sandbox: create", dir, err)
	}

	b := &Box{dir: dir, rec: record{Format: 1, ID: o.ID, Purpose: o.Purpose, Created: time.Now().UTC(), Run: o.Run, MadeBy: o.MadeBy, Procs: []servers.Server{}}}
	if o.Owner != 0 {
		id, err := proc.Of(o.Owner)
		if err != nil {
			return nil, fail.FromOS("sandbox: create", dir, err)
		}

		b.rec.Owner = servers.Server{Name: "owner", ID: id}
		if b.rec.Host, err = os.Hostname(); err != nil {
			return nil, fail.FromOS("sandbox: create", dir, err)
		}
	}

	return b, b.save()
}

// Open opens a sandbox by its directory. A directory without a record is not
// a sandbox: not-found. One that another user made is denied: its record names
// processes to kill.
func Open(dir string) (*Box, error) {
	b, err := readRecord(dir)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fail.New(fail.NotFound, "sandbox: open", dir, "list the sandboxes with: drctl sandbox list", err)
		}

		if fail.Is(err, fail.Denied) {
			return nil, err
		}

		return nil, fail.FromOS("sandbox: open", dir, err)
	}

	x := &Box{dir: dir}
	if err := json.Unmarshal(b, &x.rec); err != nil || x.rec.ID != filepath.Base(dir) {
		return nil, fail.New(fail.Corrupt, "sandbox: open", dir, "the record does not name this directory; remove it by hand if it is yours", err)
	}

	return x, nil
}

// readRecord reads the record of a directory, both of which must be of this
// user or root alone.
func readRecord(dir string) ([]byte, error) {
	const op = "sandbox: open"

	info, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}

	if !info.IsDir() { // a link leads anywhere
		return nil, os.ErrNotExist
	}

	if err := trust.Owned(op, dir, info); err != nil {
		return nil, err
	}

	f, err := os.OpenFile(filepath.Join(dir, recordName), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()

	if info, err = f.Stat(); err != nil {
		return nil, err
	}

	if err := trust.Owned(op, f.Name(), info); err != nil {
		return nil, err
	}

	return io.ReadAll(f)
}

// List opens every sandbox below root, oldest first.
func List(root string) ([]*Box, error) {
	err := trust.Dir("sandbox: list", root)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}

	if fail.Is(err, fail.Denied) {
		return nil, err
	}

	es, err := os.ReadDir(root)
	if err != nil {
		return nil, fail.FromOS("sandbox: list", root, err)
	}

	var out []*Box
	for _, e := range es {
		if b, err := Open(filepath.Join(root, e.Name())); err == nil {
			out = append(out, b)
		}
	}

	slices.SortFunc(out, func(a, b *Box) int { return a.rec.Created.Compare(b.rec.Created) })

	return out, nil
}

// Dir is the sandbox's directory.
func (b *Box) Dir() string { return b.dir }

// ID is the sandbox's id.
func (b *Box) ID() string { return b.rec.ID }

// Purpose says what it was made for.
func (b *Box) Purpose() string { return b.rec.Purpose }

// MadeBy is the run that made it; the zero value when no run did, or an earlier
// version.
func (b *Box) MadeBy() Run { return b.rec.MadeBy }

// Created is when it was made, UTC.
func (b *Box) Created() time.Time { return b.rec.Created }

// Expires is when it is removed by itself, UTC; zero means never.
func (b *Box) Expires() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()

	return b.rec.Expires
}

// Keep records, durably, that the sandbox outlives what it was made for: until
// an instant, after which Sweep removes it, or with the zero time until Remove.
func (b *Box) Keep(until time.Time) error {
	return b.change(func(r *record) error {
		r.Owner, r.Host, r.Run, r.Expires = servers.Server{}, "", Run{}, until
		if !until.IsZero() {
			r.Expires = until.UTC()
		}

		return nil
	})
}

// Add records a server, durably.
func (b *Box) Add(p servers.Server) error {
	return b.change(func(r *record) error {
		r.Procs = append(r.Procs, p)
		return nil
	})
}

// MkdirAll makes a directory inside the sandbox that servers can traverse.
func (b *Box) MkdirAll(dir string) error {
	if !b.inside(dir) {
		return fail.Newf(fail.Invalid, "sandbox: make directory", dir, "it is not inside %s", b.dir)
	}

	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fail.FromOS("sandbox: make directory", dir, err)
	}

	return nil
}

func (b *Box) inside(dir string) bool {
	rel, err := filepath.Rel(b.dir, dir)
	return err == nil && filepath.IsLocal(rel)
}

// Reset ends what runs in one subdirectory and removes its files, so that an
// attempt that died half way can be repeated.
func (b *Box) Reset(_ context.Context, name string) error {
	dir := filepath.Join(b.dir, name)
	if name == "" || dir == b.dir || !b.inside(dir) {
		return fail.Newf(fail.Invalid, "sandbox: reset", name, "not a directory of the sandbox")
	}

	if err := b.end(dir); err != nil {
		return err
	}

	if err := os.RemoveAll(dir); err != nil {
		return fail.FromOS("sandbox: reset", dir, err)
	}

	return nil
}

// Remove ends every server of the sandbox and removes its directory. It works
// from the record and the directory alone, may be repeated, and refuses
// directories that hold no record.
func (b *Box) Remove(_ context.Context) error {
	if _, err := Open(b.dir); err != nil {
		if fail.Is(err, fail.NotFound) && !exists(b.dir) {
			return nil
		}

		return err
	}
	// A full volume keeps the record from being written, and removing is the way
	// out of that: the servers are ended by then, and the record goes too.
	if err := b.end(b.dir); err != nil && !fail.Is(err, fail.Exhausted) {
		return err
	}
	// The record goes last, so that a removal cut short can be repeated.
	es, err := os.ReadDir(b.dir)
	if err != nil {
		return fail.FromOS("sandbox: remove", b.dir, err)
	}

	for _, e := range es {
		if e.Name() == recordName {
			continue
		}

		if err := os.RemoveAll(filepath.Join(b.dir, e.Name())); err != nil {
			return fail.FromOS("sandbox: remove", b.dir, err)
		}
	}

	if err := os.RemoveAll(b.dir); err != nil {
		return fail.FromOS("sandbox: remove", b.dir, err)
	}

	return nil
}

// end kills the recorded servers whose directory is below dir, and whatever
// runs there without a record: a server that was started a moment before its
// owner was killed, or the orphans of one that was killed alone. Those are
// known by their working directory, which lies in this sandbox.
func (b *Box) end(dir string) error {
	return b.change(func(r *record) error {
		var doomed, keep []servers.Server
		for _, p := range r.Procs {
			if p.Dir == dir || strings.HasPrefix(p.Dir, dir+"/") {
				doomed = append(doomed, p)
			} else {
				keep = append(keep, p)
			}
		}

		for _, p := range append(doomed, servers.In(dir)...) {
			if err := p.Kill(); err != nil {
				return err
			}
		}
		r.Procs = keep

		return nil
	})
}

// save writes the record durably: whole or not at all. On a full volume, which
// is what a restore may leave, a record that has not grown is written over the
// old one.
func (b *Box) save() error {
	js, err := json.MarshalIndent(b.rec, "", "  ")
	if err != nil {
		return fail.New(fail.Internal, "sandbox: record", b.dir, "", err)
	}
	path := filepath.Join(b.dir, recordName)

	err = fail.FromOS("write", path, atomicfile.Write(path, js, 0o644))
	if !fail.Is(err, fail.Exhausted) {
		return err
	}

	f, oerr := os.OpenFile(path, os.O_WRONLY, 0)
	if oerr != nil {
		return err
	}
	defer f.Close()

	info, oerr := f.Stat()
	if oerr != nil || info.Size() < int64(len(js)) {
		return err
	}

	js = append(js, bytes.Repeat([]byte("\n"), int(info.Size())-len(js))...)
	if _, err := f.WriteAt(js, 0); err != nil {
		return fail.FromOS("write", path, err)
	}

	if err := f.Sync(); err != nil {
		return fail.FromOS("sync", path, err)
	}

	return nil
}

// Sweep removes the sandboxes below root that nobody needs: their owner is
// gone, the time for which they were kept is up, or their run has ended without
// keeping them. A nil ended knows of no run. Several processes may sweep the
// same root. The error lists what could not be removed; the rest is done.
func Sweep(ctx context.Context, root string, now time.Time, ended func(Run) bool) (removed []string, err error) {
	boxes, err := List(root)
	if err != nil {
		return nil, err
	}

	var errs []error
	for _, b := range boxes {
		if !b.rec.over(now, ended) {
			continue
		}
		// It may have been kept since it was listed. Keeping comes before the end
		// of the run and of the owner, so what is over by now stays over.
		if fresh, err := Open(b.dir); err == nil && !fresh.rec.over(now, ended) {
			continue
		}

		if err := b.Remove(ctx); err != nil {
			if exists(b.dir) { // else another sweep was faster
				errs = append(errs, err)
			}

			continue
		}
		removed = append(removed, b.rec.ID)
	}

	return removed, errors.Join(errs...)
}

// over reports whether a sandbox is to be swept.
func (r record) over(now time.Time, ended func(Run) bool) bool {
	host, err := os.Hostname()

	return r.Owner.Pid != 0 && err == nil && r.Host == host && !r.Owner.Alive() ||
		!r.Expires.IsZero() && !r.Expires.After(now) ||
		r.Run != (Run{}) && ended != nil && ended(r.Run)
}

func exists(p string) bool {
	_, err := os.Stat(p)
	return err == nil
}
