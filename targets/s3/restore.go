package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"drctl/internal/fail"
	"drctl/internal/manifest"
	"drctl/internal/s3client"
	"drctl/internal/servers"
	"drctl/targets"
	"drctl/targets/s3/merge"
)

const (
	// partSize is the least size of parts; objects up to it go up in one piece.
	partSize = 8 << 20
	// uploadMemory bounds the bytes that uploads hold.
	uploadMemory = 128 << 20
	// mark is the bucket tag under which a restore that was broken off is
	// known again; it is removed at the end.
	mark = "drctl-restore"
)

// Restore fills an absent or empty bucket from the manifest that
// req.Point.Manifest names. A sandbox instance with a DataDir gets an S3 server
// of its own there; the outcome says how it is reached. It runs on when the
// restore succeeds, and is stopped when it does not.
//
// It refuses a bucket that holds objects with code conflict. There are two
// exceptions: a bucket that is equal to the manifest already, and one that an
// earlier call for the same manifest, without req.Delta, did not finish and that
// holds nothing but what that call put there.
//
// With req.Delta an existing bucket is made equal to the manifest: surplus
// objects are deleted. Equal objects are left; they are read to be sure.
func (d *Driver) Restore(ctx context.Context, in targets.Instance, req targets.RestoreRequest, from targets.Source) (out targets.Outcome, err error) {
	const op = "s3: restore"

	out = targets.Outcome{Phases: map[string]time.Duration{}}
	if req.Point.Manifest == "" {
		return out, fail.New(fail.Invalid, op, in.String(), "choose a sealed cut", errors.New("the point names no object manifest"))
	}

	phase := func(name string, f func() error) error {
		begin := d.opt.Now()
		err := f()
		out.Phases[name] += d.opt.Now().Sub(begin)

		return err
	}
	if in.Role == targets.Sandbox && in.DataDir != "" {
		var server servers.Server

		if err := phase("start", func() (err error) { in, server, err = d.startServer(ctx, in); return err }); err != nil {
			return out, err
		}
		defer func() {
			if err != nil { // nobody would know of it
				stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
				defer cancel()

				if serr := server.Stop(stop); serr != nil {
					err = errors.Join(err, serr)
				}
			}
		}()
		out.Pid, out.Address, out.User, out.Password, out.Database = server.Pid, in.Address, in.User, in.Password, in.Database
	}

	b, err := open(ctx, in)
	if err != nil {
		return out, err
	}
	defer b.close()

	r := &restoration{bucket: b, from: from, req: req, lost: losses{}, memory: semaphore.NewWeighted(uploadMemory)}
	if err := phase("prepare", func() error { return r.prepare(ctx) }); err != nil {
		return out, err
	}

	if err := phase("objects", func() error { return r.run(ctx) }); err != nil {
		return out, err
	}

	if err := phase("finish", func() error { return r.unmark(ctx) }); err != nil {
		return out, err
	}

	out.Bytes, out.Findings = r.bytes.Load(), append(r.lost.findings(in.String()), r.keepVersions(ctx)...)
	if r.odd != nil {
		out.Bytes += r.odd.bytes.Load()
	}
	out.Findings = append(out.Findings, r.oddFindings()...)
	out.Reached = targets.Position{Kind: targets.S3, AsOf: req.Point.AsOf, Manifest: req.Point.Manifest}

	return out, nil
}

