package vault

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // a checksum that S3 asks for, not a protection
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"golang.org/x/sync/errgroup"

	"drctl/internal/fail"
)

// s3Store keeps objects in a bucket of any S3 server that honours
// If-None-Match on PutObject and CompleteMultipartUpload.
type s3Store struct {
	c              *s3.Client
	bucket, prefix string
}

const (
	singlePut     = 16 << 20 // larger files go up in parts
	partSize      = 16 << 20
	partsAtOnce   = 3
	maxParts      = 10000
	defaultRegion = "us-east-1"
)

func newS3Store(ctx context.Context, l Location, p place) (*s3Store, error) {
	client := &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       30 * time.Second,
	}}
	region := l.Region
	if region == "" {
		region = defaultRegion
	}
	o := s3.Options{Region: region, UsePathStyle: true, HTTPClient: client}
	if l.AccessKey != "" {
		o.Credentials = credentials.NewStaticCredentialsProvider(l.AccessKey, l.SecretKey.Reveal(), "")
	} else {
		cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(region))
		if err != nil {
			return nil, fail.New(fail.Denied, "vault: credentials", l.URL, "give an access key and a secret key", err)
		}
		o.Credentials = cfg.Credentials
	}
	if l.Endpoint != "" {
		o.BaseEndpoint = aws.String(l.Endpoint)
	} else {
		o.UsePathStyle = false
	}
	// Every write carries Content-MD5 instead of the SDK's own checksum. Over
	// HTTPS the signature does not cover the payload, so that without a checksum
	// nothing shows that a server stores what was sent, and a bucket with object
	// lock refuses the write. Content-MD5 is what every S3 server has known from
	// the beginning; the SDK's CRC32 comes in a trailer of a body in chunks, which
	// many do not take. The bodies are in memory or in a file, so that the sum is
	// known beforehand. It is no protection against an attacker: the encryption is.
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	o.Retryer = retry.NewStandard(func(r *retry.StandardOptions) {
		r.MaxAttempts = 4
		r.MaxBackoff = 4 * time.Second
		// Every call is repeatable; the limiter would turn an outage of one
		// object into failures of all.
		r.RateLimiter = noLimit{}
	})
	return &s3Store{c: s3.New(o), bucket: p.bucket, prefix: p.prefix}, nil
}

type noLimit struct{}

func (noLimit) GetToken(context.Context, uint) (func() error, error) {
	return func() error { return nil }, nil
}
func (noLimit) AddTokens(uint) error { return nil }

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
	sum, err := contentMD5(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return s.create(ctx, key, func(name, free *string) error {
		_, err := s.c.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &s.bucket, Key: name, Body: bytes.NewReader(body), ContentMD5: sum,
			ContentLength: aws.Int64(int64(len(body))), IfNoneMatch: free,
		})
		return err
	})
}

// contentMD5 is the value of a Content-MD5 header, by which the server checks
// what arrives.
func contentMD5(r io.Reader) (*string, error) {
	h := md5.New()
	if _, err := io.Copy(h, r); err != nil {
		return nil, fail.From(fail.Exhausted, "vault: write", "", err)
	}
	return aws.String(base64.StdEncoding.EncodeToString(h.Sum(nil))), nil
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
	return s.create(ctx, key, func(name, free *string) error {
		if st.Size() > singlePut {
			return s.putParts(ctx, name, free, f, st.Size())
		}
		sum, err := contentMD5(io.NewSectionReader(f, 0, st.Size()))
		if err != nil {
			return err
		}
		_, err = s.c.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &s.bucket, Key: name, Body: io.NewSectionReader(f, 0, st.Size()), ContentMD5: sum,
			ContentLength: aws.Int64(st.Size()), IfNoneMatch: free,
		})
		return err
	})
}

// create runs put under the condition that the key is free, and makes sure
// that a refusal means that the object is there.
func (s *s3Store) create(ctx context.Context, key string, put func(name, free *string) error) error {
	name, err := s.name(key)
	if err != nil {
		return err
	}
	free := aws.String("*")
	for try := 0; ; try++ {
		err := s.fail(ctx, "write", key, put(name, free))
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

// putParts uploads f in parts; the object appears at completion, if its key is
// still free.
func (s *s3Store) putParts(ctx context.Context, name, free *string, f *os.File, size int64) error {
	up, err := s.c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &s.bucket, Key: name})
	if err != nil {
		return err
	}
	step := int64(partSize)
	for size > step*maxParts {
		step *= 2
	}
	parts := make([]types.CompletedPart, (size+step-1)/step)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(partsAtOnce)
	for i := range parts {
		g.Go(func() error {
			off := int64(i) * step
			n := min(step, size-off)
			number := aws.Int32(int32(i + 1))
			sum, err := contentMD5(io.NewSectionReader(f, off, n))
			if err != nil {
				return err
			}
			out, err := s.c.UploadPart(gctx, &s3.UploadPartInput{
				Bucket: &s.bucket, Key: name, UploadId: up.UploadId, PartNumber: number, ContentMD5: sum,
				Body: io.NewSectionReader(f, off, n), ContentLength: aws.Int64(n),
			})
			if err == nil {
				parts[i] = types.CompletedPart{PartNumber: number, ETag: out.ETag}
			}
			return err
		})
	}
	err = g.Wait()
	if err == nil {
		_, err = s.c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
			Bucket: &s.bucket, Key: name, UploadId: up.UploadId, IfNoneMatch: free,
			MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
		})
	}
	if err != nil {
		// Also after ctx has ended: parts left behind cost money.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_, _ = s.c.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: name, UploadId: up.UploadId})
	}
	return err
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

// fail maps what the SDK reports to a code; nil stays nil. Only ctx tells a
// caller that has no more time from a server that does not answer: the time-outs
// of a dial and of a response are context.DeadlineExceeded too.
func (s *s3Store) fail(ctx context.Context, op, key string, err error) error {
	if err == nil {
		return nil
	}
	code, hint := fail.Unavailable, "check that the S3 endpoint is up and reachable from here"
	var api smithy.APIError
	var resp *smithyhttp.ResponseError
	status, name := 0, ""
	if errors.As(err, &resp) {
		status = resp.HTTPStatusCode()
	}
	if errors.As(err, &api) {
		name = api.ErrorCode()
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		code, hint = fail.Stalled, ""
	case ctx.Err() != nil:
		hint = ""
	case name == "NoSuchBucket":
		code, hint = fail.NotFound, "make the bucket, or correct the vault's URL"
	case name == "InvalidAccessKeyId", name == "SignatureDoesNotMatch", name == "XAdminUserNotFound":
		code, hint = fail.Denied, "check the access key and the secret key of the vault"
	case status == http.StatusForbidden, status == http.StatusUnauthorized:
		code, hint = fail.Denied, "allow this access key to list, read and write the vault's prefix"
	case status == http.StatusNotFound:
		code, hint = fail.NotFound, ""
	case status == http.StatusPreconditionFailed, status == http.StatusConflict && op == "write":
		code, hint = fail.Conflict, ""
	case name == "NotImplemented", status == http.StatusNotImplemented:
		code, hint = fail.Unsupported, "the S3 server must honour If-None-Match on puts"
	case name == "SlowDown", status == http.StatusTooManyRequests:
		hint = "the S3 server asks to slow down; lower the concurrency or raise its limits"
	case status == http.StatusInsufficientStorage:
		code, hint = fail.Exhausted, "make room on the S3 server"
	case status >= 400 && status < 500:
		code, hint = fail.Invalid, ""
	}
	return fail.New(code, "vault: "+op, s.URL()+"/"+key, hint, err)
}
