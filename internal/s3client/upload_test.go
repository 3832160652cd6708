package s3client_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"drctl/internal/fail"
	"drctl/internal/s3client"
	"drctl/internal/sandbox/sandboxtest"
)

const step = 5 << 20 // the least that S3 takes

func body(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 31 >> 3)
	}
	return b
}

// TestUpload puts bodies of awkward lengths against a server that refuses writes
// without a checksum.
func TestUpload(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	in := sandboxtest.S3(t, true)
	front := sandboxtest.NewLockFront(t, in, false)
	c, err := s3client.New(ctx, s3client.Options{Endpoint: front.URL, AccessKey: in.User, SecretKey: in.Password.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	defer s3client.Close(c)
	bucket := aws.String(in.Database)

	put := func(key string, atOnce int64, parts s3client.Parts) error {
		return s3client.Upload(ctx, c, &s3.PutObjectInput{Bucket: bucket, Key: &key, IfNoneMatch: aws.String("*"),
			ContentType: aws.String("application/x-big")}, atOnce, parts)
	}
	for _, n := range []int{0, 1, step, 2*step + 7} {
		want := body(n)
		for name, up := range map[string]func(key string) error{
			"file": func(key string) error {
				return put(key, 2, s3client.FileParts(bytes.NewReader(want), int64(n), step))
			},
			"stream": func(key string) error {
				return put(key, 1, s3client.StreamParts(bytes.NewReader(want), step))
			},
		} {
			if name == "file" && n == 0 {
				continue // has no part, and goes up whole
			}
			key := fmt.Sprintf("%s/%d", name, n)
			if err := up(key); err != nil {
				t.Fatalf("%s: %v", key, err)
			}
			out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: &key})
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(out.Body)
			_ = out.Body.Close()
			if err != nil || !bytes.Equal(got, want) || aws.ToString(out.ContentType) != "application/x-big" {
				t.Errorf("%s: %d bytes of type %s, %v", key, len(got), aws.ToString(out.ContentType), err)
			}
			if code := s3client.Code(ctx, up(key)); code != fail.Conflict {
				t.Errorf("%s again: %q, want a conflict", key, code)
			}
		}
	}

	// A body that breaks off makes no object, even where it looks like an end.
	broken := io.MultiReader(bytes.NewReader(body(step+1)), iotest.ErrReader(fmt.Errorf("cut: %w", io.ErrUnexpectedEOF)))
	if err := put("broken", 1, s3client.StreamParts(broken, step)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a body that breaks off: %v", err)
	}
	_, err = c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: aws.String("broken")})
	if code := s3client.Code(ctx, err); code != fail.NotFound {
		t.Errorf("the broken object: %q, want none", code)
	}
	left, err := c.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: bucket})
	if err != nil || len(left.Uploads) > 0 {
		t.Errorf("uploads left behind: %v, %v", left, err)
	}
}

func TestPartSize(t *testing.T) {
	t.Parallel()
	for size, want := range map[int64]int64{1: 8, 8 * s3client.MaxParts: 8, 8*s3client.MaxParts + 1: 16, 40 * s3client.MaxParts: 64} {
		if got := s3client.PartSize(size, 8); got != want {
			t.Errorf("PartSize(%d) = %d, want %d", size, got, want)
		}
	}
}
