package s3

import (
	"context"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"drctl/internal/fail"
	"drctl/internal/s3client"
	"drctl/internal/tlsconf"
	"drctl/targets"
)

// parallel bounds the objects in flight of one call.
const parallel = 16

// bucket is one instance during one call.
type bucket struct {
	*awss3.Client
	in       targets.Instance
	name     *string
	pageSize int32 // of version listings; 0 is the server's; tests make it small
	// unnamed is told of objects whose keys the server does not give; nil refuses them.
	unnamed func(listed)
}

// open prepares a client; it does not connect.
func open(ctx context.Context, in targets.Instance) (*bucket, error) {
	const op = "s3: open"
	if in.Kind != targets.S3 {
		return nil, fail.Newf(fail.Invalid, op, in.String(), "the instance is of kind %q", in.Kind)
	}
	if in.Database == "" {
		return nil, fail.Newf(fail.Invalid, op, in.String(), "the instance names no bucket")
	}
	if in.Address == "" { // would be AWS itself
		return nil, fail.Newf(fail.Invalid, op, in.String(), "the instance names no endpoint")
	}
	roots, err := tlsconf.Roots(op, in.CAFile)
	if err != nil {
		return nil, err
	}
	c, err := s3client.New(ctx, s3client.Options{
		Endpoint: in.Address, AccessKey: in.User, SecretKey: in.Password.Reveal(),
		Roots: roots, Connections: 2 * parallel,
	})
	if err != nil {
		return nil, fail.New(fail.Denied, op, in.String(), "give the target an access_key and a secret_key", err)
	}
	return &bucket{Client: c, in: in, name: aws.String(in.Database)}, nil
}

func (b *bucket) close() { s3client.Close(b.Client) }

// subject names the bucket, or one of its keys.
func (b *bucket) subject(key string) string {
	s := b.in.String() + " bucket " + b.in.Database
	if key != "" {
		s += " key " + key
	}
	return s
}

// hints are what the owner of a target can do about a refusal.
var hints = s3client.Hints{
	Bucket: "make the bucket, or correct the target's bucket",
	Keys:   "check the access key and the secret key of the target",
	Access: "check the keys of the target, and allow them to list and read the bucket and its versions",
}

// fail maps what the SDK reports to a code; nil stays nil and an error that
// has a code keeps it. ctx is that of the call.
func (b *bucket) fail(ctx context.Context, op, key string, err error) error {
	return s3client.Fail(ctx, "s3: "+op, b.subject(key), hints, err)
}

// head checks that the bucket answers and measures the server's clock.
func (b *bucket) head(ctx context.Context, op string, now func() time.Time) (clock, error) {
	before := now()
	out, err := b.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: b.name})
	after := now()
	if err != nil {
		if code, _ := s3client.Status(err); code == http.StatusNotFound {
			return clock{}, fail.New(fail.NotFound, "s3: "+op, b.subject(""), "make the bucket, or correct the target's bucket", err)
		}
		return clock{}, b.fail(ctx, op, "", err)
	}
	return readClock(out.ResultMetadata, before, after), nil
}

// clock is how far the server's clock is ahead of ours: somewhere between two
// bounds, because the Date header has whole seconds. Zero when unknown.
type clock struct{ least, most time.Duration }

func readClock(m middleware.Metadata, before, after time.Time) clock {
	date, ok := awsmiddleware.GetServerTime(m)
	if !ok || date.IsZero() {
		return clock{}
	}
	return clock{least: date.Sub(after), most: date.Add(time.Second).Sub(before)}
}

// skew is what is proven: zero as long as the clocks may agree within Slack,
// which allows for servers that compute the Date header once a second or so.
func (c clock) skew() time.Duration {
	switch {
	case c.least > Slack:
		return (c.least + c.most) / 2
	case c.most < -Slack:
		return (c.least + c.most) / 2
	}
	return 0
}
