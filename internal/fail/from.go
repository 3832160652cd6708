package fail

import (
	"context"
	"errors"
	"io/fs"
	"syscall"
)

// FromOS turns an error of the operating system about a file or directory into
// an *Error with a hint. nil stays nil; an *Error and a bare error of a context
// say what they are already and are returned as they are.
func FromOS(op, path string, err error) error {
	if err == nil {
		return nil
	}

	var e *Error
	if errors.As(err, &e) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	code, hint := OS(err)

	return New(code, op, path, hint, err)
}

// OS classifies an error of the operating system; internal for what it does
// not know. A caller with a better hint for its place keeps the code.
func OS(err error) (code Code, hint string) {
	is := func(errnos ...syscall.Errno) bool {
		for _, e := range errnos {
			if errors.Is(err, e) {
				return true
			}
		}

		return false
	}
	switch {
	case DiskFull(err):
		return Exhausted, "free space, or choose a directory on a larger volume"
	case is(syscall.EMFILE, syscall.ENFILE):
		return Exhausted, "raise the limit of open files (ulimit -n)"
	case is(syscall.ENOMEM):
		return Exhausted, "free memory, or raise the limits of the user that runs drctl"
	case is(syscall.EROFS):
		return Denied, "the volume is mounted read-only"
	case errors.Is(err, fs.ErrPermission):
		return Denied, "give the user that runs drctl access to it"
	case errors.Is(err, fs.ErrNotExist):
		return NotFound, ""
	case errors.Is(err, fs.ErrExist), is(syscall.ENOTDIR, syscall.EISDIR):
		return Conflict, ""
	case is(syscall.EIO, syscall.ESTALE, syscall.ETIMEDOUT):
		return Unavailable, "the disk or the network file system fails; see the system's log"
	}

	return Internal, ""
}

// DiskFull reports whether a volume or a quota is used up.
func DiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// FromContext turns the end of a context into an *Error: stalled when its time
// was up, unavailable when it was cancelled. It is nil for every other error.
func FromContext(op, subject string, err error) *Error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return New(Stalled, op, subject, "", err)
	case errors.Is(err, context.Canceled):
		return New(Unavailable, op, subject, "", err)
	}

	return nil
}

// From keeps an *Error in err's tree as it is, maps the end of a context, and
// gives any other error the code; nil stays nil.
func From(code Code, op, subject string, err error) error {
	var e *Error
	if err == nil || errors.As(err, &e) {
		return err
	}

	if c := FromContext(op, subject, err); c != nil {
		return c
	}

	return New(code, op, subject, "", err)
}
