package s3client

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // a checksum that S3 asks for, not a protection
	"encoding/base64"
	"io"
	"time"

	"drctl/internal/fail"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// MaxParts is how many parts S3 takes of one object.
const MaxParts = 10_000

// abortWithin bounds the removal of an upload that failed.
const abortWithin = 10 * time.Second

// PartSize is the size of the parts of a body of size bytes: least, doubled
// until the parts are not too many.
func PartSize(size, least int64) int64 {
	for size > least*MaxParts {
		least *= 2
	}

	return least
}

// Parts gives the parts of a body in order, then io.EOF. A part and its length
// in bytes are used until as many more have been asked for as go up at once.
type Parts func() (part io.ReadSeeker, n int64, err error)

// FileParts cuts the first size bytes of r into parts of at most step bytes;
// none is held in memory.
func FileParts(r io.ReaderAt, size, step int64) Parts {
	off := int64(0)

	return func() (io.ReadSeeker, int64, error) {
		if off >= size {
			return nil, 0, io.EOF
		}
		n := min(step, size-off)
		part := io.NewSectionReader(r, off, n)
		off += n

		return part, n, nil
	}
}

// StreamParts cuts a body of unknown length into parts of at most step bytes. It
// holds one of them, so that they must go up one at a time. An empty body has
// one empty part.
func StreamParts(body io.Reader, step int64) Parts {
	buf := make([]byte, step)
	first, ended := true, false

	return func() (io.ReadSeeker, int64, error) {
		if ended {
			return nil, 0, io.EOF
		}

		n, err := io.ReadFull(body, buf)
		switch {
		// Compared, not unwrapped: a body that breaks off must not look like one that ends.
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			ended = true
		case err != nil:
			return nil, 0, err
		}

		if n == 0 && !first {
			return nil, 0, io.EOF
		}
		first = false

		return bytes.NewReader(buf[:n]), int64(n), nil
	}
}

// Upload puts an object in parts, atOnce of them at a time. in has everything but
// the body. The object appears when all parts are there and, with
// in.IfNoneMatch, its key is still free; otherwise nothing is left behind.
func Upload(ctx context.Context, c *s3.Client, in *s3.PutObjectInput, atOnce int64, next Parts) (err error) {
	up, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: in.Bucket, Key: in.Key, ContentType: in.ContentType, Metadata: in.Metadata,
		CacheControl: in.CacheControl, ContentEncoding: in.ContentEncoding, ContentLanguage: in.ContentLanguage,
		ContentDisposition: in.ContentDisposition, Expires: in.Expires,
	})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil { // also after ctx has ended: parts left behind cost money
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortWithin)
			defer cancel()
			_, _ = c.AbortMultipartUpload(stop, &s3.AbortMultipartUploadInput{Bucket: in.Bucket, Key: in.Key, UploadId: up.UploadId})
		}
	}()

	parts, err := uploadParts(ctx, c, in, up.UploadId, atOnce, next)
	if err != nil {
		return err
	}
	_, err = c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: in.Bucket, Key: in.Key, UploadId: up.UploadId, IfNoneMatch: in.IfNoneMatch,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})

	return err
}

func uploadParts(ctx context.Context, c *s3.Client, in *s3.PutObjectInput, id *string, atOnce int64, next Parts) ([]types.CompletedPart, error) {
	g, gctx := errgroup.WithContext(ctx)
	// A slot is free before the next part is read: it may take the memory of the last.
	slots := semaphore.NewWeighted(atOnce)

	var tags []*string
	for slots.Acquire(gctx, 1) == nil {
		part, n, err := next()
		if err == io.EOF {
			break
		}

		if err != nil {
			g.Go(func() error { return err })
			break
		}

		tag := new(string)
		tags = append(tags, tag)
		number := aws.Int32(int32(len(tags)))
		g.Go(func() error {
			defer slots.Release(1)

			sum, err := contentMD5(in.Key, part)
			if err != nil {
				return err
			}

			out, err := c.UploadPart(gctx, &s3.UploadPartInput{
				Bucket: in.Bucket, Key: in.Key, UploadId: id, PartNumber: number,
				Body: part, ContentLength: aws.Int64(n), ContentMD5: sum,
			})
			if err == nil {
				*tag = aws.ToString(out.ETag)
			}

			return err
		})
	}

	if err := g.Wait(); err != nil {
		return nil, err
	}

	if err := ctx.Err(); err != nil {
		return nil, err
	}

	parts := make([]types.CompletedPart, len(tags))
	for i, tag := range tags {
		parts[i] = types.CompletedPart{PartNumber: aws.Int32(int32(i + 1)), ETag: tag}
	}

	return parts, nil
}

// Put puts an object of size bytes in one request. in has everything but the body.
func Put(ctx context.Context, c *s3.Client, in *s3.PutObjectInput, body io.ReadSeeker, size int64) error {
	sum, err := contentMD5(in.Key, body)
	if err != nil {
		return err
	}
	whole := *in
	whole.Body, whole.ContentLength, whole.ContentMD5 = body, &size, sum
	_, err = c.PutObject(ctx, &whole)

	return err
}

// contentMD5 is the value of a Content-MD5 header, by which the server checks
// what arrives. The body is read once and stands at its beginning again.
func contentMD5(key *string, body io.ReadSeeker) (*string, error) {
	const op = "s3: read what is to be written"

	h := md5.New()
	if _, err := io.Copy(h, body); err != nil {
		return nil, fail.From(fail.Exhausted, op, aws.ToString(key), err)
	}

	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return nil, fail.From(fail.Exhausted, op, aws.ToString(key), err)
	}

	return aws.String(base64.StdEncoding.EncodeToString(h.Sum(nil))), nil
}
