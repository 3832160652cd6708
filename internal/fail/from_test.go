package fail

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestFromOS(t *testing.T) {
	own := New(Corrupt, "read", "f", "", nil)

	at := func(err error) error { return &fs.PathError{Op: "write", Path: "f", Err: err} }
	for _, c := range []struct {
		err  error
		code Code
		hint bool
	}{
		{at(syscall.ENOSPC), Exhausted, true},
		{fmt.Errorf("copy: %w", at(syscall.EDQUOT)), Exhausted, true},
		{at(syscall.EMFILE), Exhausted, true},
		{at(syscall.ENOMEM), Exhausted, true},
		{at(syscall.EACCES), Denied, true},
		{at(syscall.EPERM), Denied, true},
		{at(syscall.EROFS), Denied, true},
		{at(syscall.ENOENT), NotFound, false},
		{at(syscall.EEXIST), Conflict, false},
		{at(syscall.ENOTDIR), Conflict, false},
		{at(syscall.EIO), Unavailable, true},
		{at(syscall.EINVAL), Internal, false},
		{errors.New("else"), Internal, false},
		{fmt.Errorf("lay down: %w", own), Corrupt, false},
		{fmt.Errorf("copy: %w", context.Canceled), Unavailable, false},
		{context.DeadlineExceeded, Stalled, false},
	} {
		got := FromOS("op", "f", c.err)

		var e *Error
		if hint := errors.As(got, &e) && e.Hint != ""; CodeOf(got) != c.code || hint != c.hint || !errors.Is(got, c.err) {
			t.Errorf("FromOS(%v) = %v of code %s, want %s, with a hint: %v", c.err, got, CodeOf(got), c.code, c.hint)
		}
	}

	if FromOS("op", "f", nil) != nil || From(Internal, "op", "f", nil) != nil {
		t.Error("nil became an error")
	}

	_, err := os.Open(filepath.Join(t.TempDir(), "none"))
	if !Is(FromOS("open", "none", err), NotFound) {
		t.Errorf("a missing file is %v", err)
	}
}

func TestFromContext(t *testing.T) {
	for err, want := range map[error]Code{context.Canceled: Unavailable, context.DeadlineExceeded: Stalled} {
		e := FromContext("op", "x", fmt.Errorf("dial: %w", err))
		if e == nil || e.Code != want || !errors.Is(e, err) {
			t.Errorf("%v became %v", err, e)
		}

		if got := From(Corrupt, "op", "x", err); !Is(got, want) {
			t.Errorf("%v became %v", err, got)
		}
	}

	if e := FromContext("op", "x", errors.New("else")); e != nil {
		t.Errorf("an error of no context became %v", e)
	}

	if got := From(Corrupt, "op", "x", errors.New("else")); !Is(got, Corrupt) {
		t.Errorf("got %v", got)
	}
}
