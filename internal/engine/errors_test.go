package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"

	"drctl/internal/fail"
)

// cross takes an error through the engine's own format, as an activity's would go.
func cross(err error) error {
	return failures{}.FailureToError(failures{}.ErrorToFailure(err))
}

func TestErrorsSurviveTheBoundary(t *testing.T) {
	base := fail.New(fail.Stalled, "cut: lock tables", "orders/2@east (127.0.0.1:5433)", "look for a long transaction", errors.New("lock timeout"))
	for name, err := range map[string]error{
		"whole":    base,
		"no cause": fail.New(fail.Conflict, "restore", "carts/0", "stop it", nil),
		"wrapped":  fmt.Errorf("cut 7: %w", base),
		"joined":   errors.Join(base, errors.New("and another")),
	} {
		t.Run(name, func(t *testing.T) {
			var want, got *fail.Error
			_ = errors.As(err, &want)
			enc := EncodeError(err)

			var app *temporal.ApplicationError
			if !errors.As(enc, &app) || app.Type() != string(want.Code) || app.NonRetryable() == fail.Retryable(err) {
				t.Fatalf("encoded as %#v", enc)
			}

			out := DecodeError(cross(cross(enc)))
			if out.Error() != err.Error() {
				t.Errorf("text\n got %q\nwant %q", out, err)
			}

			if !errors.As(out, &got) || got.Op != want.Op || got.Subject != want.Subject || got.Code != want.Code || got.Hint != want.Hint {
				t.Errorf("got %+v, want %+v", got, want)
			}

			if again := DecodeError(cross(EncodeError(out))); again.Error() != err.Error() {
				t.Errorf("a second crossing: %q", again)
			}

			if plain := DecodeError(cross(err)); plain.Error() != err.Error() || fail.CodeOf(plain) != want.Code {
				t.Errorf("not encoded by hand: %q", plain)
			}
		})
	}
}

func TestEncodeOddErrors(t *testing.T) {
	if EncodeError(nil) != nil || DecodeError(nil) != nil {
		t.Error("nil did not stay nil")
	}

	plain := DecodeError(cross(EncodeError(fs.ErrPermission)))
	if !fail.Is(plain, fail.Internal) || !strings.Contains(plain.Error(), "permission denied") {
		t.Errorf("a plain error: %v", plain)
	}
	canceled := fail.New(fail.Internal, "base", "x", "", context.Canceled)
	enc := EncodeError(canceled)

	var app *temporal.ApplicationError
	if !errors.As(enc, &app) || app.NonRetryable() || !errors.Is(enc, context.Canceled) {
		t.Errorf("a cancelled call must be retried and seen as cancelled: %v", enc)
	}

	if out := DecodeError(cross(enc)); !errors.Is(out, context.Canceled) || fail.ExitCode(out) != 130 {
		t.Errorf("a cancelled call: %v", out)
	}

	long := EncodeError(fail.Newf(fail.Corrupt, "verify", "x", "%s", strings.Repeat("x", 1<<20)))
	if n := len(long.Error()); n > 3*maxText {
		t.Errorf("an encoded error of %d bytes", n)
	}

	own := temporal.NewCanceledError()
	if !errors.Is(EncodeError(own), own) {
		t.Error("an error of the engine was changed")
	}
}

func TestDecodeEngineErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		code fail.Code
	}{
		"canceled":  {temporal.NewCanceledError(), fail.Unavailable},
		"foreign":   {temporal.NewApplicationError("boom", "SomeType"), fail.Internal},
		"heartbeat": {temporal.NewHeartbeatTimeoutError(), fail.Stalled},
		"running":   {serviceerror.NewWorkflowExecutionAlreadyStarted("m", "r", "i"), fail.Conflict},
		"not found": {serviceerror.NewNotFound("no"), fail.NotFound},
		"away":      {serviceerror.NewUnavailable("no"), fail.Unavailable},
		"deadline":  {context.DeadlineExceeded, fail.Stalled},
	} {
		out := DecodeError(tc.err)

		var e *fail.Error
		if !errors.As(out, &e) || e.Code != tc.code {
			t.Errorf("%s: got %v (%s)", name, out, fail.CodeOf(out))
		}
	}
}
