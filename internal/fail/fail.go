package fail

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Code says what kind of failure an error is. The set is closed.
type Code string

// The codes. Retry behaviour and exit status follow from the code alone.
const (
	// Invalid: the caller asked for something that can never work (bad
	// configuration, bad flag, malformed data from the caller).
	Invalid Code = "invalid"
	// Unsupported: understood, but this version or this server cannot do it.
	Unsupported Code = "unsupported"
	// NotFound: the named thing does not exist.
	NotFound Code = "not-found"
	// Conflict: something is in the way: it exists already, is not empty, is
	// running, or somebody else holds it.
	Conflict Code = "conflict"
	// Unavailable: a server or a network did not answer; trying again may help.
	Unavailable Code = "unavailable"
	// Corrupt: bytes are not what they must be.
	Corrupt Code = "corrupt"
	// Stalled: no progress within the limit (a lock not granted, a budget used up).
	Stalled Code = "stalled"
	// Denied: authentication or permission refused, wrong key included.
	Denied Code = "denied"
	// Unverified: the work was done and a check or an objective was not met.
	Unverified Code = "unverified"
	// Exhausted: a local resource ran out (disk full, memory, file handles).
	Exhausted Code = "exhausted"
	// Internal: a defect in drctl.
	Internal Code = "internal"
)

type rule struct {
	retry bool
	exit  int
}

var rules = map[Code]rule{
	Invalid:     {false, 2},
	Unsupported: {false, 1},
	NotFound:    {false, 1},
	Conflict:    {false, 1},
	Unavailable: {true, 1},
	Corrupt:     {false, 4},
	Stalled:     {true, 1},
	Denied:      {false, 1},
	Unverified:  {false, 4},
	Exhausted:   {false, 1},
	Internal:    {false, 1},
}

// Error is a failure with everything a person at 3 a.m. needs.
type Error struct {
	Op      string // what was being done: "cut: lock tables"
	Subject string // on what: "orders/2@east (127.0.0.1:5433)", a vault key, a file
	Code    Code
	Hint    string // what to do next; may be empty
	Err     error  // the cause; may be nil
}

// Error renders "op: subject: cause (hint)".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)

	if e.Subject != "" {
		b.WriteString(": " + e.Subject)
	}

	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	} else {
		b.WriteString(": " + string(e.Code))
	}

	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}

	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New makes an Error from its parts; cause may be nil.
func New(code Code, op, subject, hint string, cause error) *Error {
	return &Error{Op: op, Subject: subject, Code: code, Hint: hint, Err: cause}
}

// Newf makes an Error without a hint whose cause is the formatted message.
func Newf(code Code, op, subject, format string, args ...any) *Error {
	return &Error{Op: op, Subject: subject, Code: code, Err: fmt.Errorf(format, args...)}
}

// CodeOf returns the code of the outermost *Error in err's tree. A bare
// context error is Stalled (deadline) or Unavailable (cancelled); any other
// error without a code is Internal; nil is "".
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}

	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}

	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return Stalled
	case errors.Is(err, context.Canceled):
		return Unavailable
	}

	return Internal
}

// Is reports whether err carries the code.
func Is(err error, code Code) bool { return err != nil && CodeOf(err) == code }

// Retryable reports whether trying the same call again can help.
func Retryable(err error) bool { return rules[CodeOf(err)].retry }

// Cause is the reason that an error of ours was made with, in words, and the
// error itself otherwise: what a person needs where the operation is known.
func Cause(err error) string {
	var e *Error
	if errors.As(err, &e) && e.Err != nil {
		return e.Err.Error()
	}

	return err.Error()
}

// ExitCode maps err to the process exit status: 0 done, 1 failed, 2 usage,
// 4 verification failed, 130 interrupted.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}

	if errors.Is(err, context.Canceled) {
		return 130
	}

	return rules[CodeOf(err)].exit
}
