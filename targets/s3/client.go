package s3

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"drctl/internal/fail"
	"drctl/internal/tlsconf"
	"drctl/targets"
)

// parallel bounds the objects in flight of one call.
const parallel = 16

// bucket is one instance during one call.
type bucket struct {
	*awss3.Client
	in        targets.Instance
	name      *string
	transport *http.Transport
	pageSize  int32 // of version listings; 0 is the server's; tests make it small
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
	tr := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
		MaxIdleConnsPerHost:   2 * parallel,
		IdleConnTimeout:       30 * time.Second,
		DisableCompression:    true, // content encodings are part of the object
	}
	roots, err := tlsconf.Roots(op, in.CAFile)
	if err != nil {
		return nil, err
	}
	tr.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	o := awss3.Options{Region: "us-east-1", UsePathStyle: true, HTTPClient: &http.Client{Transport: tr}}
	if in.User != "" {
		o.Credentials = credentials.NewStaticCredentialsProvider(in.User, in.Password.Reveal(), "")
	} else {
		cfg, err := config.LoadDefaultConfig(ctx)
		if err != nil {
			return nil, fail.New(fail.Denied, op, in.String(), "give the target an access_key and a secret_key", err)
		}
		o.Credentials = cfg.Credentials
		if cfg.Region != "" {
			o.Region = cfg.Region
		}
	}
	o.BaseEndpoint = aws.String(endpoint(in.Address))
	// Every write carries Content-MD5 instead of the SDK's own checksum: a bucket
	// with object lock refuses writes without any, every S3 server knows it, and
	// not all take the SDK's, which comes behind a body in chunks.
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	o.DisableLogOutputChecksumValidationSkipped = true
	o.Retryer = retry.NewStandard(func(r *retry.StandardOptions) {
		r.MaxAttempts = 4
		r.MaxBackoff = 4 * time.Second
	})
	return &bucket{Client: awss3.New(o), in: in, name: aws.String(in.Database), transport: tr}, nil
}

// endpoint takes a bare host:port for plain HTTP: that is what the sandbox
// calls its servers.
func endpoint(address string) string {
	if strings.Contains(address, "://") {
		return address
	}
	return "http://" + address
}

func (b *bucket) close() { b.transport.CloseIdleConnections() }

// subject names the bucket, or one of its keys.
func (b *bucket) subject(key string) string {
	s := b.in.String() + " bucket " + b.in.Database
	if key != "" {
		s += " key " + key
	}
	return s
}

// fail maps what the SDK reports to a code; nil stays nil and an error that
// has a code keeps it.
func (b *bucket) fail(op, key string, err error) error {
	if err == nil {
		return nil
	}
	var known *fail.Error
	if errors.As(err, &known) {
		return err
	}
	code, hint := classify(err)
	return fail.New(code, "s3: "+op, b.subject(key), hint, err)
}

func classify(err error) (fail.Code, string) {
	status, name := status(err)
	switch {
	case errors.Is(err, context.Canceled):
		return fail.Unavailable, ""
	case errors.Is(err, context.DeadlineExceeded):
		return fail.Stalled, ""
	case name == "NoSuchBucket":
		return fail.NotFound, "make the bucket, or correct the target's bucket"
	case name == "InvalidAccessKeyId", name == "SignatureDoesNotMatch":
		return fail.Denied, "check the access key and the secret key of the target"
	case name == "RequestTimeTooSkewed":
		return fail.Denied, "set the clocks: this host and the S3 server differ too much"
	case status == http.StatusForbidden, status == http.StatusUnauthorized:
		return fail.Denied, "check the keys of the target, and allow them to list and read the bucket and its versions"
	case status == http.StatusNotFound:
		return fail.NotFound, ""
	case status == http.StatusPreconditionFailed, status == http.StatusConflict:
		return fail.Conflict, ""
	case status == http.StatusNotImplemented, status == http.StatusMethodNotAllowed:
		return fail.Unsupported, ""
	case status == http.StatusInsufficientStorage:
		return fail.Exhausted, "free space on the S3 server"
	case status >= 400 && status < 500 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout:
		return fail.Invalid, ""
	}
	return fail.Unavailable, "check that the S3 endpoint is up and reachable from here"
}

// status is the HTTP status and the S3 error name in err, if any.
func status(err error) (int, string) {
	var resp *smithyhttp.ResponseError
	var api smithy.APIError
	code, name := 0, ""
	if errors.As(err, &resp) {
		code = resp.HTTPStatusCode()
	}
	if errors.As(err, &api) {
		name = api.ErrorCode()
	}
	return code, name
}

// head checks that the bucket answers and measures the server's clock.
func (b *bucket) head(ctx context.Context, op string, now func() time.Time) (clock, error) {
	before := now()
	out, err := b.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: b.name})
	after := now()
	if err != nil {
		if code, _ := status(err); code == http.StatusNotFound {
			return clock{}, fail.New(fail.NotFound, "s3: "+op, b.subject(""), "make the bucket, or correct the target's bucket", err)
		}
		return clock{}, b.fail(op, "", err)
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
