package postgres

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/postgres/control"
	"drctl/targets/postgres/timelines"
)

// spacesDir holds restored tablespaces inside the data directory, so that a
// restore never writes where the original ones were.
const spacesDir = "drctl_tablespaces"

// restoreBase writes the base's files.
func (r *restoreRun) restoreBase(ctx context.Context) error {
	a := r.req.Base

	resume := r.req.Delta
	if entries, err := os.ReadDir(r.dir); err == nil && len(entries) > 1 { // one is the claim
		resume = true // only our own unfinished work gets this far
	}

	switch a.Method {
	case methodFiles:
		if err := r.from.RestoreTree(ctx, a, r.dir, resume, r.req.Progress); err != nil {
			return err
		}

		if err := r.plainTree(r.dir, true); err != nil {
			return err
		}

		return r.restoreFiles(ctx)
	case methodWire:
		if err := emptyDir(r.dir); err != nil {
			return fail.FromOS(opRestore, r.dir, err)
		}

		return r.untar(ctx)
	}

	return r.refuse(fail.Unsupported, "use a newer drctl", "the base was taken by method %q", a.Method)
}

// restoreFiles writes what the sink kept beside the tree.
func (r *restoreRun) restoreFiles(ctx context.Context) error {
	for name, path := range map[string]string{fileLabel: fileLabel, fileControl: "global/pg_control"} {
		content, err := r.from.File(ctx, r.req.Base, name)
		if err != nil {
			return err
		}

		if name == fileControl {
			sys, err := control.SystemID(content)
			if err != nil || sys != r.systemID {
				return r.refuse(fail.Corrupt, "choose another base", "the base's pg_control is of cluster %q, not %s: %v", sys, r.systemID, err)
			}
		}

		if err := os.WriteFile(filepath.Join(r.dir, path), content, 0o600); err != nil {
			return fail.FromOS(opRestore, r.dir, err)
		}
	}

	return r.restoreTablespaces(ctx)
}

