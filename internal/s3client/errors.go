package s3client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"drctl/internal/fail"
)

// Hints are what a user can do about a refusal; they depend on what the bucket
// is for.
type Hints struct {
	Bucket        string // there is no such bucket
	Keys          string // the keys are unknown or wrong
	Access        string // the keys are known and may not do this
	Unimplemented string // the server does not know the request
}

// Fail turns what the SDK reports into an *fail.Error; nil stays nil, and an
// error that has a code keeps it. Only ctx, that of the call, tells a caller
// that has no more time (stalled) from a server that does not answer
// (unavailable): time-outs of a dial and of a response are
// context.DeadlineExceeded too.
func Fail(ctx context.Context, op, subject string, h Hints, err error) error {
	var known *fail.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	code, hint := classify(ctx, h, err)

	return fail.New(code, op, subject, hint, plain(err))
}

// told is an error of the SDK in few words: what it says itself names its own parts,
// and tells a reader of a message nothing.
type told struct {
	text string
	err  error
}

func (t told) Error() string { return t.text }

func (t told) Unwrap() error { return t.err }

// plain says what the server answered, or why it did not.
func plain(err error) error {
	if _, ok := err.(*smithy.OperationError); !ok { // somebody has words for it, or it is not of the SDK
		return err
	}

	if unsigned(err) {
		return told{"there are no keys to sign the request with: none were given, and the environment has none", err}
	}

	var unsent *url.Error
	if errors.As(err, &unsent) {
		return told{unsent.Err.Error(), err}
	}

	status, name := Status(err)
	if status == 0 && name == "" {
		return err
	}
	text := fmt.Sprintf("the S3 server answered %d %s", status, name)

	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorMessage() != "" {
		text += ": " + api.ErrorMessage()
	}

	return told{strings.TrimSpace(text), err}
}

const noKeysHint = "give an access key and its secret, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this host a role"

// unsigned reports whether the request was never sent, because nobody gave keys
// to sign it with: what a metadata service answered is no answer of the server.
func unsigned(err error) bool {
	return strings.Contains(err.Error(), "get identity: get credentials:")
}

// Code is the code that Fail would give; "" for nil.
func Code(ctx context.Context, err error) fail.Code {
	return fail.CodeOf(Fail(ctx, "", "", Hints{}, err))
}

func classify(ctx context.Context, h Hints, err error) (fail.Code, string) {
	status, name := Status(err)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fail.Stalled, ""
	case ctx.Err() != nil, errors.Is(err, context.Canceled):
		return fail.Unavailable, ""
	case unsigned(err):
		return fail.Denied, noKeysHint
	case name == "NoSuchBucket":
		return fail.NotFound, h.Bucket
	case name == "InvalidAccessKeyId", name == "SignatureDoesNotMatch", name == "XAdminUserNotFound":
		return fail.Denied, h.Keys
	case name == "RequestTimeTooSkewed":
		return fail.Denied, "set the clocks: this host and the S3 server differ too much"
	case name == "SlowDown", status == http.StatusTooManyRequests:
		return fail.Unavailable, "the S3 server asks to slow down; lower the concurrency or raise its limits"
	case status == http.StatusForbidden, status == http.StatusUnauthorized:
		return fail.Denied, h.Access
	case status == http.StatusNotFound:
		return fail.NotFound, ""
	case status == http.StatusPreconditionFailed, status == http.StatusConflict:
		return fail.Conflict, ""
	case name == "NotImplemented", status == http.StatusNotImplemented:
		return fail.Unsupported, h.Unimplemented
	case status == http.StatusMethodNotAllowed:
		return fail.Unsupported, ""
	case status == http.StatusInsufficientStorage:
		return fail.Exhausted, "make room on the S3 server"
	case name == "RequestTimeout", status == http.StatusRequestTimeout: // the body came too slowly
	case status >= 400 && status < 500:
		return fail.Invalid, ""
	}

	return fail.Unavailable, "check that the S3 endpoint is up and reachable from here"
}

// Status is the HTTP status and the name of the S3 error in err; 0 and "" when
// the server gave none.
func Status(err error) (status int, name string) {
	var resp *smithyhttp.ResponseError
	if errors.As(err, &resp) {
		status = resp.HTTPStatusCode()
	}

	var api smithy.APIError
	if errors.As(err, &api) {
		name = api.ErrorCode()
	}

	return status, name
}