// startServer starts an S3 server in the instance's DataDir and returns how it
// is reached. Address and keys are made up where the instance names none.
func (d *Driver) startServer(ctx context.Context, in targets.Instance) (targets.Instance, servers.Server, error) {
	const op = "s3: start sandbox server"

	port := 0
	if in.Address != "" {
		var err error

		var host string
		if host, port, err = hostPort(in.Address); err != nil || host != "127.0.0.1" && host != "localhost" {
			return in, servers.Server{}, fail.Newf(fail.Invalid, op, in.String(), "a sandbox listens on 127.0.0.1 and a port")
		}
	}

	entries, err := os.ReadDir(in.DataDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return in, servers.Server{}, fail.FromOS(op, in.DataDir, err)
	}

	for _, e := range entries {
		if !e.IsDir() || e.Name() != "data" && e.Name() != "versions" && e.Name() != "meta" {
			return in, servers.Server{}, fail.New(fail.Conflict, op, in.DataDir, "name an empty directory", fmt.Errorf("not empty: it holds %q", e.Name()))
		}
	}

	if in.User == "" {
		secret := make([]byte, 24)
		if _, err := rand.Read(secret); err != nil {
			return in, servers.Server{}, fail.New(fail.Internal, op, in.DataDir, "", err)
		}
		in.User, in.Password = "drctl", targets.NewSecret(hex.EncodeToString(secret))
	}
	p, err := d.opt.Tools.StartS3(ctx, servers.S3Spec{Name: in.Shard.String(), Dir: in.DataDir, Port: port, AccessKey: in.User, SecretKey: in.Password, Detached: d.opt.Detached})
	in.Address = "http://" + p.Address

	return in, p, err
}

func hostPort(address string) (string, int, error) {
	u, err := url.Parse(s3client.URL(address))
	if err != nil {
		return "", 0, err
	}

	host, p, err := net.SplitHostPort(u.Host)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.Atoi(p)

	return host, port, err
}

// restoration is one run of Restore.
type restoration struct {
	*bucket
	from   targets.Source
	req    targets.RestoreRequest
	memory *semaphore.Weighted
	bytes  atomic.Int64
	// resume says that the bucket's objects were put by an earlier call.
	resume, marked bool
	// made says that this call made the bucket, versioned that the source kept
	// versions; lost counts what the objects had and do not get back.
	made, versioned bool
	lost            losses
	// odd restores the objects whose keys a sandbox's server cannot hold.
	odd        *restoration
	oddObjects int64
	oddFirst   string
	tags       []types.Tag // the bucket's own
}

// prepare makes the bucket, or checks that it may be written to.
func (r *restoration) prepare(ctx context.Context) error {
	_, err := r.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: r.name})
	if code, _ := s3client.Status(err); code == http.StatusNotFound {
		_, err = r.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: r.name})
		r.made = err == nil
	}

	if err != nil {
		return r.fail(ctx, "prepare bucket", "", err)
	}

	taggable, err := r.readTags(ctx)
	if err != nil || r.req.Delta {
		return err // a delta may always be repeated, and nothing else goes on from one
	}

	for _, err := range r.current(ctx) {
		if err != nil {
			return err
		}

		if r.resume = r.marked; r.resume {
			break
		}

		if r.resume, err = r.looksEqual(ctx); err != nil || r.resume {
			return err
		}

		return fail.New(fail.Conflict, "s3: restore", r.subject(""), "name an empty bucket, or ask for a delta restore",
			errors.New("the bucket is not empty"))
	}

	if !taggable || r.marked {
		return nil
	}
	_, err = r.PutBucketTagging(ctx, &awss3.PutBucketTaggingInput{Bucket: r.name, Tagging: &types.Tagging{
		TagSet: append(slices.Clone(r.tags), types.Tag{Key: aws.String(mark), Value: aws.String(r.req.Point.Manifest)})}})
	// Without tags a restore that breaks off has to begin with an empty bucket again.
	if code := s3client.Code(ctx, err); err != nil && code != fail.Unsupported && code != fail.Denied {
		return r.fail(ctx, "mark bucket", "", err)
	}
	r.marked = err == nil

	return nil
}