// restoreTablespaces restores each tablespace inside the data directory and
// rewrites the map by which the server links them.
func (r *restoreRun) restoreTablespaces(ctx context.Context) error {
	links := filepath.Join(r.dir, "pg_tblspc")
	if err := os.MkdirAll(links, 0o700); err != nil {
		return fail.FromOS(opRestore, links, err)
	}

	var lines strings.Builder
	for oid, where := range r.req.Base.Tablespaces {
		ts, err := targets.ParseTablespace(oid, where)
		if err != nil {
			return r.refuse(fail.Corrupt, "choose another base", "the base's record: %w", err)
		}
		a := r.req.Base
		a.Snapshot, a.Path = ts.Snapshot, ts.Path

		dir := filepath.Join(r.dir, spacesDir, oid)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fail.FromOS(opRestore, dir, err)
		}

		entries, err := os.ReadDir(dir)
		if err != nil {
			return fail.FromOS(opRestore, dir, err)
		}

		if err := r.from.RestoreTree(ctx, a, dir, len(entries) > 0, r.req.Progress); err != nil {
			return err
		}

		if err := r.plainTree(dir, false); err != nil {
			return err
		}

		link := filepath.Join(links, oid)
		if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fail.FromOS(opRestore, link, err)
		}

		if err := os.Symlink(dir, link); err != nil {
			return fail.FromOS(opRestore, link, err)
		}

		fmt.Fprintf(&lines, "%s %s\n", oid, strings.ReplaceAll(dir, `\`, `\\`))
	}

	if lines.Len() == 0 {
		// One from elsewhere would have the server link the original ones.
		if err := os.Remove(filepath.Join(r.dir, fileTblMap)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fail.FromOS(opRestore, r.dir, err)
		}

		return nil
	}

	return fail.FromOS(opRestore, r.dir, os.WriteFile(filepath.Join(r.dir, fileTblMap), []byte(lines.String()), 0o600))
}

// emptyDir removes what an unfinished restore left; the claim has been checked.
func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}

	for _, e := range entries {
		if e.Name() == targets.ClaimFile {
			continue
		}

		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}

	return nil
}

// untar writes the members of a base that came over the wire. os.Root keeps
// every name inside the data directory.
func (r *restoreRun) untar(ctx context.Context) (err error) {
	stream, err := r.from.OpenStream(ctx, r.req.Base)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()

	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return fail.FromOS(opRestore, r.dir, err)
	}
	defer root.Close()
	var done int64

	buf := make([]byte, 1<<20)
	for t := tar.NewReader(stream); ; {
		h, err := t.Next()
		if err == io.EOF {
			break
		}

		if err != nil {
			return r.streamFault(err)
		}

		name := filepath.Clean(h.Name)
		switch odd := name == fileTblMap && h.Size > 0 || h.Typeflag == tar.TypeSymlink && name != "pg_wal"; {
		case odd:
			err = r.refuse(fail.Unsupported, "choose a base that was taken from the files (method files)", "the base holds %s, and so not the data that this leads to", name)
		case h.Typeflag == tar.TypeDir:
			err = root.MkdirAll(name, 0o700)
		case h.Typeflag == tar.TypeReg:
			err = r.untarFile(root, name, t, buf)
		case h.Typeflag == tar.TypeSymlink:
			// pg_wal elsewhere; it is made as a directory instead.
		default:
			err = r.refuse(fail.Corrupt, "choose another base", "%s in the base has unexpected type %q", h.Name, h.Typeflag)
		}

		if err != nil {
			return r.streamFault(err)
		}
		done += h.Size
		r.req.Progress.Report("restore", done, r.req.Base.Bytes)
	}
	// The reader's own verdict comes with its last byte.
	if _, err := io.Copy(io.Discard, stream); err != nil {
		return r.streamFault(err)
	}

	return nil
}

func (r *restoreRun) streamFault(err error) error {
	var fe *fail.Error
	if errors.As(err, &fe) {
		return err
	}

	var pe *fs.PathError
	if errors.As(err, &pe) {
		return fail.FromOS(opRestore, r.dir, err)
	}

	return r.refuse(fail.Corrupt, "choose another base", "the base's tar stream: %v", err)
}

func (r *restoreRun) untarFile(root *os.Root, name string, content io.Reader, buf []byte) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, content, buf)

	return errors.Join(err, f.Close())
}

func (r *restoreRun) walDir() string { return filepath.Join(r.work, "wal") }

// writeWAL lays the stream out again as whole WAL segments, with the history
// files, for restore_command.
func (r *restoreRun) writeWAL(ctx context.Context) error {
	if err := os.RemoveAll(r.walDir()); err != nil {
		return fail.FromOS(opRestore, r.walDir(), err)
	}

	if err := r.mkdir(r.walDir()); err != nil {
		return err
	}

	if err := r.writeHistories(ctx); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2)

	for i, span := range r.req.Path {
		from := timelines.SegmentStart(span.From, r.segSize)
		if i == 0 {
			from = r.req.Base.From.Offset
		}

		if from >= span.To {
			continue
		}

		g.Go(func() error { return r.writeSpan(ctx, targets.Span{Timeline: span.Timeline, From: from, To: span.To}) })
	}

	if err := g.Wait(); err != nil {
		return err
	}

	return r.tools.RunAs.Own(r.walDir())
}

func (r *restoreRun) writeSpan(ctx context.Context, span targets.Span) (err error) {
	_, tli, err := targets.ParsePostgresTimeline(span.Timeline)
	if err != nil {
		return r.refuse(fail.Invalid, "", "%v", err)
	}

	log, err := r.from.Log(ctx, span)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()

	buf := make([]byte, 1<<20)
	for at := span.From; at < span.To; at += r.segSize {
		n := min(r.segSize, span.To-at)

		path := filepath.Join(r.walDir(), timelines.SegmentName(tli, at, r.segSize))
		if err := r.writeSegment(path, io.LimitReader(log, int64(n)), int64(n), buf); err != nil {
			return fail.New(codeOr(err, fail.Corrupt), opRestore, r.in.String(), "verify the vault; another vault may hold the range", fmt.Errorf("stream %s from %s: %w", span.Timeline, targets.FormatLSN(at), err))
		}

		r.req.Progress.Report("log", int64(at+n-span.From), int64(span.To-span.From))
	}

	return nil
}

// codeOr keeps the code of an error that has one.
func codeOr(err error, code fail.Code) fail.Code {
	var fe *fail.Error
	if errors.As(err, &fe) {
		return fe.Code
	}

	if fail.DiskFull(err) {
		return fail.Exhausted
	}

	return code
}

// writeSegment writes one file of the full size; what the stream does not have
// yet is zero, which the server takes for the end of the log.
func (r *restoreRun) writeSegment(path string, content io.Reader, n int64, buf []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}

	got, err := io.CopyBuffer(struct{ io.Writer }{f}, content, buf)
	if err == nil && got != n {
		err = fmt.Errorf("the stream ended after %d of %d bytes", got, n)
	}

	if err == nil {
		err = f.Truncate(int64(r.segSize))
	}

	return errors.Join(err, f.Close())
}

// writeHistories writes the history file of every timeline on the path, and of
// the younger ones that the vault knows. So the restored server chooses a
// timeline that nobody has used.
func (r *restoreRun) writeHistories(ctx context.Context) error {
	var last uint32

	write := func(tli uint32, content []byte) error {
		return r.writeFile(filepath.Join(r.walDir(), timelines.FileName(tli)), content)
	}
	for _, span := range r.req.Path {
		_, tli, err := targets.ParsePostgresTimeline(span.Timeline)
		if err != nil {
			return r.refuse(fail.Invalid, "", "%v", err)
		}

		last = max(last, tli)
		if tli == 1 {
			continue
		}

		content, err := r.from.History(ctx, span.Timeline)
		if err != nil {
			return err
		}

		if len(content) == 0 {
			return r.refuse(fail.NotFound, "verify the vault", "the history file of timeline %d is missing", tli)
		}

		if err := write(tli, content); err != nil {
			return err
		}
	}

	for tli := last + 1; ; tli++ {
		content, err := r.from.History(ctx, targets.PostgresTimeline(r.systemID, tli))
		if err != nil && !fail.Is(err, fail.NotFound) {
			return err
		}

		if len(content) == 0 {
			return nil
		}

		if err := write(tli, content); err != nil {
			return err
		}
	}
}
