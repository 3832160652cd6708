package claim

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A repeat takes a directory for restored only while it is what the restore left.
func TestDone(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string) error
		what   string
		ok     bool
	}{
		"untouched":         {nil, "this", true},
		"another restore":   {nil, "that", false},
		"a file changed":    {func(_ *testing.T, dir string) error { return os.WriteFile(dir+"/sub/a", []byte("2"), 0o600) }, "this", false},
		"a file came":       {func(_ *testing.T, dir string) error { return os.WriteFile(dir+"/b", nil, 0o600) }, "this", false},
		"a file went":       {func(_ *testing.T, dir string) error { return os.Remove(dir + "/sub/a") }, "this", false},
		"the directory":     {func(_ *testing.T, dir string) error { return os.RemoveAll(dir) }, "this", false},
		"the record is cut": {func(_ *testing.T, dir string) error { return os.Truncate(dir+".work/restored.json", 20) }, "this", false},
		"there is none":     {func(_ *testing.T, dir string) error { return os.RemoveAll(dir + ".work") }, "this", false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			work := dir + ".work"
			for _, d := range []string{dir + "/sub", work + "/wal"} {
				if err := os.MkdirAll(d, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(dir+"/sub/a", []byte("1"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(work+"/wal/x", []byte("1"), 0o600); err != nil {
				t.Fatal(err)
			}
			at := time.Now().UTC()
			if err := WriteDone(work, Done{Dir: dir, What: "this", At: at, Outcome: json.RawMessage(`{"bytes":7}`)}); err != nil {
				t.Fatal(err)
			}
			if es, _ := os.ReadDir(work); len(es) != 1 {
				t.Errorf("the work directory holds %v", es)
			}
			if c.change != nil {
				time.Sleep(20 * time.Millisecond) // past a tick of the file system's clock
				if err := c.change(t, dir); err != nil {
					t.Fatal(err)
				}
			}
			d, ok, err := ReadDone(work, dir, c.what)
			if err != nil || ok != c.ok {
				t.Fatalf("%v %v", ok, err)
			}
			if ok && (!d.At.Equal(at) || string(d.Outcome) == "") {
				t.Errorf("%+v", d)
			}
		})
	}
}
