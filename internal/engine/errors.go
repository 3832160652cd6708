package engine

import (
	"context"
	"errors"

	"go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/grpc/codes"

	"drctl/internal/engine/lines"
	"drctl/internal/fail"
)

// maxText bounds the texts of an encoded error, which become part of histories.
const maxText = 4096

// wire is an error as it crosses the boundary.
type wire struct {
	Code     fail.Code `json:"code"`
	Op       string    `json:"op,omitempty"`
	Subject  string    `json:"subject,omitempty"`
	Hint     string    `json:"hint,omitempty"`
	Cause    string    `json:"cause,omitempty"`
	Text     string    `json:"text,omitempty"`     // of an error around or beside the coded one
	Canceled bool      `json:"canceled,omitempty"` // context.Canceled is in the tree
	Attempt  int       `json:"attempt,omitempty"`  // of the activity that failed, from 1; 0 is not known
}

// EncodeError turns an error of drctl into one that the engine carries whole:
// its type is the code, and it is retried only when fail.Retryable says so, or
// when it came of a cancelled context (a worker that stops). Errors of the
// engine itself pass unchanged. Nil stays nil.
func EncodeError(err error) error { return EncodeAttempt(err, 0) }

// EncodeAttempt is EncodeError with the number of the attempt that failed,
// which the engine itself does not tell the workflow. See Attempt.
func EncodeAttempt(err error, attempt int) error {
	if err == nil || ofEngine(err) {
		return err
	}
	w := wire{Code: fail.CodeOf(err), Canceled: errors.Is(err, context.Canceled) || temporal.IsCanceledError(err), Attempt: attempt}

	var e *fail.Error
	if errors.As(err, &e) {
		w.Op, w.Subject, w.Hint = e.Op, clip(e.Subject), clip(e.Hint)
		if e.Err != nil {
			w.Cause = clip(e.Err.Error())
		}

		if err != error(e) {
			w.Text = clip(err.Error())
		}
	} else {
		w.Text = clip(err.Error())
	}

	opt := temporal.ApplicationErrorOptions{
		NonRetryable: !fail.Retryable(err) && !w.Canceled,
		Details:      []any{w},
	}
	if w.Canceled {
		opt.Cause = context.Canceled // so that the SDK sees a cancellation as one
	}

	return temporal.NewApplicationErrorWithOptions(clip(err.Error()), string(w.Code), opt)
}

func clip(s string) string {
	if len(s) <= maxText {
		return s
	}

	return s[:maxText] + " [cut off]"
}

// ofEngine reports whether the SDK knows how to carry the error already. What
// drctl says about one of them, as a *fail.Error around it, is worth more.
func ofEngine(err error) bool {
	if _, own := err.(*fail.Error); own {
		return false
	}
	var (
		app   *temporal.ApplicationError
		act   *temporal.ActivityError
		child *temporal.ChildWorkflowExecutionError
		exec  *temporal.WorkflowExecutionError
		can   *temporal.CanceledError
		pan   *temporal.PanicError
		out   *temporal.TimeoutError
		term  *temporal.TerminatedError
		again *workflow.ContinueAsNewError
	)

	return errors.As(err, &app) || errors.As(err, &act) || errors.As(err, &child) || errors.As(err, &exec) ||
		errors.As(err, &can) || errors.As(err, &pan) || errors.As(err, &out) || errors.As(err, &term) || errors.As(err, &again)
}

// DecodeError is the inverse of EncodeError, through any number of wrappings
// by activities, children and workflows; an error of the engine itself becomes
// the *fail.Error that says what it means. Nil stays nil. It is deterministic,
// so workflows may use it to word what they report.
func DecodeError(err error) error {
	if err == nil {
		return nil
	}

	if w, ok := decodeWire(err); ok {
		return w.error()
	}

	var e *fail.Error
	if errors.As(err, &e) {
		return err
	}
	subject := ""

	var act *temporal.ActivityError
	if errors.As(err, &act) {
		subject = act.ActivityType().GetName()
	}

	if out := (*temporal.TimeoutError)(nil); errors.As(err, &out) {
		return timeoutError(out, subject, err)
	}

	if app := (*temporal.ApplicationError)(nil); errors.As(err, &app) {
		return fail.New(fail.Internal, "workflow", subject, "", err)
	}

	if can := (*temporal.CanceledError)(nil); errors.As(err, &can) {
		return fail.New(fail.Unavailable, "workflow", subject, "", canceled{"it was cancelled"})
	}

	if term := (*temporal.TerminatedError)(nil); errors.As(err, &term) {
		return fail.New(fail.Conflict, "workflow", subject, "clean-up did not run; look for what it left behind", errors.New("it was terminated"))
	}

	return fail.New(serviceCode(err), "engine", subject, "", err)
}

