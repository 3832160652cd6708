package vault

import (
	"bytes"
	"context" //nolint:gosec // a checksum that S3 asks for, not a protection
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"drctl/internal/fail"
	"drctl/internal/s3client"
)

// s3Store keeps objects in a bucket of any S3 server that honours
// If-None-Match on PutObject and CompleteMultipartUpload.
type s3Store struct {
	c              *s3.Client
	bucket, prefix string
}

const (
	singlePut   = 16 << 20 // larger files go up in parts
	partSize    = 16 << 20
	partsAtOnce = 3
)

func newS3Store(ctx context.Context, l Location, p place) (*s3Store, error) {
	region := l.Region
	if region == "" {
		region = s3client.DefaultRegion // as restic, whatever the environment says
	}
	// Every call of a vault is repeatable: it may retry always.
	c, err := s3client.New(ctx, s3client.Options{
		Endpoint: l.Endpoint, Region: region, AccessKey: l.AccessKey, SecretKey: l.SecretKey.Reveal(),
		Connections: 64, RetryAlways: true,
	})
	if err != nil {
		return nil, fail.New(fail.Denied, "vault: credentials", l.URL, "give an access key and a secret key", err)
	}
	return &s3Store{c: c, bucket: p.bucket, prefix: p.prefix}, nil
}

func (s *s3Store) URL() string {
	return strings.TrimSuffix("s3://"+s.bucket+"/"+s.prefix, "/")
}

func (s *s3Store) name(key string) (*string, error) {
	if err := validKey(key); err != nil {
		return nil, err
	}
	return aws.String(s.prefix + key), nil
}

func (s *s3Store) Put(ctx context.Context, key string, body []byte) error {
	return s.create(ctx, key, func(in s3.PutObjectInput) error {
		return s3client.Put(ctx, s.c, &in, bytes.NewReader(body), int64(len(body)))
	})
}

func (s *s3Store) PutFile(ctx context.Context, key, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fail.From(fail.Exhausted, "vault: write", key, err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fail.From(fail.Exhausted, "vault: write", key, err)
	}
	if st.Size() > singlePut {
		// Ask first: a conflict found at completion would cost the whole upload.
		if _, err := s.Stat(ctx, key); err == nil {
			return fail.New(fail.Conflict, "vault: write", s.URL()+"/"+key, "", os.ErrExist)
		} else if !fail.Is(err, fail.NotFound) {
			return err
		}
	}
	return s.create(ctx, key, func(in s3.PutObjectInput) error {
		if st.Size() <= singlePut {
			return s3client.Put(ctx, s.c, &in, io.NewSectionReader(f, 0, st.Size()), st.Size())
		}
		step := s3client.PartSize(st.Size(), partSize)
		return s3client.Upload(ctx, s.c, &in, partsAtOnce, s3client.FileParts(f, st.Size(), step))
	})
}

// create runs put with a request under the condition that the key is free, and
// makes sure that a refusal means that the object is there.
func (s *s3Store) create(ctx context.Context, key string, put func(s3.PutObjectInput) error) error {
	name, err := s.name(key)
	if err != nil {
		return err
	}
	free := aws.String("*")
	for try := 0; ; try++ {
		err := s.fail(ctx, "write", key, put(s3.PutObjectInput{Bucket: &s.bucket, Key: name, IfNoneMatch: free}))
		// A server that refuses before it has read a large body may cut the
		// connection, and its answer is lost.
		cut := free != nil && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE))
		if !fail.Is(err, fail.Conflict) && !cut || try == 3 {
			return err
		}
		switch _, e := s.Stat(ctx, key); {
		case fail.Is(e, fail.NotFound):
		case e == nil && cut:
			return fail.New(fail.Conflict, "vault: write", s.URL()+"/"+key, "", os.ErrExist)
		default:
			return err
		}
		// Refused and yet absent: another conditional write was under way and
		// failed, or the server takes a delete marker for an object. What
		// retention deleted may come back from another vault, and is the same;
		// for anything else the condition is all that keeps two writers apart.
		if try == 2 && !comesBack(key) {
			if cut {
				return err
			}
			return fail.New(fail.Unsupported, "vault: write", s.URL()+"/"+key,
				"the S3 server must honour If-None-Match for a key whose object was deleted; by hand, remove the key's versions and repeat", err)
		} else if try == 2 {
			free = nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *s3Store) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	name, err := s.name(key)
	if err != nil {
		return nil, err
	}
	out, err := s.c.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: name})
	if err != nil {
		return nil, s.fail(ctx, "read", key, err)
	}
	return &s3Body{ctx: ctx, s: s, name: name, key: key, etag: out.ETag, body: out.Body, size: aws.ToInt64(out.ContentLength)}, nil
}

// s3Body goes on where a broken connection left off, as long as the object is
// still the one that was opened.
type s3Body struct {
	ctx       context.Context // of the Get: the body belongs to that call
	s         *s3Store
	name      *string
	key       string
	etag      *string
	body      io.ReadCloser
	off, size int64
	resumed   int
	mu        sync.Mutex // Close may come from another goroutine than Read
}

