package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Write replaces the file at path, or makes it, with the mode given.
func Write(path string, content []byte, mode os.FileMode) error {
	return Replace(path, mode, func(f *os.File) error {
		_, err := f.Write(content)
		return err
	})
}

// Replace is Write for content that is produced piece by piece. An error of
// write is returned as it is and leaves the file as it was.
func Replace(path string, mode os.FileMode, write func(*os.File) error) error {
	dir, name := filepath.Split(path)

	tmp, err := temp(filepath.Clean(dir), name+".new-*", mode, write)
	if err != nil {
		return err
	}

	if err := os.Rename(tmp, path); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}

	return SyncDir(filepath.Dir(path))
}

// Create makes the file at path; fs.ErrExist when there is one, also when two
// make it at once. The unfinished file lies in spool, a directory on the same
// volume, where nobody takes it for a file of path's directory.
func Create(path, spool string, mode os.FileMode, write func(*os.File) error) error {
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}

	tmp, err := temp(spool, "new-*", mode, write)
	if err != nil {
		return err
	}

	defer func() { _ = os.Remove(tmp) }() // the content has its own name by then, or none

	// Unlike a rename, a link never replaces.
	if err := os.Link(tmp, path); err != nil {
		return err
	}

	return SyncDir(filepath.Dir(path))
}

// temp writes a durable file with a new name; a failed one is removed.
func temp(dir, pattern string, mode os.FileMode, write func(*os.File) error) (string, error) {
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return "", err
	}

	err = write(f)
	if err == nil {
		err = f.Chmod(mode)
	}

	if err == nil {
		err = f.Sync()
	}

	if e := f.Close(); err == nil {
		err = e
	}

	if err != nil {
		_ = os.Remove(f.Name())
		return "", err
	}

	return f.Name(), nil
}

// MkdirAll makes dir and its missing parents, and makes their names durable.
func MkdirAll(dir string, mode os.FileMode) error {
	if st, err := os.Stat(dir); err == nil && st.IsDir() {
		return nil
	}

	parent := filepath.Dir(dir)
	if parent != dir {
		if err := MkdirAll(parent, mode); err != nil {
			return err
		}
	}

	if err := os.Mkdir(dir, mode); err != nil {
		if st, serr := os.Stat(dir); errors.Is(err, fs.ErrExist) && serr == nil && st.IsDir() {
			return nil // another has made it meanwhile
		}

		return err
	}

	return SyncDir(parent)
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}

	return errors.Join(d.Sync(), d.Close())
}