// looksEqual reports whether the bucket has the manifest's keys in their sizes,
// no more and no less. Contents are compared later, object by object.
func (r *restoration) looksEqual(ctx context.Context) (bool, error) {
	m, err := r.from.Manifest(ctx, r.req.Point.Manifest)
	if err != nil {
		return false, err
	}
	defer m.Close()

	for p, err := range merge.Join(r.current(ctx), manifest.Entries(m, "manifest "+r.req.Point.Manifest), listedKey, entryKey) {
		if err != nil {
			return false, err
		}

		if p.Left == nil || p.Right == nil || p.Left.Size != p.Right.Size {
			return false, nil
		}
	}

	return true, nil
}

// readTags keeps the bucket's own tags and looks for the mark of an earlier
// call for the same manifest. ok is false when the store has no tags for us.
func (r *restoration) readTags(ctx context.Context) (ok bool, err error) {
	out, err := r.GetBucketTagging(ctx, &awss3.GetBucketTaggingInput{Bucket: r.name})
	if err != nil {
		switch code := s3client.Code(ctx, err); code {
		case fail.NotFound: // there are none
			return true, nil
		case fail.Unsupported, fail.Denied:
			return false, nil
		}

		return false, r.fail(ctx, "read tags", "", err)
	}

	for _, t := range out.TagSet {
		if aws.ToString(t.Key) != mark {
			r.tags = append(r.tags, t)
		} else if aws.ToString(t.Value) == r.req.Point.Manifest {
			r.marked = true
		}
	}

	return true, nil
}

func (r *restoration) unmark(ctx context.Context) (err error) {
	switch {
	case !r.marked:
	case len(r.tags) > 0:
		_, err = r.PutBucketTagging(ctx, &awss3.PutBucketTaggingInput{Bucket: r.name, Tagging: &types.Tagging{TagSet: r.tags}})
	default:
		_, err = r.DeleteBucketTagging(ctx, &awss3.DeleteBucketTaggingInput{Bucket: r.name})
	}

	return r.fail(ctx, "unmark bucket", "", err)
}

// run puts every entry of the manifest, in parallel.
func (r *restoration) run(ctx context.Context) error {
	total, err := r.total(ctx)
	if err != nil {
		return err
	}

	if err := r.putAside(ctx); err != nil {
		return err
	}

	m, err := r.from.Manifest(ctx, r.req.Point.Manifest)
	if err != nil {
		return err
	}
	defer m.Close()
	var placing placer

	present := iter.Seq2[listed, error](func(func(listed, error) bool) {})
	if r.req.Delta || r.resume {
		present = r.current(ctx)
	}
	var done atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)

	for p, err := range merge.Join(present, manifest.Entries(m, "manifest "+r.req.Point.Manifest), listedKey, entryKey) {
		if err != nil {
			g.Go(func() error { return err })
			break
		}

		if gctx.Err() != nil {
			break
		}
		odd := r.odd != nil && p.Right != nil && placing.odd(*p.Right)
		g.Go(func() error {
			if odd {
				err := r.odd.entry(gctx, place(*p.Right), nil)
				r.req.Progress.Report("restore objects", done.Add(p.Right.Size), total)

				return err
			}

			if p.Right == nil {
				return r.surplus(gctx, p.Left.Key)
			}

			if err := r.entry(gctx, *p.Right, p.Left); err != nil {
				return err
			}

			r.req.Progress.Report("restore objects", done.Add(p.Right.Size), total)

			return nil
		})
	}

	if err := g.Wait(); err != nil {
		return err
	}

	return ctx.Err()
}

// total reads the manifest through: its end is where damage shows, and nothing
// is written from a damaged one.
func (r *restoration) total(ctx context.Context) (int64, error) {
	m, err := r.from.Manifest(ctx, r.req.Point.Manifest)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	var total int64

	var p placer
	for e, err := range manifest.Entries(m, "manifest "+r.req.Point.Manifest) {
		if err != nil {
			return 0, err
		}
		total += e.Size
		r.lost.add(e)

		if r.in.Role == targets.Sandbox && p.odd(e) {
			if r.oddObjects++; r.oddObjects == 1 {
				r.oddFirst = e.Key
			}
		}
		r.versioned = r.versioned || e.VersionID != ""
	}

	return total, nil
}

