package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"drctl/internal/fail"
	"drctl/internal/manifest"
	"drctl/internal/retry"
	"drctl/internal/s3client"
	"drctl/targets"
	"drctl/targets/s3/merge"
)

const (
	// window bounds the entries that wait for an earlier one to be written.
	window = 16 * parallel
	// maxUnnamed bounds the keys that are named although the server does not.
	maxUnnamed = 10
)

// again says how often one object is read anew, after errors of these codes.
func again(codes ...fail.Code) retry.Policy {
	return retry.Policy{First: 100 * time.Millisecond, Max: 400 * time.Millisecond, Tries: 4, If: retry.On(codes...)}
}

// Snapshot records every object as of the instant. See the package's text for
// what that means. Objects whose keys the server does not give are left out and
// counted (SnapshotStats.Unnamed): whether that will do is the caller's to say.
// It may be repeated; objects stored by a broken attempt are
// not stored again.
func (d *Driver) Snapshot(ctx context.Context, in targets.Instance, asOf time.Time, to targets.ObjectSink, progress func(targets.SnapshotStats)) (targets.Position, targets.SnapshotStats, error) {
	var stats targets.SnapshotStats

	b, err := open(ctx, in)
	if err != nil {
		return targets.Position{}, stats, err
	}
	defer b.close()

	clk, err := b.head(ctx, "snapshot", d.opt.Now)
	if err != nil {
		return targets.Position{}, stats, err
	}

	versioning, err := b.versioning(ctx)
	if err != nil {
		return targets.Position{}, stats, err
	}
	b.unnamed = func(l listed) {
		if stats.Unnamed++; len(stats.UnnamedKeys) < maxUnnamed {
			stats.UnnamedKeys = append(stats.UnnamedKeys, l.shown())
		}
	}

	listing, versioned := b.current(ctx), versioning != ""
	if versioned {
		listing = b.asOf(ctx, asOf.Add(clk.skew()))
	}

	f, err := os.CreateTemp(d.opt.TempDir, "drctl-manifest-*")
	if err != nil {
		return targets.Position{}, stats, fail.New(fail.Exhausted, "s3: snapshot", in.String(), "free space for temporary files", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()

	s := &snapshot{bucket: b, to: to, versioned: versioned, stats: &stats, progress: progress}
	if err := s.run(ctx, listing, d.last(ctx, b, to), f); err != nil {
		return targets.Position{}, stats, err
	}

	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return targets.Position{}, stats, fail.New(fail.Exhausted, "s3: snapshot", in.String(), "", err)
	}

	sha, err := to.PutManifest(ctx, asOf, f)
	if err != nil {
		return targets.Position{}, stats, err
	}

	return targets.Position{Kind: targets.S3, AsOf: asOf.UTC(), Manifest: sha}, stats, nil
}

// last reads the previous manifest. One that is damaged ends where the damage
// begins: it only saves work, and must not stop every later snapshot.
func (d *Driver) last(ctx context.Context, b *bucket, from targets.ObjectSink) iter.Seq2[manifest.Entry, error] {
	return func(yield func(manifest.Entry, error) bool) {
		r, err := from.LastManifest(ctx)
		if err == nil && r == nil {
			return
		}

		if err == nil {
			defer r.Close()

			for e, rerr := range manifest.Entries(r, b.subject("")+" last manifest") {
				if rerr != nil {
					err = rerr
					break
				}

				if !yield(e, nil) {
					return
				}
			}
		}

		switch {
		case err == nil:
		case fail.Is(err, fail.Corrupt) || fail.Is(err, fail.NotFound):
			d.opt.Log.WarnContext(ctx, "last manifest is damaged: objects are read again", "shard", b.in.Shard.String(), "err", err)
		default:
			yield(manifest.Entry{}, err)
		}
	}
}

// snapshot is one run: a merge in order, fetches in parallel, and a writer that
// puts the results back in order.
type snapshot struct {
	*bucket
	to        targets.ObjectSink
	versioned bool
	stats     *targets.SnapshotStats
	progress  func(targets.SnapshotStats) // may be nil
}

// job is one key on its way to the manifest.
type job struct {
	now   listed
	prior *manifest.Entry // the same object in the last manifest, if it is the same
	done  chan error      // closed or given the error when entry is final
	entry manifest.Entry
	state int
}

const (
	moved = iota
	reused
	vanished
)

func (s *snapshot) run(ctx context.Context, listing iter.Seq2[listed, error], last iter.Seq2[manifest.Entry, error], w io.Writer) error {
	g, ctx := errgroup.WithContext(ctx)
	work, queue := make(chan *job), make(chan *job, window)
	g.Go(func() error {
		defer close(queue)
		defer close(work)

		return s.plan(ctx, listing, last, work, queue)
	})

	for range parallel {
		g.Go(func() error {
			for j := range work {
				err := s.ensureStored(ctx, j)
				j.done <- err

				if err != nil {
					return err
				}
			}

			return nil
		})
	}

	g.Go(func() error { return s.write(ctx, queue, w) })

	return g.Wait()
}

// plan merges the listing with the last manifest and hands out jobs, first to
// the writer's queue, which is the bound on memory, then to the workers.
func (s *snapshot) plan(ctx context.Context, listing iter.Seq2[listed, error], last iter.Seq2[manifest.Entry, error], work, queue chan<- *job) error {
	for p, err := range merge.Join(listing, last, listedKey, entryKey) {
		if err != nil {
			return err
		}

		if p.Left == nil {
			s.stats.DeletedSinceLast++
			continue
		}

		j := &job{now: *p.Left, done: make(chan error, 1)}
		if p.Right != nil && same(*p.Left, *p.Right) {
			j.prior = p.Right
		}

		for _, c := range []chan<- *job{queue, work} {
			select {
			case c <- j:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}

	return nil
}

// same reports whether a listed object is surely the one in the manifest.
func same(l listed, e manifest.Entry) bool {
	if !l.mutable() {
		return l.VersionID == e.VersionID // a version never changes
	}

	return l.ETag != "" && l.ETag == e.ETag && l.Size == e.Size && l.Modified.Equal(e.Modified) && l.VersionID == e.VersionID
}

// ensureStored makes sure that the vault has the object, and fills the entry.
func (s *snapshot) ensureStored(ctx context.Context, j *job) error {
	if j.prior != nil {
		// Retention may have dropped what only an abandoned cut named.
		ok, err := s.to.HasObject(ctx, j.prior.SHA256)
		if err != nil {
			return err
		}

		if ok {
			j.entry, j.state = *j.prior, reused
			return nil
		}
	}

	now, tries := j.now, again(fail.Unavailable, fail.Stalled, fail.Conflict, fail.NotFound).Start()
	for {
		e, err := s.fetch(ctx, now)
		if err == nil {
			j.entry, j.state = e, moved
			return nil
		}

		if ctx.Err() != nil {
			return err
		}

		if changed(err) {
			if s.versioned && !now.mutable() {
				return fail.New(fail.Conflict, "s3: snapshot", s.subject(now.Key),
					"repeat the cut; if it happens again, a lifecycle rule removes noncurrent versions too soon",
					fmt.Errorf("version %s was removed while the snapshot was read: %w", now.VersionID, err))
			}

			fresh, ok, herr := s.headObject(ctx, now.Key)
			if herr != nil {
				return herr
			}

			if !ok {
				j.state = vanished
				return nil
			}
			now = fresh
		}

		if err := tries.Again(ctx, err); err != nil {
			return err
		}
	}
}

// changed reports whether an object is no longer what was listed.
func changed(err error) bool { return fail.Is(err, fail.Conflict) || fail.Is(err, fail.NotFound) }

// headObject asks what an object is now; ok is false when it is gone.
func (s *snapshot) headObject(ctx context.Context, key string) (listed, bool, error) {
	out, err := s.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: s.name, Key: &key})
	if code, _ := s3client.Status(err); code == http.StatusNotFound {
		return listed{}, false, nil
	}

	if err != nil {
		return listed{}, false, s.fail(ctx, "look up", key, err)
	}

	return listed{Key: key, ETag: aws.ToString(out.ETag), Size: aws.ToInt64(out.ContentLength), Modified: aws.ToTime(out.LastModified).UTC()}, true, nil
}

// fetch reads one object into the vault. One that can be overwritten is read
// only while it is still the listed one.
func (s *snapshot) fetch(ctx context.Context, l listed) (manifest.Entry, error) {
	in := &awss3.GetObjectInput{Bucket: s.name, Key: &l.Key}
	if l.VersionID != "" {
		in.VersionId = &l.VersionID
	}

	if l.mutable() && l.ETag != "" {
		in.IfMatch = &l.ETag
	}

	out, err := s.GetObject(ctx, in)
	if err != nil {
		return manifest.Entry{}, s.fail(ctx, "read", l.Key, err)
	}
	defer out.Body.Close()
	body := &watched{r: out.Body}

	sha, size, err := s.to.PutObject(ctx, body)
	if body.err != nil {
		return manifest.Entry{}, s.fail(ctx, "read", l.Key, body.err)
	}

	if err != nil {
		return manifest.Entry{}, err
	}

	if size != l.Size {
		code := fail.Corrupt
		if l.mutable() && in.IfMatch == nil {
			code = fail.Conflict // it may have been overwritten in between
		}

		return manifest.Entry{}, fail.Newf(code, "s3: read", s.subject(l.Key), "the listing says %d bytes, %d were read", l.Size, size)
	}

	e := headers(out)
	e.Key, e.VersionID, e.Size, e.ETag, e.SHA256, e.Modified = l.Key, l.VersionID, size, l.ETag, sha, l.Modified

	return e, nil
}

// headers are what is kept of an object beside its content.
func headers(out *awss3.GetObjectOutput) manifest.Entry {
	return manifest.Entry{
		ContentType: aws.ToString(out.ContentType), Metadata: out.Metadata, CacheControl: aws.ToString(out.CacheControl),
		ContentEncoding: aws.ToString(out.ContentEncoding), ContentLanguage: aws.ToString(out.ContentLanguage),
		ContentDisposition: aws.ToString(out.ContentDisposition), Expires: aws.ToString(out.ExpiresString),
		NotKept: notKept(out),
	}
}

// watched remembers the reader's own error, to tell it from the sink's.
type watched struct {
	r   io.Reader
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}

	return n, err
}

