package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"drctl/internal/atomicfile"
	"drctl/internal/fail"
)

// fileStore keeps each object in a file of the same name under root. An object
// is written to root/.tmp, synced, and linked to its name, so that a name never
// shows half an object and link(2) decides between writers.
type fileStore struct{ root string }

const tmpDir = ".tmp"

func (s *fileStore) URL() string { return "file://" + s.root }

func (s *fileStore) path(key string) (string, error) {
	if err := validKey(key); err != nil {
		return "", err
	}

	return filepath.Join(s.root, filepath.FromSlash(key)), nil
}

func (s *fileStore) Put(ctx context.Context, key string, body []byte) error {
	return s.put(ctx, key, func(f *os.File) error {
		_, err := f.Write(body)
		return err
	})
}

func (s *fileStore) PutFile(ctx context.Context, key, file string) error {
	return s.put(ctx, key, func(f *os.File) error {
		src, err := os.Open(file)
		if err != nil {
			return err
		}
		defer src.Close()
		_, err = io.Copy(f, ctxReader{ctx, src})

		return err
	})
}

func (s *fileStore) put(ctx context.Context, key string, write func(*os.File) error) error {
	dst, err := s.path(key)
	if err != nil {
		return err
	}

	if err := ctx.Err(); err != nil {
		return s.fail("write", key, err)
	}

	// Again, where who deletes removed the folder meanwhile.
	for try := 0; try == 0 || errors.Is(err, fs.ErrNotExist) && try < 3; try++ {
		err = s.create(dst, write)
	}

	if err != nil {
		return s.fail("write", key, err)
	}

	return nil
}

func (s *fileStore) create(dst string, write func(*os.File) error) error {
	spool := filepath.Join(s.root, tmpDir)
	for _, dir := range []string{filepath.Dir(dst), spool} {
		if err := atomicfile.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}

	return atomicfile.Create(dst, spool, 0o600, write)
}

func (s *fileStore) Get(_ context.Context, key string) (io.ReadCloser, error) {
	p, err := s.path(key)
	if err != nil {
		return nil, err
	}

	f, err := os.Open(p)
	if err != nil {
		return nil, s.fail("read", key, err)
	}

	if st, err := f.Stat(); err != nil || st.IsDir() {
		_ = f.Close()
		return nil, s.fail("read", key, fs.ErrNotExist)
	}

	return f, nil
}

func (s *fileStore) Stat(_ context.Context, key string) (Info, error) {
	p, err := s.path(key)
	if err != nil {
		return Info{}, err
	}

	st, err := os.Stat(p)
	if err == nil && st.IsDir() {
		err = fs.ErrNotExist
	}

	if err != nil {
		return Info{}, s.fail("look up", key, err)
	}

	return Info{Key: key, Size: st.Size(), Modified: st.ModTime()}, nil
}

func (s *fileStore) List(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		// Start in the deepest folder that the prefix names whole.
		dir := ""
		if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
			dir = prefix[:i+1]
			if err := validKey(prefix[:i]); err != nil {
				yield(Info{}, err)
				return
			}
		}

		s.walk(ctx, dir, prefix, after, yield)
	}
}

// walk yields the files under dir ("" or ending in "/") and reports whether to
// go on. A folder sorts as its name and a slash, which makes the order of a
// walk the bytewise order of the keys.
func (s *fileStore) walk(ctx context.Context, dir, prefix, after string, yield func(Info, error) bool) bool {
	if err := ctx.Err(); err != nil {
		yield(Info{}, s.fail("list", prefix, err))
		return false
	}

	within, _ := strings.CutPrefix(prefix, dir) // what a name must begin with
	if strings.HasPrefix(dir, prefix) {
		within = ""
	}
	past, deep := strings.CutPrefix(after, dir) // what it must sort after

	names, err := s.names(dir, func(name string) bool {
		related := strings.HasPrefix(name, within) || strings.HasPrefix(within, name)
		return related && (!deep || name > past || strings.HasPrefix(past, name))
	})
	if err != nil {
		yield(Info{}, s.fail("list", dir, err))
		return false
	}

	slices.Sort(names)

	for _, n := range names {
		key := dir + n
		if strings.HasSuffix(n, "/") {
			related := strings.HasPrefix(key, prefix) || strings.HasPrefix(prefix, key)

			passed := key < after && !strings.HasPrefix(after, key)
			if related && !passed && !s.walk(ctx, key, prefix, after, yield) {
				return false
			}

			continue
		}

		if !strings.HasPrefix(key, prefix) || key <= after || validKey(key) != nil {
			continue // the last: what others put there
		}

		st, err := os.Stat(filepath.Join(s.root, filepath.FromSlash(key)))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}

		if err != nil {
			yield(Info{}, s.fail("list", key, err))
			return false
		}

		if !yield(Info{Key: key, Size: st.Size(), Modified: st.ModTime()}, nil) {
			return false
		}
	}

	return true
}

