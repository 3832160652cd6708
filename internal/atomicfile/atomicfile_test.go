package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()

	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	return string(b)
}

func names(t *testing.T, dir string) (out []string) {
	t.Helper()

	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}

	for _, e := range es {
		out = append(out, e.Name())
	}

	return out
}

func TestWriteReplacesWholeAndSetsTheMode(t *testing.T) {
	dir := t.TempDir()

	path := filepath.Join(dir, "f")
	for _, content := range []string{"first and longer", "second"} {
		if err := Write(path, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}

		if got := read(t, path); got != content {
			t.Errorf("content %q, want %q", got, content)
		}
	}

	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}

	if got := names(t, dir); len(got) != 1 {
		t.Errorf("the directory holds %v", got)
	}
}

func TestFailedWriterLeavesTheOldContentAndNothingElse(t *testing.T) {
	dir := t.TempDir()

	path := filepath.Join(dir, "f")
	if err := Write(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")

	half := func(f *os.File) error {
		if _, err := f.WriteString("ne"); err != nil {
			return err
		}

		return broken
	}
	if err := Replace(path, 0o600, half); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}

	if err := Create(filepath.Join(dir, "g"), dir, 0o600, half); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}

	if got := names(t, dir); len(got) != 1 || read(t, path) != "old" {
		t.Errorf("the directory holds %v, content %q", got, read(t, path))
	}
}

// Writers of one file at once: any of them wins, and it wins whole.
func TestConcurrentWritersDoNotMix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")

	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			b := make([]byte, 1000*(i+1))
			for k := range b {
				b[k] = byte('a' + i)
			}

			for range 20 {
				if err := Write(path, b, 0o600); err != nil {
					t.Error(err)
				}
			}
		})
	}

	wg.Wait()

	got := read(t, path)
	if len(got) != 1000*int(got[0]-'a'+1) {
		t.Errorf("%d bytes of %q", len(got), got[0])
	}

	for i := range got {
		if got[i] != got[0] {
			t.Fatalf("byte %d is of another writer", i)
		}
	}
}

func TestCreateIsWonByOneAndNeverReplaces(t *testing.T) {
	dir, spool := t.TempDir(), t.TempDir()
	path := filepath.Join(dir, "f")
	var won sync.Map

	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			err := Create(path, spool, 0o600, func(f *os.File) error {
				_, err := fmt.Fprint(f, i)
				return err
			})
			switch {
			case err == nil:
				won.Store(fmt.Sprint(i), true)
			case !errors.Is(err, fs.ErrExist):
				t.Error(err)
			}
		})
	}

	wg.Wait()
	n := 0
	won.Range(func(k, _ any) bool {
		n++

		if read(t, path) != k {
			t.Errorf("%v believes that it made the file, which holds %q", k, read(t, path))
		}

		return true
	})

	if n != 1 || len(names(t, spool)) != 0 {
		t.Errorf("%d winners, the spool holds %v", n, names(t, spool))
	}
}

func TestMkdirAllMakesParentsAndKeepsWhatIsThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "c")
	for range 2 {
		if err := MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}

	file := filepath.Join(dir, "f")
	if err := Write(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	for _, d := range []string{file, filepath.Join(file, "d")} {
		if err := MkdirAll(d, 0o700); err == nil {
			t.Errorf("made the directory %s of a file, or below one", d)
		}
	}
}
