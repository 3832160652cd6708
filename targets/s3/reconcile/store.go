package reconcile

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"iter"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"drctl/internal/fail"
	"drctl/internal/manifest"
	"drctl/internal/s3client"
	"drctl/targets/reconciliation"
)

const (
	// partSize is the least size of parts; objects up to it go up in one piece.
	partSize = 8 << 20
	// anyVersion bounds what is asked of one key: its newest version comes first.
	anyVersion = 50
	// cleanUp bounds the removal of what a trial has put.
	cleanUp = 30 * time.Second
)

// Store is a bucket of an S3 server. The driver says how it is listed, and what its errors mean.
type Store struct {
	Client *awss3.Client
	// Region names the side; keys begin with Prefix.
	Region, Bucket, Prefix string
	// Versioned says that it keeps versions, and so shows what was deleted.
	Versioned bool
	Listing   func(ctx context.Context) iter.Seq2[Object, error]
	// Headers are what is kept of an object beside its content, and Input makes a write of them.
	Headers func(*awss3.GetObjectOutput) manifest.Entry
	Input   func(manifest.Entry, *string) *awss3.PutObjectInput
	Fail    func(ctx context.Context, op, key string, err error) error

	// parts is why nothing is put in parts.
	parts error
}

var _ Bucket = (*Store)(nil)

// Name is the region.
func (s *Store) Name() string { return s.Region }

// List lists what is there now.
func (s *Store) List(ctx context.Context) iter.Seq2[Object, error] { return s.Listing(ctx) }

// Stat asks what an object is now.
func (s *Store) Stat(ctx context.Context, key string) (Object, bool, error) {
	out, err := s.Client.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: &s.Bucket, Key: &key})
	if err = s.Fail(ctx, "look up", key, err); fail.Is(err, fail.NotFound) {
		return Object{}, false, nil
	}

	if err != nil {
		return Object{}, false, err
	}

	return Object{Key: key, State: reconciliation.State{ETag: aws.ToString(out.ETag), Size: aws.ToInt64(out.ContentLength), Modified: aws.ToTime(out.LastModified).UTC()}}, true, nil
}

// Absent asks what the bucket shows of a key that it does not have.
func (s *Store) Absent(ctx context.Context, key string) (Absence, error) {
	if !s.Versioned {
		return Unknown, nil
	}

	out, err := s.Client.ListObjectVersions(ctx, &awss3.ListObjectVersionsInput{Bucket: &s.Bucket, Prefix: &key, MaxKeys: aws.Int32(anyVersion), EncodingType: types.EncodingTypeUrl})
	if err != nil {
		return Unknown, s.Fail(ctx, "list versions", key, err)
	}

	is := func(k *string) bool {
		name := aws.ToString(k)
		if out.EncodingType == types.EncodingTypeUrl {
			if d, err := url.QueryUnescape(name); err == nil {
				name = d
			}
		}

		return name == key
	}

	found := Never
	for _, v := range out.Versions {
		if is(v.Key) {
			found = Deleted

			if aws.ToBool(v.IsLatest) {
				return Present, nil
			}
		}
	}

	for _, m := range out.DeleteMarkers {
		if is(m.Key) {
			found = Deleted
		}
	}

	return found, nil
}

// get reads an object as long as it is the one that was listed.
func (s *Store) get(ctx context.Context, o Object) (*awss3.GetObjectOutput, error) {
	in := &awss3.GetObjectInput{Bucket: &s.Bucket, Key: &o.Key}
	if o.ETag != "" {
		in.IfMatch = &o.ETag
	}

	out, err := s.Client.GetObject(ctx, in)

	return out, s.Fail(ctx, "read", o.Key, err)
}

// Sum reads an object and returns the SHA-256 of its content.
func (s *Store) Sum(ctx context.Context, o Object) (string, error) {
	out, err := s.get(ctx, o)
	if err != nil {
		return "", err
	}
	defer out.Body.Close()

	h := sha256.New()

	n, err := io.Copy(h, out.Body)
	if err != nil {
		return "", s.Fail(ctx, "read", o.Key, err)
	}

	if n != o.Size {
		return "", fail.Newf(fail.Conflict, op, o.Key, "%d bytes were read in %s, and the listing says %d", n, s.Region, o.Size)
	}

	return hex.EncodeToString(h.Sum(nil)), nil
}

