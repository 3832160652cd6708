package targettest

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"

	"drctl/internal/fail"
	"drctl/targets"
)

// A Fault is one way in which a source does not give what it holds.
type Fault string

// The faults. Each hits every read of one call of the source.
const (
	Missing   Fault = "missing"   // it is not there
	CutOff    Fault = "cut off"   // half of it, then an error
	Short     Fault = "short"     // half of it, then an end
	Flipped   Fault = "flipped"   // one byte is another
	Cancelled Fault = "cancelled" // the caller is ended while it reads
)

// faults lists what a call of a source may do to a driver. A source promises
// to check trees, small files, logs and manifests itself, so that no byte of
// them is altered without an error. How long a log is the driver knows too.
var faults = map[string][]Fault{
	"tree":     {Missing, CutOff, Cancelled},
	"stream":   {Missing, CutOff, Short, Flipped, Cancelled},
	"file":     {Missing},
	"log":      {Missing, CutOff, Short, Cancelled},
	"object":   {Missing, CutOff, Short, Flipped, Cancelled},
	"manifest": {Missing, CutOff, Cancelled},
}

var errCutOff = fail.New(fail.Unavailable, "read", "the vault", "", errors.New("connection reset by peer"))

// Faulty is a source with a fault in one of its calls. Without one it counts
// which calls a driver makes.
type Faulty struct {
	targets.Source
	Call   string // of faults
	Fault  Fault
	Cancel func() // what Cancelled calls

	mu   sync.Mutex
	seen map[string]int
}

// Seen reports how often a call was made.
func (f *Faulty) Seen(call string) int {
	f.mu.Lock()
	defer f.mu.Unlock()

	return f.seen[call]
}

// hit notes a call and returns the fault that it has.
func (f *Faulty) hit(call string) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()

	if f.seen == nil {
		f.seen = map[string]int{}
	}

	f.seen[call]++
	if call != f.Call {
		return ""
	}

	if f.Fault == Cancelled {
		f.Cancel()
	}

	return f.Fault
}

func (f *Faulty) read(call string, open func() (io.ReadCloser, error)) (io.ReadCloser, error) {
	fault := f.hit(call)
	if fault == Missing {
		return nil, fail.Newf(fail.NotFound, "read", call, "planted: it is missing")
	}

	r, err := open()
	if err != nil || fault == "" {
		return r, err
	}
	defer r.Close()

	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}

	half := &rest{b: b[:len(b)/2], end: io.EOF}
	switch fault {
	case CutOff:
		half.end = errCutOff
	case Cancelled:
		half.end = context.Canceled
	case Flipped:
		b = append([]byte(nil), b...)
		if len(b) > 0 {
			b[len(b)/2] ^= 1
		}
		half.b = b
	}

	return half, nil
}

// rest gives bytes and then an error.
type rest struct {
	b   []byte
	end error
}

func (r *rest) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, r.end
	}
	n := copy(p, r.b)
	r.b = r.b[n:]

	return n, nil
}

func (r *rest) Close() error { return nil }

// RestoreTree gives a tree back, or with CutOff and Cancelled a part of it.
func (f *Faulty) RestoreTree(ctx context.Context, a targets.Artifact, dir string, delta bool, p targets.Progress) error {
	fault := f.hit("tree")
	switch fault {
	case "":
		return f.Source.RestoreTree(ctx, a, dir, delta, p)
	case Missing:
		return fail.Newf(fail.NotFound, "read", "tree", "planted: it is missing")
	case Cancelled:
		return ctx.Err()
	}

	if err := f.Source.RestoreTree(ctx, a, dir, delta, p); err != nil {
		return err
	}

	return errors.Join(os.RemoveAll(filepath.Join(dir, "base")), errCutOff)
}

// OpenStream reads an image.
func (f *Faulty) OpenStream(ctx context.Context, a targets.Artifact) (io.ReadCloser, error) {
	return f.read("stream", func() (io.ReadCloser, error) { return f.Source.OpenStream(ctx, a) })
}

// File reads a small file.
func (f *Faulty) File(ctx context.Context, a targets.Artifact, name string) ([]byte, error) {
	if f.hit("file") != "" {
		return nil, fail.Newf(fail.NotFound, "read", name, "planted: it is missing")
	}

	return f.Source.File(ctx, a, name)
}

// Log reads a part of a timeline.
func (f *Faulty) Log(ctx context.Context, s targets.Span) (io.ReadCloser, error) {
	return f.read("log", func() (io.ReadCloser, error) { return f.Source.Log(ctx, s) })
}

// Object reads content.
func (f *Faulty) Object(ctx context.Context, sha string) (io.ReadCloser, error) {
	return f.read("object", func() (io.ReadCloser, error) { return f.Source.Object(ctx, sha) })
}

// Manifest reads a manifest.
func (f *Faulty) Manifest(ctx context.Context, sha string) (io.ReadCloser, error) {
	return f.read("manifest", func() (io.ReadCloser, error) { return f.Source.Manifest(ctx, sha) })
}

// failingSink stores objects until one fails.
type failingSink struct {
	targets.ObjectSink
	left int
	mu   sync.Mutex
}

func (s *failingSink) PutObject(ctx context.Context, r io.Reader) (string, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.left--; s.left < 0 {
		return "", 0, errCutOff
	}

	return s.ObjectSink.PutObject(ctx, r)
}

// failingBase refuses what a base stores.
type failingBase struct{ targets.Sink }

func (failingBase) SaveTree(context.Context, targets.TreeRequest) (targets.Saved, error) {
	return targets.Saved{}, errCutOff
}

func (failingBase) SaveStream(_ context.Context, _ string, r io.Reader, _ targets.Progress) (targets.Saved, error) {
	_, _ = r.Read(make([]byte, 1))
	return targets.Saved{}, errCutOff
}
