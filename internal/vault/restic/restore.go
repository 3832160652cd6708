package restic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

type readerError struct{ err error }

func (e *readerError) Error() string { return e.err.Error() }

func isBrokenPipe(err error) bool { return errors.Is(err, syscall.EPIPE) }

// Restore is a folder of a snapshot to write to a directory.
type Restore struct {
	Snapshot string
	Path     string // in the snapshot; becomes Dir
	Dir      string
	// Delta rewrites in place what differs by content, and deletes what the
	// snapshot does not have, except files called Keep.
	Delta    bool
	Keep     string
	Progress func(done, total int64)
}

// Restore writes a folder of a snapshot to a directory. Every blob is checked
// against its SHA-256 on the way.
//
// No call that only reads takes a lock. An exclusive lock that a prune left
// behind on a host that is gone would block a recovery for half an hour, and
// who may only read could not recover at all. It is safe: the files of a
// repository never change and are named by their content, and each blob is
// checked. What a prune under way can do at worst is to remove a file that is
// about to be read, which is an error and never a wrong restore; and it does not
// remove what a snapshot that stays needs before its replacement is stored.
func (r *Repo) Restore(ctx context.Context, o Restore) error {
	if err := r.checkWhere("restore", o.Snapshot, o.Path); err != nil {
		return err
	}

	args := []string{"restore", "--target", o.Dir}
	if o.Delta {
		// "always" compares contents block by block and writes only what
		// differs; "if-changed" would trust an equal size and time.
		args = append(args, "--delete", "--overwrite", "always")
		if o.Keep != "" {
			args = append(args, "--exclude", o.Keep)
		}
	}
	args = append(args, "--", o.Snapshot+":"+o.Path)
	var done, total int64

	res, err := r.run(ctx, command{op: "restore", args: args, noLock: true, on: func(m message) {
		if m.Type == "status" || m.Type == "summary" {
			if done, total = m.BytesRestored, m.TotalBytes; o.Progress != nil {
				o.Progress(done, total)
			}
		}
	}})
	if err != nil {
		return err
	}

	return r.check("restore", res)
}

// checkWhere refuses what cannot be a place in a snapshot. Both come from
// records in the vault: restic would take one that begins with a dash for an
// option, and has options that run commands.
func (r *Repo) checkWhere(op, snapshot, path string) error {
	err := targets.CheckPath("path", path)
	if !targets.IsSHA256(snapshot) {
		err = fmt.Errorf("%.80q is not the id of a snapshot", snapshot)
	}

	if err == nil {
		return nil
	}

	return r.fail(op, fail.Corrupt, "the base's record is damaged or forged; choose another base", err)
}

// Dump opens a file of a snapshot. Reading ends in io.EOF only when restic has
// delivered all of it. Close stops an unfinished dump.
func (r *Repo) Dump(ctx context.Context, snapshot, path string) (io.ReadCloser, error) {
	if err := r.checkWhere("dump", snapshot, path); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	pr, pw := io.Pipe()

	finished := make(chan struct{})
	go func() {
		defer close(finished)

		res, err := r.run(ctx, command{op: "dump", args: []string{"dump", "--", snapshot, path}, raw: pw, noLock: true})
		if err == nil {
			err = r.check("dump", res)
		}

		pw.CloseWithError(err) // nil means io.EOF
	}()

	return &dump{pr, cancel, finished}, nil
}

type dump struct {
	*io.PipeReader
	cancel   context.CancelFunc
	finished chan struct{}
}

func (d *dump) Close() error {
	err := d.PipeReader.Close()
	d.cancel()
	<-d.finished

	return err
}

// Snapshot is one snapshot of a repository.
type Snapshot struct {
	ID    string    `json:"id"`
	Time  time.Time `json:"time"`
	Paths []string  `json:"paths"`
	Tags  []string  `json:"tags"`
}

// Snapshots lists the snapshots that can be read. Damaged ones are found by Check.
func (r *Repo) Snapshots(ctx context.Context) ([]Snapshot, error) {
	var buf limited

	res, err := r.run(ctx, command{op: "snapshots", args: []string{"snapshots"}, raw: &buf, noLock: true})
	if err != nil {
		return nil, err
	}

	if err := r.check("snapshots", res); err != nil {
		return nil, err
	}

	var list []Snapshot
	if err := json.Unmarshal(buf.b, &list); err != nil {
		return nil, r.fail("snapshots", fail.Internal, "", err)
	}

	return list, nil
}

type limited struct{ b []byte }

func (l *limited) Write(p []byte) (int, error) {
	if len(l.b)+len(p) > 256<<20 {
		return 0, errors.New("too much output")
	}
	l.b = append(l.b, p...)

	return len(p), nil
}

// Check is how deep to check a repository.
type Check struct {
	// ReadData is restic's --read-data-subset ("1/10", "5%", "2G"); "100%"
	// reads everything; empty checks only the structure and that packs exist
	// with the right size.
	ReadData string
}

// Report is what a check found; no problems means a sound repository.
type Report struct {
	Problems    []string // restic's words, each naming a pack, tree or snapshot
	BrokenPacks []string // full names of packs that are damaged
}

// Check verifies the repository without locking it, so that it neither blocks
// a backup nor needs write access. As a backup that ends meanwhile can look
// like damage, problems are looked at a second time.
func (r *Repo) Check(ctx context.Context, c Check) (Report, error) {
	rep, err := r.checkOnce(ctx, c)
	if err != nil || len(rep.Problems) == 0 {
		return rep, err
	}

	return r.checkOnce(ctx, c)
}

func (r *Repo) checkOnce(ctx context.Context, c Check) (Report, error) {
	args := []string{"check"}
	switch c.ReadData {
	case "":
	case "100%", "1/1":
		args = append(args, "--read-data")
	default:
		args = append(args, "--read-data-subset="+c.ReadData)
	}
	var rep Report
	summary := false

	res, err := r.run(ctx, command{op: "check", args: args, noLock: true, on: func(m message) {
		if m.Type == "summary" {
			summary = true
			rep.BrokenPacks = m.BrokenPacks
		}
	}})
	if err != nil {
		return Report{}, err
	}

	switch {
	case res.exit == 0:
		return Report{}, nil
	case !summary && res.exit != 1:
		return Report{}, r.check("check", res)
	case !summary:
		// restic gave up before checking: either damage that stops it (index,
		// config) or something that is no damage at all.
		err := r.check("check", res)
		if code := fail.CodeOf(err); code != fail.Corrupt && code != fail.NotFound {
			return Report{}, err
		}
	}

	for _, e := range res.errors {
		if !advice(e) {
			rep.Problems = append(rep.Problems, e)
		}
	}

	if len(rep.Problems) == 0 {
		rep.Problems = []string{res.cause().Error()}
	}

	return rep, nil
}

// Forget removes snapshots and, with prune, the data that nothing uses any
// more. MaxUnused is restic's --max-unused; empty means its default.
func (r *Repo) Forget(ctx context.Context, ids []string, prune bool, maxUnused string) error {
	if len(ids) == 0 {
		return nil
	}

	args := []string{"forget"}
	if prune {
		args = append(args, "--prune")
		if maxUnused != "" {
			args = append(args, "--max-unused", maxUnused)
		}
	}

	res, err := r.run(ctx, command{op: "forget", args: append(append(args, "--"), ids...)})
	if err != nil {
		return err
	}

	return r.check("forget", res)
}