// write puts finished entries into the manifest in the order of their keys.
func (s *snapshot) write(ctx context.Context, queue <-chan *job, w io.Writer) error {
	m := manifest.NewWriter(w)

	local := func(err error) error {
		if err == nil {
			return nil
		}

		return fail.New(fail.Exhausted, "s3: write manifest", s.in.String(), "free space for temporary files", err)
	}
	for j := range queue {
		select {
		case err := <-j.done:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}

		if j.state == vanished {
			continue
		}

		s.stats.Objects++

		s.stats.Bytes += j.entry.Size
		if j.state == reused {
			s.stats.ReusedObjects++
		} else {
			s.stats.NewObjects++
			s.stats.NewBytes += j.entry.Size
		}

		if s.progress != nil { // what is deleted is counted elsewhere, at the same time
			s.progress(targets.SnapshotStats{Objects: s.stats.Objects, Bytes: s.stats.Bytes, NewObjects: s.stats.NewObjects,
				NewBytes: s.stats.NewBytes, ReusedObjects: s.stats.ReusedObjects})
		}

		if err := m.Add(j.entry); err != nil {
			return local(err)
		}
	}
	// A queue that was closed early belongs to a failed plan, whose error wins.
	if ctx.Err() != nil {
		return ctx.Err()
	}

	return local(m.Flush())
}