func (b *s3Body) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	b.off += int64(n)
	if err == io.EOF && b.off < b.size {
		err = io.ErrUnexpectedEOF
	}
	if err == nil || err == io.EOF {
		return n, err
	}
	if b.ctx.Err() != nil || b.resumed >= 3 {
		return n, b.s.fail(b.ctx, "read", b.key, err)
	}
	b.resumed++
	out, rerr := b.s.c.GetObject(b.ctx, &s3.GetObjectInput{
		Bucket: &b.s.bucket, Key: b.name, IfMatch: b.etag, Range: aws.String(fmt.Sprintf("bytes=%d-", b.off)),
	})
	if rerr != nil {
		return n, b.s.fail(b.ctx, "read", b.key, errors.Join(err, rerr))
	}
	b.mu.Lock()
	_ = b.body.Close()
	b.body = out.Body
	b.mu.Unlock()
	return n, nil
}

func (b *s3Body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.body.Close()
}

func (s *s3Store) Stat(ctx context.Context, key string) (Info, error) {
	name, err := s.name(key)
	if err != nil {
		return Info{}, err
	}
	out, err := s.c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: name})
	if err != nil {
		return Info{}, s.fail(ctx, "look up", key, err)
	}
	return Info{Key: key, Size: aws.ToInt64(out.ContentLength), Modified: aws.ToTime(out.LastModified)}, nil
}

func (s *s3Store) List(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		in := &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: aws.String(s.prefix + prefix)}
		if after != "" {
			in.StartAfter = aws.String(s.prefix + after)
		}
		for {
			out, err := s.c.ListObjectsV2(ctx, in)
			if err != nil {
				yield(Info{}, s.fail(ctx, "list", prefix, err))
				return
			}
			for _, o := range out.Contents {
				key, ok := strings.CutPrefix(aws.ToString(o.Key), s.prefix)
				if !ok || key <= after || validKey(key) != nil {
					continue // folder markers and what others put there
				}
				if !yield(Info{Key: key, Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified)}, nil) {
					return
				}
			}
			if !aws.ToBool(out.IsTruncated) || out.NextContinuationToken == nil {
				return
			}
			in.ContinuationToken = out.NextContinuationToken
		}
	}
}

// Folders asks the server to fold what is in a folder into one answer.
func (s *s3Store) Folders(ctx context.Context, prefix string) ([]string, error) {
	in := &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: aws.String(s.prefix + prefix), Delimiter: aws.String("/")}
	var out []string
	for {
		page, err := s.c.ListObjectsV2(ctx, in)
		if err != nil {
			return nil, s.fail(ctx, "list", prefix, err)
		}
		for _, p := range page.CommonPrefixes {
			name, ok := strings.CutPrefix(strings.TrimSuffix(aws.ToString(p.Prefix), "/"), s.prefix+prefix)
			if ok && validKey(name) == nil {
				out = append(out, name)
			}
		}
		if !aws.ToBool(page.IsTruncated) || page.NextContinuationToken == nil {
			slices.Sort(out) // the server sorts "a/" and "a-/" by their slashes
			return out, nil
		}
		in.ContinuationToken = page.NextContinuationToken
	}
}

// sweep ends multipart uploads that writers that were killed left open: they
// are not visible and cost money.
func (s *s3Store) sweep(ctx context.Context, before time.Time) error {
	in := &s3.ListMultipartUploadsInput{Bucket: &s.bucket, Prefix: &s.prefix}
	for {
		out, err := s.c.ListMultipartUploads(ctx, in)
		if err != nil {
			return s.fail(ctx, "sweep", "", err)
		}
		for _, u := range out.Uploads {
			if !aws.ToTime(u.Initiated).Before(before) {
				continue
			}
			_, err := s.c.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: u.Key, UploadId: u.UploadId})
			if err = s.fail(ctx, "sweep", aws.ToString(u.Key), err); err != nil && !fail.Is(err, fail.NotFound) {
				return err
			}
		}
		if !aws.ToBool(out.IsTruncated) {
			return nil
		}
		in.KeyMarker, in.UploadIdMarker = out.NextKeyMarker, out.NextUploadIdMarker
	}
}

func (s *s3Store) Delete(ctx context.Context, key string) error {
	name, err := s.name(key)
	if err != nil {
		return err
	}
	_, err = s.c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: name})
	if err = s.fail(ctx, "delete", key, err); fail.Is(err, fail.NotFound) {
		return nil
	}
	return err
}

// hints are what the owner of a vault can do about a refusal.
var hints = s3client.Hints{
	Bucket:        "make the bucket, or correct the vault's URL",
	Keys:          "check the access key and the secret key of the vault",
	Access:        "allow this access key to list, read and write the vault's prefix",
	Unimplemented: "the S3 server must honour If-None-Match on puts",
}

// fail maps what the SDK reports to a code; nil stays nil. ctx is that of the
// call.
func (s *s3Store) fail(ctx context.Context, op, key string, err error) error {
	return s3client.Fail(ctx, "vault: "+op, s.URL()+"/"+key, hints, err)
}
