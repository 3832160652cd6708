package feed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"drctl/internal/atomicfile"
	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/handover"
	"drctl/targets/postgres/localwal"
	"drctl/targets/postgres/postmaster"
	"drctl/targets/postgres/timelines"
	"drctl/targets/postgres/wal"
)

const (
	op = "feed"
	// look is how often the standby is asked how far it has come.
	look = 5 * time.Millisecond
)

// Asked is a standby as the driver knows it.
type Asked struct {
	// At is what it has replayed.
	At timelines.Point
	// Replayed asks again.
	Replayed func(ctx context.Context) (uint64, error)
}

// feed is one standby that is fed.
type feed struct {
	req  handover.FeedRequest
	st   Asked
	log  *localwal.Log
	from uint64 // page of the place that was replayed
	end  uint64 // of the last whole record of the log to feed
}

// Run feeds the standby and returns how far it has come.
func Run(ctx context.Context, st Asked, req handover.FeedRequest) (targets.Position, error) {
	f := &feed{req: req, st: st}

	if req.Standby.DataDir == "" {
		return targets.Position{}, fail.New(fail.Unsupported, op, req.Standby.String(), "set data_dir, and let a worker on its host do it", errors.New("its directory is out of reach"))
	}

	if err := f.prepare(); err != nil {
		return targets.Position{}, err
	}

	at := targets.Position{Kind: targets.Postgres, Timeline: req.To.Timeline, Offset: st.At.Offset}
	if st.At.Offset >= req.To.Offset {
		return at, nil
	}

	if err := f.check(ctx); err != nil {
		return at, err
	}

	if err := f.write(ctx); err != nil {
		return at, err
	}

	var err error
	at.Offset, err = f.await(ctx)

	return at, err
}

// prepare opens the standby's own log, and refuses a path over several timelines.
func (f *feed) prepare() error {
	invalid := func(format string, args ...any) error {
		return fail.Newf(fail.Unsupported, op, f.req.Standby.String(), format, args...)
	}
	want := targets.PostgresTimeline(f.st.At.System, f.st.At.Timeline)

	if f.req.To.Timeline != want {
		return invalid("it is on timeline %s, the log to feed leads to %s", want, f.req.To.Timeline)
	}

	for _, s := range f.req.Path {
		if s.Timeline != want {
			return invalid("the log to feed goes over timeline %s", s.Timeline)
		}
	}

	var err error
	f.log, err = localwal.Open(f.req.Standby.DataDir, f.st.At.System, f.st.At.Timeline)
	f.from = f.st.At.Offset - f.st.At.Offset%wal.PageSize

	return err
}

// open reads the log to feed from the first page that is not replayed as a whole.
func (f *feed) open(ctx context.Context) (io.ReadCloser, error) {
	return f.req.Log.Log(ctx, targets.Span{Timeline: f.req.To.Timeline, From: f.from, To: f.req.To.Offset})
}

// check reads all of it once, before anything is written.
func (f *feed) check(ctx context.Context) error {
	src, err := f.open(ctx)
	if err != nil {
		return f.early(err)
	}
	defer src.Close()

	if err := f.same(src); err != nil {
		return err
	}
	_ = src.Close()

	if src, err = f.open(ctx); err != nil {
		return f.early(err)
	}
	defer src.Close()

	count := &counter{r: src}

	r, err := wal.NewReader(count, wal.Options{Start: wal.LSN(f.from), From: wal.LSN(f.st.At.Offset), SegmentSize: f.log.Segment, Timelines: f.log.Ways(), All: true})
	if err != nil {
		return err
	}

	f.end = f.st.At.Offset
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}

		if err != nil {
			return f.early(err)
		}
		f.end = max(f.end, uint64(rec.End))
	}

	if _, err := io.Copy(io.Discard, count); err != nil {
		return f.early(err)
	}

	if got := f.from + count.n; got != f.req.To.Offset {
		return f.early(fmt.Errorf("it ends at %s", targets.FormatLSN(got)))
	}

	return nil
}

