package claim

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"drctl/internal/fail"
)

// ioError maps an error of the local file system.
func ioError(op, path string, err error) error {
	code, hint := fail.Internal, ""
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		code, hint = fail.Exhausted, "free space, or put the sandbox on a larger volume"
	case errors.Is(err, os.ErrPermission):
		code, hint = fail.Denied, "run as a user that may write there"
	case errors.Is(err, os.ErrNotExist):
		code = fail.NotFound
	}
	return fail.New(code, op, path, hint, fmt.Errorf("%w", err))
}
