package s3

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"drctl/internal/fail"
	"drctl/internal/s3client"
	"drctl/targets"
)

var _ targets.Preflighter = (*Driver)(nil)

// Preflight implements targets.Preflighter. Without Needs.Whole it says nothing:
// a probe asks for what it needs, and the rest costs requests.
func (d *Driver) Preflight(ctx context.Context, in targets.Instance, need targets.Needs) ([]targets.Lack, error) {
	if !need.Whole {
		return nil, nil
	}
	b, err := open(ctx, in)
	if err != nil {
		return nil, err
	}
	defer b.close()
	r := rights{b: b}
	key, listed := r.list(ctx)
	version := r.versions(ctx)
	r.ask(ctx, "s3:GetBucketVersioning", "status and cuts", func() error { _, err := b.versioning(ctx); return err })
	r.read(ctx, key, version, listed)
	return r.lacks, r.err
}

// rights asks for one right after the other, so that all that are missing are
// told at once.
type rights struct {
	b     *bucket
	lacks []targets.Lack
	err   error // the bucket could not be asked
}

// ask tries a call that needs a right. It reports whether it succeeded.
func (r *rights) ask(ctx context.Context, right, use string, call func() error) bool {
	if r.err != nil {
		return false
	}
	err := r.b.fail(ctx, "preflight", "", call())
	if err == nil {
		return true
	}
	// A login that is refused is not a missing right.
	if status, name := s3client.Status(err); status == http.StatusForbidden && name != "InvalidAccessKeyId" && name != "SignatureDoesNotMatch" && name != "RequestTimeTooSkewed" {
		r.lacks = append(r.lacks, targets.Lack{What: right, For: use, Fix: "allow " + right + " on bucket " + r.b.in.Database + " to access key " + r.b.in.User})
		return false
	}
	if !fail.Is(err, fail.Unsupported) { // a server without versions lacks no right to them
		r.err = err
	}
	return false
}

// list names an object, if there is one.
func (r *rights) list(ctx context.Context) (key string, ok bool) {
	ok = r.ask(ctx, "s3:ListBucket", "cuts", func() error {
		out, err := r.b.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: r.b.name, Prefix: r.b.prefix(), MaxKeys: aws.Int32(1)})
		if err == nil && len(out.Contents) > 0 {
			key = aws.ToString(out.Contents[0].Key)
		}
		return err
	})
	return key, ok
}

// aVersion is a version of an object; its id is "" when there is none.
type aVersion struct{ key, id string }

// versions names one version, if the bucket has them.
func (r *rights) versions(ctx context.Context) (v aVersion) {
	r.ask(ctx, "s3:ListBucketVersions", "cuts: without versions a cut holds what objects are when they are read", func() error {
		out, err := r.b.ListObjectVersions(ctx, &awss3.ListObjectVersionsInput{Bucket: r.b.name, Prefix: r.b.prefix(), MaxKeys: aws.Int32(1)})
		if err == nil && len(out.Versions) > 0 {
			v = aVersion{aws.ToString(out.Versions[0].Key), aws.ToString(out.Versions[0].VersionId)}
		}
		return err
	})
	return v
}

// read tries to read what was listed. In an empty bucket it asks for an object
// that does not exist: who may list and read is told so, others are refused.
func (r *rights) read(ctx context.Context, key string, version aVersion, listed bool) {
	get := func(in *awss3.GetObjectInput) error {
		in.Bucket = r.b.name
		out, err := r.b.GetObject(ctx, in)
		if err != nil {
			if code, _ := s3client.Status(err); code == http.StatusNotFound {
				return nil
			}
			return err
		}
		// One byte is enough; the rest is not read.
		_, err = io.CopyN(io.Discard, out.Body, 1)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return errors.Join(err, out.Body.Close())
	}
	if key == "" && version.key != "" {
		key = version.key
	}
	if key == "" && listed {
		key = aws.ToString(r.b.prefix()) + "drctl-preflight"
	}
	if key != "" {
		r.ask(ctx, "s3:GetObject", "cuts", func() error { return get(&awss3.GetObjectInput{Key: &key}) })
	}
	if version.id != "" && version.id != "null" {
		r.ask(ctx, "s3:GetObjectVersion", "cuts", func() error {
			return get(&awss3.GetObjectInput{Key: &version.key, VersionId: &version.id})
		})
	}
}

// prefix is that of the instance, nil when it has none.
func (b *bucket) prefix() *string {
	if b.in.Prefix == "" {
		return nil
	}
	return &b.in.Prefix
}