// Attempt is the number of the attempt that failed with an error that
// EncodeAttempt encoded; 0 when it is not known.
func Attempt(err error) int {
	w, _ := decodeWire(err)
	return w.Attempt
}

// decodeWire finds the outermost error that drctl encoded.
func decodeWire(err error) (wire, bool) {
	for err != nil {
		var app *temporal.ApplicationError
		if !errors.As(err, &app) {
			return wire{}, false
		}

		var w wire
		if app.HasDetails() && app.Details(&w) == nil && string(w.Code) == app.Type() && w.Code != "" {
			return w, true
		}
		err = app.Unwrap()
	}

	return wire{}, false
}

// coded is decodeWire for the log.
func coded(err error) (lines.Cause, bool) {
	w, ok := decodeWire(err)
	if !ok {
		return lines.Cause{}, false
	}

	return lines.Cause{Err: w.error(), Canceled: w.Canceled}, true
}

func (w wire) error() error {
	e := &fail.Error{Op: w.Op, Subject: w.Subject, Code: w.Code, Hint: w.Hint}
	if w.Op == "" && w.Subject == "" { // it never was a *fail.Error
		e.Op, w.Cause, w.Text = "workflow", w.Text, ""
	}

	if w.Canceled {
		e.Err = canceled{w.Cause}
	} else if w.Cause != "" {
		e.Err = errors.New(w.Cause)
	}

	if w.Text != "" {
		return around{w.Text, e}
	}

	return e
}

// around is an error whose text says more than the coded error in it.
type around struct {
	text string
	err  *fail.Error
}

func (a around) Error() string { return a.text }
func (a around) Unwrap() error { return a.err }

// canceled is a text that is context.Canceled to errors.Is.
type canceled struct{ text string }

func (c canceled) Error() string {
	if c.text == "" {
		return context.Canceled.Error()
	}

	return c.text
}
func (canceled) Is(target error) bool { return target == context.Canceled }

func timeoutError(out *temporal.TimeoutError, subject string, err error) error {
	switch out.TimeoutType() {
	case enums.TIMEOUT_TYPE_SCHEDULE_TO_START:
		return fail.New(fail.Unavailable, "workflow: wait for a worker", subject,
			"start the worker of the region, or look why it does not take work", errors.New("no worker took the task in time"))
	case enums.TIMEOUT_TYPE_HEARTBEAT:
		return fail.New(fail.Stalled, "workflow", subject, "look at the log of the region's worker",
			errors.New("the worker stopped reporting progress: it died, was cut off, or hangs"))
	}

	return fail.New(fail.Stalled, "workflow", subject, "", err)
}

// serviceCode grades an error of a call to the engine.
func serviceCode(err error) fail.Code {
	var (
		started   *serviceerror.WorkflowExecutionAlreadyStarted
		exists    *serviceerror.AlreadyExists
		notFound  *serviceerror.NotFound
		namespace *serviceerror.NamespaceNotFound
		denied    *serviceerror.PermissionDenied
		invalid   *serviceerror.InvalidArgument
		precond   *serviceerror.FailedPrecondition
		slow      *serviceerror.DeadlineExceeded
		gone      *serviceerror.Unavailable
		busy      *serviceerror.ResourceExhausted
	)
	switch {
	case errors.As(err, &started), errors.As(err, &exists), errors.As(err, &precond):
		return fail.Conflict
	case errors.As(err, &notFound), errors.As(err, &namespace):
		return fail.NotFound
	case errors.As(err, &denied):
		return fail.Denied
	case errors.As(err, &invalid):
		return fail.Invalid
	case errors.As(err, &slow):
		return fail.Stalled
	case errors.As(err, &gone), errors.As(err, &busy):
		return fail.Unavailable
	}

	if serviceerror.ToStatus(err).Code() == codes.Unauthenticated {
		return fail.Denied
	}

	return fail.CodeOf(err)
}

// failures encodes errors that nobody encoded, such as those that a workflow
// returns as they are.
type failures struct{}

func (failures) ErrorToFailure(err error) *failurepb.Failure {
	var own *fail.Error
	if errors.As(err, &own) {
		err = EncodeError(err)
	}

	return temporal.GetDefaultFailureConverter().ErrorToFailure(err)
}

func (failures) FailureToError(f *failurepb.Failure) error {
	return temporal.GetDefaultFailureConverter().FailureToError(f)
}

var _ converter.FailureConverter = failures{}