// early is the error of a log that ends before its proven end.
func (f *feed) early(err error) error {
	code := fail.CodeOf(err)
	if code == fail.Internal {
		code = fail.Corrupt
	}

	return fail.New(code, op, f.req.Standby.String(), "nothing was fed; try another vault, or compute the loss without this part",
		fmt.Errorf("the log up to %s was not to be had: %w", targets.FormatLSN(f.req.To.Offset), err))
}

// same compares what the standby has replayed on the first page with the log to feed.
func (f *feed) same(src io.Reader) error {
	n := f.st.At.Offset - f.from
	mine, theirs := make([]byte, n), make([]byte, n)

	own := f.log.Bytes(f.from)
	defer own.Close()

	_, err1 := io.ReadFull(own, mine)
	_, err2 := io.ReadFull(src, theirs)

	if err := errors.Join(err1, err2); err != nil {
		return f.early(err)
	}

	if !bytes.Equal(mine, theirs) {
		return fail.New(fail.Conflict, op, f.req.Standby.String(), "choose another standby, or recover from the vault",
			fmt.Errorf("its own log before %s is not the vault's", targets.FormatLSN(f.st.At.Offset)))
	}

	return nil
}

// write puts the whole records into the files of the standby's log, from the place
// that was replayed on.
func (f *feed) write(ctx context.Context) error {
	src, err := f.open(ctx)
	if err != nil {
		return f.early(err)
	}
	defer src.Close()

	left := f.end - f.from
	zeros := (wal.PageSize - f.end%wal.PageSize) % wal.PageSize // of half a record, or of an earlier use
	in := io.MultiReader(io.LimitReader(src, int64(left)), bytes.NewReader(make([]byte, zeros)))

	if _, err := io.CopyN(io.Discard, in, int64(f.st.At.Offset-f.from)); err != nil {
		return f.early(err)
	}

	for at, end := f.st.At.Offset, f.end+zeros; at < end; {
		n := min(end-at, f.log.Segment-at%f.log.Segment)
		if err := f.part(in, at, n); err != nil {
			return err
		}
		at += n

		f.req.Progress.Report("feed", int64(at-f.from), int64(end-f.from))
	}

	return atomicfile.SyncDir(filepath.Join(f.req.Standby.DataDir, "pg_wal"))
}

// part writes a piece of one file.
func (f *feed) part(in io.Reader, at, n uint64) error {
	path := f.log.Path(at)

	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fail.FromOS(op, path, err)
	}
	defer file.Close()

	if info, err := file.Stat(); err == nil && uint64(info.Size()) < f.log.Segment {
		if err := file.Truncate(int64(f.log.Segment)); err != nil {
			return fail.FromOS(op, path, err)
		}
	}

	if os.Geteuid() == 0 {
		uid, gid, err := postmaster.Owner(f.req.Standby.DataDir)
		if err == nil {
			err = file.Chown(uid, gid)
		}

		if err != nil {
			return fail.FromOS(op, path, err)
		}
	}

	if _, err := io.CopyN(io.NewOffsetWriter(file, int64(at%f.log.Segment)), in, int64(n)); err != nil {
		return f.early(err)
	}

	if err := file.Sync(); err != nil {
		return fail.FromOS(op, path, err)
	}

	return nil
}

// await waits until the standby has replayed what it was fed.
func (f *feed) await(ctx context.Context) (at uint64, err error) {
	tick := time.NewTicker(look)
	defer tick.Stop()

	for {
		if at, err = f.st.Replayed(ctx); err == nil && at >= f.end {
			return at, nil
		}

		if err != nil && ctx.Err() == nil {
			return at, err
		}

		f.req.Progress.Report("replay", int64(at), int64(f.end))

		select {
		case <-ctx.Done():
			return at, fail.New(fail.Stalled, op, f.req.Standby.String(), "see its log",
				fmt.Errorf("it has the log up to %s and has replayed up to %s: %w", targets.FormatLSN(f.end), targets.FormatLSN(at), context.Cause(ctx)))
		case <-tick.C:
		}
	}
}

type counter struct {
	r io.Reader
	n uint64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += uint64(n)

	return n, err
}
