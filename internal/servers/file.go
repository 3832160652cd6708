package servers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"drctl/internal/fail"
)

// WriteFileSync replaces a file durably: whole or not at all.
func WriteFileSync(path string, content []byte, mode os.FileMode) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return ioError("write", tmp, err)
	}
	_, werr := f.Write(content)
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		return ioError("write", tmp, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return ioError("rename", path, err)
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return ioError("open", filepath.Dir(path), err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return ioError("sync", filepath.Dir(path), err)
	}
	return nil
}

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
