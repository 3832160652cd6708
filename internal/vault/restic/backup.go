package restic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"drctl/internal/fail"
)

// Backup is a directory to back up.
type Backup struct {
	Dir       string   // absolute
	Exclude   []string // absolute paths or restic patterns
	Full      bool     // read every file again
	Vanishing bool     // files may disappear meanwhile
	Tag       string
	// Compression is restic's mode; empty means fastest.
	Compression string
	Progress    func(done, total int64) // bytes; may be nil
}

// Stream is bytes to back up under a name.
type Stream struct {
	Name        string
	Reader      io.Reader
	Tag         string
	Compression string
	Progress    func(done, total int64)
}

// Summary is what a backup stored.
type Summary struct {
	Snapshot   string // full id
	Bytes      int64  // read
	BytesAdded int64  // new to the repository, compressed
	Files      int64
}

func backupArgs(tag, compression string) []string {
	if compression == "" {
		compression = "fastest"
	}

	a := []string{"backup", "--host", "drctl", "--compression", compression}
	if tag != "" {
		a = append(a, "--tag", tag)
	}

	return a
}

// collect follows a backup's messages.
func collect(sum *Summary, progress func(done, total int64)) func(message) {
	return func(m message) {
		switch m.Type {
		case "status":
			if progress != nil {
				progress(m.BytesDone, m.TotalBytes)
			}
		case "summary":
			*sum = Summary{m.SnapshotID, m.TotalBytesProcessed, m.DataAddedPacked, m.TotalFilesProcessed}
			if progress != nil {
				progress(m.TotalBytesProcessed, m.TotalBytesProcessed)
			}
		}
	}
}

// Backup backs up a directory.
func (r *Repo) Backup(ctx context.Context, b Backup) (Summary, error) {
	const op = "backup"

	st, err := os.Stat(b.Dir)
	if err == nil && !st.IsDir() {
		err = errors.New("not a directory")
	}

	if err != nil {
		return Summary{}, fail.New(fail.NotFound, "restic: backup", b.Dir, "", err)
	}

	args := backupArgs(b.Tag, b.Compression)
	if b.Full {
		args = append(args, "--force")
	}

	if len(b.Exclude) > 0 {
		f, err := r.excludeFile(b.Exclude)
		if err != nil {
			return Summary{}, err
		}
		defer os.Remove(f)
		args = append(args, "--exclude-file", f)
	}
	var sum Summary

	res, err := r.run(ctx, command{op: op, args: append(args, "--", b.Dir), on: collect(&sum, b.Progress)})
	if err != nil {
		return Summary{}, err
	}

	if res.exit == exitIncomplete && b.Vanishing && res.onlyVanished() {
		res.exit = 0
	}

	if res.exit == exitIncomplete && sum.Snapshot != "" {
		// The snapshot is not what was asked for; do not leave it to be mistaken.
		if err := r.Forget(context.WithoutCancel(ctx), []string{sum.Snapshot}, false, ""); err != nil {
			return Summary{}, errors.Join(r.check(op, res), err)
		}
	}

	if err := r.check(op, res); err != nil {
		return Summary{}, err
	}

	if sum.Snapshot == "" {
		return Summary{}, r.fail(op, fail.Internal, "", errors.New("restic reported no snapshot"))
	}

	return sum, nil
}

// onlyVanished reports whether every failure was a file that was gone.
func (res result) onlyVanished() bool {
	if len(res.items) == 0 {
		return false
	}

	for _, i := range res.items {
		if !strings.Contains(i.message, "no such file or directory") {
			return false
		}
	}

	return true
}

func (r *Repo) excludeFile(patterns []string) (string, error) {
	f, err := os.CreateTemp(r.TempDir, "drctl-exclude-*")
	if err != nil {
		return "", r.fail("backup", fail.Exhausted, "", err)
	}

	for _, p := range patterns {
		if strings.ContainsAny(p, "\n\r") {
			_, _ = f.Close(), os.Remove(f.Name())
			return "", fail.Newf(fail.Invalid, "restic: backup", p, "a pattern cannot hold a line break")
		}
		// restic expands $ in exclude files.
		if _, err = fmt.Fprintln(f, strings.ReplaceAll(p, "$", "$$")); err != nil {
			break // half a list would back up what it must leave out
		}
	}

	if err := errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(f.Name())
		return "", r.fail("backup", fail.Exhausted, "", err)
	}

	return f.Name(), nil
}

// BackupStream backs up a reader. restic makes a snapshot when its input ends,
// so on a failing reader it is stopped with its input still open. It does not
// wait for a Read in progress when restic itself fails.
func (r *Repo) BackupStream(ctx context.Context, s Stream) (Summary, error) {
	const op = "backup stream"

	in, feed, err := os.Pipe()
	if err != nil {
		return Summary{}, r.fail(op, fail.Exhausted, "", err)
	}
	defer in.Close()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	ended := make(chan struct{})
	go func() {
		defer feed.Close()

		if _, err := io.Copy(feed, s.Reader); err != nil && !errors.Is(err, os.ErrClosed) && !isBrokenPipe(err) {
			cancel(&readerError{err})
			<-ended // the input stays open until restic is gone
		}
	}()
	var sum Summary
	args := append(backupArgs(s.Tag, s.Compression), "--stdin", "--stdin-filename", s.Name)
	res, err := r.run(ctx, command{op: op, args: args, stdin: in, on: collect(&sum, s.Progress)})

	close(ended)

	var bad *readerError
	if errors.As(context.Cause(ctx), &bad) {
		code := fail.CodeOf(bad.err)
		if code == fail.Internal {
			code = fail.Unavailable
		}

		return Summary{}, r.fail(op, code, "nothing was stored; repeat it", fmt.Errorf("reading %s: %w", s.Name, bad.err))
	}

	if err != nil {
		return Summary{}, err
	}

	if err := r.check(op, res); err != nil {
		return Summary{}, err
	}

	if sum.Snapshot == "" {
		return Summary{}, r.fail(op, fail.Internal, "", errors.New("restic reported no snapshot"))
	}

	return sum, nil
}
