package lines

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"drctl/internal/atomicfile"
	"drctl/internal/fail"
)

const op = "lab: lines"

// What is done to a line.
const (
	Cut   = "cut"
	Slow  = "slow"
	Lossy = "lossy"
)

// Fault is what is wrong with a link. There is one of a kind for each link.
type Fault struct {
	Do   string        `json:"do"`
	Link string        `json:"link"`
	Way  string        `json:"way,omitempty"`  // of Cut
	By   time.Duration `json:"by,omitempty"`   // of Slow: how much longer a round trip takes
	Rate float64       `json:"rate,omitempty"` // of Lossy: the share of pieces that is lost, more than 0, at most 1
}

// Check says why it is no fault. Invalid.
func (f Fault) Check() error {
	no := func(hint string, words string) error {
		return fail.New(fail.Invalid, op, f.Do+" "+f.Link, hint, errors.New(words))
	}

	switch {
	case f.Do == Cut && !slices.Contains([]string{In, Out, Both}, f.Way):
		return no("--way is in, out or both", "a cut has no way "+f.Way)
	case f.Do == Slow && f.By <= 0:
		return no("say how much longer a round trip takes, such as --by 80ms", "it is not slower")
	case f.Do == Lossy && (f.Rate <= 0 || f.Rate > 1):
		return no("say which share is lost, such as --rate 0.05", "a share is more than 0 and at most 1")
	case !slices.Contains([]string{Cut, Slow, Lossy}, f.Do):
		return no("use cut, slow or lossy", "unknown fault")
	}

	return nil
}

// The files in the directory of the lines.
const (
	suffix  = ".fault"
	applied = "applied" // a note
)

func (f Fault) file(dir string) string {
	return filepath.Join(dir, f.Do+"@"+strings.ReplaceAll(f.Link, "/", "~")+suffix)
}

// Plant has the lines do what a fault says, in place of what a fault of its kind on its link said before, and
// waits until they do. Unavailable when nobody carries them: then it is not planted.
func Plant(ctx context.Context, dir string, f Fault) error {
	if err := f.Check(); err != nil {
		return err
	}

	b, err := json.Marshal(f)
	if err != nil {
		return fail.New(fail.Internal, op, f.Link, "", err)
	}

	path := f.file(dir)
	if err := atomicfile.Write(path, b, 0o644); err != nil {
		return fail.FromOS(op, path, err)
	}

	if err := await(ctx, dir); err != nil {
		return errors.Join(err, fail.FromOS(op, path, os.Remove(path)))
	}

	return nil
}

// Mend takes the fault of a kind away from a link, and waits until the lines do without it. It may be repeated, and
// done where there is none, and where nobody carries the lines.
func Mend(ctx context.Context, dir, do, link string) error {
	path := Fault{Do: do, Link: link}.file(dir)
	if err := os.Remove(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fail.FromOS(op, path, err)
	}

	if err := await(ctx, dir); !fail.Is(err, fail.Unavailable) {
		return err
	}

	return nil // who carries them next finds no fault
}

// Clear takes all faults away.
func Clear(ctx context.Context, dir string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil || len(paths) == 0 {
		return fail.FromOS(op, dir, err)
	}

	for _, p := range paths {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fail.FromOS(op, p, err)
		}
	}

	if err := await(ctx, dir); !fail.Is(err, fail.Unavailable) {
		return err
	}

	return nil
}

// List are the faults that are planted.
func List(dir string) ([]Fault, error) {
	out, _, err := read(dir)
	return out, err
}

// read returns the faults of a directory, and a mark that tells this state of it from others.
func read(dir string) (out []Fault, mark string, err error) {
	es, err := os.ReadDir(dir)
	if err != nil {
		return nil, "", fail.FromOS(op, dir, err)
	}

	h := sha256.New()

	for _, e := range es { // sorted
		if !strings.HasSuffix(e.Name(), suffix) {
			continue
		}

		path := filepath.Join(dir, e.Name())

		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was taken away meanwhile
		}

		if err != nil {
			return nil, "", fail.FromOS(op, path, err)
		}

		var f Fault

		err = json.Unmarshal(b, &f)
		if err == nil {
			err = f.Check()
		}

		if err != nil || filepath.Base(f.file("")) != e.Name() {
			return nil, "", fail.New(fail.Corrupt, op, path, "remove the file", errors.Join(err, errors.New("it holds no fault of its name")))
		}

		out = append(out, f)
		_, _ = h.Write(append(b, '\n'))
	}

	return out, hex.EncodeToString(h.Sum(nil)), nil
}

// carriedWithin is how long the process has to do what the files say. It looks every tick; the rest is for a machine
// that is busy.
const carriedWithin = 10 * time.Second

// await waits until the process that carries the lines has done what the files say.
func await(ctx context.Context, dir string) error {
	for end := time.Now().Add(carriedWithin); ; time.Sleep(5 * time.Millisecond) {
		_, want, err := read(dir)
		if err != nil {
			return err
		}

		did, lives := done(dir)
		if lives && did.Mark == want {
			return ctx.Err()
		}

		if !lives || ctx.Err() != nil || time.Now().After(end) {
			return errors.Join(ctx.Err(), fail.New(fail.Unavailable, op, dir, "start it with: drlab up", errors.New("the process that carries the lines does not answer")))
		}
	}
}
