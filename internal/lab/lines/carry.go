package lines

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"drctl/internal/atomicfile"
	"drctl/internal/fail"
	"drctl/internal/lab/delay"
	"drctl/internal/proc"
)

// tick is how often the process looks for faults.
const tick = 20 * time.Millisecond

// Carry carries lines, under the faults of a directory, until ctx ends or the directory is gone. It says what
// changes. Unavailable when a port is taken.
func Carry(ctx context.Context, dir string, all []Line, say func(string)) error {
	proxies := make([]*delay.Proxy, len(all))

	for i, l := range all {
		p, err := delay.Listen(l.Address(), l.To, 0)
		if err != nil {
			return err
		}
		defer p.Close()
		proxies[i] = p
	}

	self, err := proc.Self()
	if err != nil {
		return err
	}

	t := time.NewTicker(tick)
	defer t.Stop()

	var was, trouble string

	for {
		fs, mark, err := read(dir)

		switch {
		case isGone(err):
			return nil // the lab was removed
		case err != nil:
			// What a file means that cannot be read nobody knows: everything stays as it is.
			if err.Error() != trouble {
				trouble = err.Error()
				say(trouble)
			}
		case mark != was:
			for i, l := range all {
				proxies[i].Set(l.under(fs))
			}

			if err := write(dir, note{self, mark}); err != nil {
				return err
			}

			was, trouble = mark, ""

			say(fmt.Sprintf("%d faults on %d lines", len(fs), len(all)))
		}

		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// write writes down what is done.
func write(dir string, n note) error {
	b, err := json.Marshal(n)
	if err != nil {
		return fail.New(fail.Internal, op, dir, "", err)
	}

	if err := atomicfile.Write(filepath.Join(dir, applied), b, 0o644); err != nil && !isGone(err) {
		return fail.FromOS(op, dir, err)
	}

	return nil
}

func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) || fail.Is(err, fail.NotFound) }

// note is what the process has done.
type note struct {
	proc.ID
	Mark string `json:"mark"`
}

// done returns what the process has carried out last that lives.
func done(dir string) (n note, ok bool) {
	b, err := os.ReadFile(filepath.Join(dir, applied))

	return n, err == nil && json.Unmarshal(b, &n) == nil && n.Alive()
}

// Carried reports whether a process carries the lines.
func Carried(dir string) bool {
	_, ok := done(dir)
	return ok
}
