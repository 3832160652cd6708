package s3client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"drctl/internal/fail"
)

func refusal(status int, name string) error {
	return &smithy.OperationError{ServiceID: "S3", OperationName: "GetObject", Err: &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}},
		Err:      &smithy.GenericAPIError{Code: name},
	}}
}

func TestFail(t *testing.T) {
	t.Parallel()
	live := t.Context()

	over, cancel := context.WithTimeout(live, 0)
	defer cancel()
	stopped, stop := context.WithCancel(live)
	stop()
	h := Hints{Bucket: "bucket", Keys: "keys", Access: "access", Unimplemented: "unimplemented"}
	const up = "check that the S3 endpoint is up and reachable from here"

	for _, c := range []struct {
		ctx  context.Context
		err  error
		code fail.Code
		hint string
	}{
		{live, refusal(404, "NoSuchBucket"), fail.NotFound, "bucket"},
		{live, refusal(404, "NoSuchKey"), fail.NotFound, ""},
		{live, refusal(403, "InvalidAccessKeyId"), fail.Denied, "keys"},
		{live, refusal(404, "XAdminUserNotFound"), fail.Denied, "keys"},
		{live, refusal(403, "AccessDenied"), fail.Denied, "access"},
		{live, refusal(401, ""), fail.Denied, "access"},
		{live, refusal(403, "RequestTimeTooSkewed"), fail.Denied, "set the clocks: this host and the S3 server differ too much"},
		{live, refusal(412, "PreconditionFailed"), fail.Conflict, ""},
		{live, refusal(409, "ConditionalRequestConflict"), fail.Conflict, ""},
		{live, refusal(501, "NotImplemented"), fail.Unsupported, "unimplemented"},
		{live, refusal(405, "MethodNotAllowed"), fail.Unsupported, ""},
		{live, refusal(507, ""), fail.Exhausted, "make room on the S3 server"},
		{live, refusal(503, "SlowDown"), fail.Unavailable, "the S3 server asks to slow down; lower the concurrency or raise its limits"},
		{live, refusal(429, ""), fail.Unavailable, "the S3 server asks to slow down; lower the concurrency or raise its limits"},
		{live, refusal(400, "RequestTimeout"), fail.Unavailable, up},
		{live, refusal(408, ""), fail.Unavailable, up},
		{live, refusal(400, "InvalidArgument"), fail.Invalid, ""},
		{live, refusal(500, "InternalError"), fail.Unavailable, up},
		{live, errors.New("connection refused"), fail.Unavailable, up},

		// A dial that takes too long is the server's silence, not the end of the caller's time.
		{live, fmt.Errorf("dial: %w", context.DeadlineExceeded), fail.Unavailable, up},
		{over, fmt.Errorf("dial: %w", context.DeadlineExceeded), fail.Stalled, ""},
		{stopped, errors.New("request canceled"), fail.Unavailable, ""},
		{live, context.Canceled, fail.Unavailable, ""},

		// What is known already stays as it is.
		{over, fail.New(fail.Corrupt, "read", "k", "its hint", nil), fail.Corrupt, "its hint"},
	} {
		got := Fail(c.ctx, "s3: do", "subject", h, c.err)

		var e *fail.Error
		if !errors.As(got, &e) || e.Code != c.code || e.Hint != c.hint {
			t.Errorf("%v: %s %q, want %s %q", c.err, fail.CodeOf(got), e.Hint, c.code, c.hint)
		}

		if code := Code(c.ctx, c.err); code != c.code {
			t.Errorf("%v: Code is %s, want %s", c.err, code, c.code)
		}
	}

	if err := Fail(over, "s3: do", "subject", h, nil); err != nil {
		t.Errorf("nil became %v", err)
	}
}

// A message has what the server answered and none of the names of the SDK's parts,
// and the cause can still be found in it.
func TestPlainWords(t *testing.T) {
	t.Parallel()

	sent := &smithy.OperationError{ServiceID: "S3", OperationName: "GetObject", Err: &smithyhttp.RequestSendError{
		Err: &url.Error{Op: "Get", URL: "http://x/y", Err: errors.New("dial tcp: connection refused")}}}
	for _, c := range []struct {
		err  error
		want string
	}{
		{refusal(404, "NoSuchKey"), "read: s3://b/k: the S3 server answered 404 NoSuchKey"},
		{sent, "read: s3://b/k: dial tcp: connection refused (check that the S3 endpoint is up and reachable from here)"},
		{fmt.Errorf("part 3: %w", sent), "read: s3://b/k: part 3: " + sent.Error() + " (check that the S3 endpoint is up and reachable from here)"},
	} {
		err := Fail(t.Context(), "read", "s3://b/k", Hints{}, c.err)
		if err.Error() != c.want || !errors.Is(err, c.err) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

// Without keys the error says so, whatever the metadata service of the host
// answers: its 404 is not one of the bucket.
func TestNoKeys(t *testing.T) {
	meta := httptest.NewServer(http.NotFoundHandler())
	defer meta.Close()

	for _, v := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"} {
		t.Setenv(v, "")
	}

	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", meta.URL)

	for _, off := range []string{"", "true"} {
		t.Setenv("AWS_EC2_METADATA_DISABLED", off)

		c, err := New(t.Context(), Options{Endpoint: meta.URL})
		if err != nil {
			t.Fatal(err)
		}

		_, err = c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("b")})

		err = Fail(t.Context(), "list", "b", Hints{Access: "allow it"}, err)
		if !fail.Is(err, fail.Denied) || !strings.Contains(err.Error(), "no keys to sign") || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") || strings.Contains(err.Error(), "IMDS") {
			t.Errorf("metadata service off %q: %v", off, err)
		}
	}
}