// names lists what is in a folder and passes the filter, in no order; folders
// end in "/". What a filter refuses costs no more than reading its name: a
// shard's log has some hundred thousand names and a listing wants the last few.
func (s *fileStore) names(dir string, want func(name string) bool) ([]string, error) {
	d, err := os.Open(filepath.Join(s.root, filepath.FromSlash(dir)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}

	if err != nil {
		return nil, err
	}

	defer d.Close()

	var names []string
	for {
		entries, err := d.ReadDir(4096)
		for _, e := range entries {
			name := e.Name()
			switch {
			case strings.HasPrefix(name, "."):
				continue
			case e.IsDir():
				name += "/"
			case !e.Type().IsRegular():
				continue
			}

			if want(name) {
				names = append(names, name)
			}
		}

		if err == io.EOF {
			return names, nil
		}

		if err != nil {
			return nil, err
		}
	}
}

// Folders lists the folders directly under prefix, which is "" or ends in "/".
func (s *fileStore) Folders(ctx context.Context, prefix string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, s.fail("list", prefix, err)
	}

	names, err := s.names(prefix, func(name string) bool {
		name, folder := strings.CutSuffix(name, "/")
		return folder && validKey(name) == nil // not what others put there
	})
	if err != nil {
		return nil, s.fail("list", prefix, err)
	}

	for i, n := range names {
		names[i] = strings.TrimSuffix(n, "/")
	}

	slices.Sort(names) // without the slash, which sorts behind "-"

	return names, nil
}

// Last lists the last n keys of the folder dir, which ends in "/", that sort
// before the key before, in order. It reads the folder once, where a search
// by listings would read it for each.
func (s *fileStore) Last(ctx context.Context, dir, before string, n int) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, s.fail("list", dir, err)
	}

	end, ok := strings.CutPrefix(before, dir)
	if !ok {
		return nil, s.fail("list", dir, fmt.Errorf("%q is not in it", before))
	}
	var last []string // unordered, at most 2n
	keep := func() {
		slices.Sort(last)
		last = last[max(0, len(last)-n):]
	}
	least := ""

	_, err := s.names(dir, func(name string) bool {
		if name < end && name > least && !strings.HasSuffix(name, "/") {
			if last = append(last, name); len(last) >= 2*n {
				keep()
				least = last[0]
			}
		}

		return false
	})
	if err != nil {
		return nil, s.fail("list", dir, err)
	}

	keep()

	for i, name := range last {
		last[i] = dir + name
	}

	return last, nil
}

// sweep removes what writers that were killed left unfinished.
func (s *fileStore) sweep(_ context.Context, before time.Time) error {
	dir := filepath.Join(s.root, tmpDir)

	left, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.fail("sweep", tmpDir, err)
	}

	for _, e := range left {
		if i, err := e.Info(); err == nil && i.ModTime().Before(before) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return s.fail("sweep", tmpDir, err)
			}
		}
	}

	return nil
}

func (s *fileStore) Delete(_ context.Context, key string) error {
	p, err := s.path(key)
	if err != nil {
		return err
	}

	if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.fail("delete", key, err)
	}

	// There is a new folder of observations every few minutes: the empty ones go.
	if strings.HasPrefix(key, watchedRoot) && os.Remove(filepath.Dir(p)) == nil {
		p = filepath.Dir(p)
	}

	if err := atomicfile.SyncDir(filepath.Dir(p)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.fail("delete", key, err)
	}

	return nil
}

func (s *fileStore) fail(op, key string, err error) error {
	subject := s.URL() + "/" + key
	if e := fail.FromContext("vault: "+op, subject, err); e != nil {
		return e
	}

	code, hint := fail.OS(err)
	switch {
	case fail.DiskFull(err):
		hint = "make room on the volume of " + s.root
	case code == fail.Denied:
		hint = "check the owner and the mode of " + s.root
	case code == fail.Internal, code == fail.Conflict && !errors.Is(err, fs.ErrExist):
		code = fail.Unavailable // a file system that is away says many things
	}

	return fail.New(code, "vault: "+op, subject, hint, err)
}

// ctxReader ends a copy when ctx ends.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}

	return c.r.Read(p)
}
