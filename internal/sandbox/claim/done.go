package claim

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"drctl/internal/fail"
)

const doneName = "restored.json"

// Done is the record of a finished restore into a directory, kept beside it, by
// which a repeat of the same restore is known to have nothing to do.
type Done struct {
	Dir  string    `json:"dir"`
	What string    `json:"what"` // identifies what was restored
	At   time.Time `json:"at"`
	// Print is the fingerprint of the directory as the restore left it.
	Print   string          `json:"fingerprint"`
	Outcome json.RawMessage `json:"outcome"`
}

// WriteDone leaves a record in the work directory, and nothing else there.
func WriteDone(work string, d Done) (err error) {
	if d.Print, err = fingerprint(d.Dir); err != nil {
		return err
	}
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return fail.New(fail.Internal, "restore: record", d.Dir, "", err)
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		return fail.FromOS("make", work, err)
	}
	if err := writeFile(filepath.Join(work, doneName), append(b, '\n'), 0o600); err != nil {
		return err
	}
	es, err := os.ReadDir(work)
	if err != nil {
		return fail.FromOS("list", work, err)
	}
	for _, e := range es {
		if e.Name() != doneName {
			if err := os.RemoveAll(filepath.Join(work, e.Name())); err != nil {
				return fail.FromOS("remove", work, err)
			}
		}
	}
	return nil
}

// ReadDone returns the record in the work directory if it is of the same
// restore and the directory still is what that left: no file has come, gone or
// changed in size or time, so no server has been started there since.
func ReadDone(work, dir, what string) (d Done, ok bool, err error) {
	b, err := os.ReadFile(filepath.Join(work, doneName))
	if errors.Is(err, fs.ErrNotExist) {
		return d, false, nil
	}
	if err != nil {
		return d, false, fail.FromOS("read", work, err)
	}
	if err := json.Unmarshal(b, &d); err != nil || d.Dir != dir || d.What != what {
		return Done{}, false, nil // another restore's, or half-written
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return Done{}, false, nil
	}
	now, err := fingerprint(dir)
	return d, err == nil && now == d.Print, err
}

// fingerprint hashes the names, sizes and times of all that is in a directory.
func fingerprint(dir string) (string, error) {
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		in, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%q %s %d %d\n", rel, in.Mode(), in.Size(), in.ModTime().UnixNano())
		return nil
	})
	if err != nil {
		return "", fail.FromOS("read", dir, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