// Open begins to read an object.
func (s *Store) Open(ctx context.Context, o Object) (Content, error) {
	out, err := s.get(ctx, o)
	if err != nil {
		return Content{}, err
	}
	e := s.Headers(out)
	e.Key, e.Size = o.Key, o.Size

	return Content{Body: out.Body, Size: o.Size, Entry: e}, nil
}

// Create puts an object where there is none. It appears whole, or not at all.
func (s *Store) Create(ctx context.Context, key string, c Content) (string, error) {
	in := s.Input(c.Entry, &s.Bucket)
	in.Key, in.IfNoneMatch = &key, aws.String("*")
	body := s3client.Measure(c.Body, c.Size, func(n int64, _ string) error {
		if n == c.Size {
			return nil
		}

		return fail.Newf(fail.Conflict, op, key, "%d bytes were read of %d", n, c.Size)
	})

	var err error

	if c.Size > partSize {
		if s.parts != nil {
			return "", s.parts
		}
		err = s3client.Upload(ctx, s.Client, in, 1, s3client.StreamParts(body, s3client.PartSize(c.Size, partSize)))
	} else {
		var buf bytes.Buffer
		buf.Grow(int(c.Size) + bytes.MinRead)

		if _, err = buf.ReadFrom(body); err == nil {
			err = s3client.Put(ctx, s.Client, in, bytes.NewReader(buf.Bytes()), int64(buf.Len()))
		}
	}

	if body.Err != nil {
		err = body.Err
	}

	return body.SHA256(), s.Fail(ctx, "write", key, err)
}

// Delete deletes an object while it is the one that was listed.
func (s *Store) Delete(ctx context.Context, o Object) error {
	now, ok, err := s.Stat(ctx, o.Key)
	if err != nil {
		return err
	}

	if !ok || now.ETag != o.ETag || now.Size != o.Size {
		return fail.Newf(fail.Conflict, op, o.Key, "it has changed in %s meanwhile", s.Region)
	}

	in := &awss3.DeleteObjectInput{Bucket: &s.Bucket, Key: &o.Key}
	if o.ETag != "" { // servers that do not know it take no notice
		in.IfMatch = &o.ETag
	}
	_, err = s.Client.DeleteObject(ctx, in)

	return s.Fail(ctx, "delete", o.Key, err)
}

// Trial puts a small object of its own, and shows that a second one does not get its place.
func (s *Store) Trial(ctx context.Context) (err error) {
	key := s.Prefix + ".drctl-trial-" + strings.ToLower(rand.Text())

	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
		defer cancel()

		err = errors.Join(err, s.Fail(stop, "remove the trial", key, s.forget(stop, key)))
	}()

	put := func(body string) error {
		in := &awss3.PutObjectInput{Bucket: &s.Bucket, Key: &key, IfNoneMatch: aws.String("*")}
		return s3client.Put(ctx, s.Client, in, strings.NewReader(body), int64(len(body)))
	}

	if err := put("one"); err != nil {
		return s.Fail(ctx, "write", key, err)
	}

	if err := s.kept(ctx, key, put("two")); err != nil {
		return err
	}

	in := &awss3.PutObjectInput{Bucket: &s.Bucket, Key: &key, IfNoneMatch: aws.String("*")}

	s.parts = s.kept(ctx, key, s3client.Upload(ctx, s.Client, in, 1, s3client.StreamParts(strings.NewReader("three"), partSize)))

	return nil
}

// forget removes an object with all its versions.
func (s *Store) forget(ctx context.Context, key string) error {
	if !s.Versioned {
		_, err := s.Client.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &s.Bucket, Key: &key})
		return err
	}

	out, err := s.Client.ListObjectVersions(ctx, &awss3.ListObjectVersionsInput{Bucket: &s.Bucket, Prefix: &key})
	if err != nil {
		return err
	}

	for _, v := range out.Versions {
		if _, err := s.Client.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &s.Bucket, Key: v.Key, VersionId: v.VersionId}); err != nil {
			return err
		}
	}

	return nil
}

// kept is nil when a second write was refused because there was a first.
func (s *Store) kept(ctx context.Context, key string, err error) error {
	if err = s.Fail(ctx, "write", key, err); fail.Is(err, fail.Conflict) {
		return nil
	}

	if err != nil && fail.Retryable(err) {
		return err
	}

	return fail.New(fail.Unsupported, op, s.Region+" bucket "+s.Bucket, "use a server that knows conditional writes (If-None-Match: *)",
		errors.Join(errors.New("the server overwrites an object although it is told not to, or does not know how: nothing is copied there"), err))
}