func (r *restoration) surplus(ctx context.Context, key string) error {
	if !r.req.Delta {
		return fail.New(fail.Conflict, "s3: restore", r.subject(key), "name an empty bucket", errors.New("somebody else writes to the bucket"))
	}
	_, err := r.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: r.name, Key: &key})

	return r.fail(ctx, "delete surplus object", key, err)
}

// entry makes one object of the bucket what the manifest says.
func (r *restoration) entry(ctx context.Context, e manifest.Entry, have *listed) error {
	if have != nil {
		diff := fmt.Sprintf("it has %d bytes", have.Size)
		if have.Size == e.Size {
			var err error
			if diff, err = r.compare(ctx, e); err != nil || diff == "" {
				return err
			}
		}

		if !r.req.Delta { // what the call that this one goes on from put is whole
			return fail.New(fail.Conflict, "s3: restore", r.subject(e.Key), "name an empty bucket, or ask for a delta restore",
				fmt.Errorf("somebody else wrote the object: %s", diff))
		}
	}

	body, err := r.from.Object(ctx, e.SHA256)
	if err != nil {
		return err
	}
	defer body.Close()

	checked := s3client.Measure(body, e.Size, func(n int64, sha string) error {
		if n == e.Size && sha == e.SHA256 {
			return nil
		}

		return fail.Newf(fail.Corrupt, "s3: restore", r.subject(e.Key), "the vault gave %d bytes with SHA-256 %s, the manifest says %d and %s", n, sha, e.Size, e.SHA256)
	})
	if e.Size <= partSize {
		err = r.putWhole(ctx, e, checked)
	} else {
		err = r.putParts(ctx, e, checked)
	}

	if checked.Err != nil {
		return r.asFail(ctx, e.Key, checked.Err)
	}

	if err != nil {
		return r.fail(ctx, "write", e.Key, err)
	}

	r.bytes.Add(e.Size)

	return nil
}

func (r *restoration) asFail(ctx context.Context, key string, err error) error {
	return r.fail(ctx, "read from vault", key, err)
}

func (r *restoration) putWhole(ctx context.Context, e manifest.Entry, body io.Reader) error {
	if err := r.memory.Acquire(ctx, max(e.Size, 1)); err != nil {
		return err
	}
	defer r.memory.Release(max(e.Size, 1))
	var buf bytes.Buffer
	buf.Grow(int(e.Size) + bytes.MinRead)

	if _, err := buf.ReadFrom(body); err != nil {
		return err
	}

	return s3client.Put(ctx, r.Client, putInput(e, r.name), bytes.NewReader(buf.Bytes()), int64(buf.Len()))
}

func (r *restoration) putParts(ctx context.Context, e manifest.Entry, body io.Reader) error {
	size := s3client.PartSize(e.Size, partSize)

	held := min(size, uploadMemory)
	if err := r.memory.Acquire(ctx, held); err != nil {
		return err
	}
	defer r.memory.Release(held)

	return s3client.Upload(ctx, r.Client, putInput(e, r.name), 1, s3client.StreamParts(body, size))
}

// put is a request with everything but the content.
func putInput(e manifest.Entry, bucket *string) *awss3.PutObjectInput {
	opt := func(s string) *string {
		if s == "" {
			return nil
		}

		return &s
	}

	in := &awss3.PutObjectInput{Bucket: bucket, Key: aws.String(e.Key), ContentType: opt(e.ContentType), Metadata: e.Metadata,
		CacheControl: opt(e.CacheControl), ContentEncoding: opt(e.ContentEncoding), ContentLanguage: opt(e.ContentLanguage),
		ContentDisposition: opt(e.ContentDisposition)}
	if t, err := http.ParseTime(e.Expires); err == nil {
		in.Expires = &t
	}

	return in
}
