package targettest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// Memory is an archive, a sink and a source of one shard, for tests. It keeps
// what it can in memory and trees in a directory, and is as strict as a vault: a
// hole in a log is refused, content is checked when it is read.
type Memory struct {
	kind targets.Kind
	dir  string

	mu        sync.Mutex
	timelines map[string]*timeline
	cur       *timeline
	held      bool // Durable moves by Settle alone
	durable   uint64
	advanced  chan struct{}
	failWrite error
	gaveUp    error
	bases     []targets.Artifact
	blobs     map[string][]byte
	manifests []string
}

type timeline struct {
	id      string
	start   uint64
	parent  targets.Position
	history []byte
	data    []byte
}

func (l *timeline) end() uint64 { return l.start + uint64(len(l.data)) }

var (
	_ targets.Archive    = (*Memory)(nil)
	_ targets.Sink       = (*Memory)(nil)
	_ targets.Source     = (*Memory)(nil)
	_ targets.ObjectSink = (*Memory)(nil)
)

// NewMemory makes an empty one, of which every byte is durable at once.
func NewMemory(t testing.TB, kind targets.Kind) *Memory {
	return &Memory{kind: kind, dir: t.TempDir(), timelines: map[string]*timeline{}, advanced: make(chan struct{}, 1), blobs: map[string][]byte{}}
}

// Hold keeps Durable where it is until Settle.
func (m *Memory) Hold() { m.with(func() { m.held = true }) }

// Settle makes all that was written durable.
func (m *Memory) Settle() {
	m.with(func() {
		m.held, m.durable = false, m.cur.end()
		m.signal()
	})
}

// Nudge signals Advanced though nothing is durable that was not: an archive may.
func (m *Memory) Nudge() { m.with(m.signal) }

// FailWrites lets every Write fail; nil mends it.
func (m *Memory) FailWrites(err error) { m.with(func() { m.failWrite = err }) }

// GiveUp is how an archive says that its vaults cannot be reached any more.
func (m *Memory) GiveUp(err error) { m.with(func() { m.gaveUp = err; m.signal() }) }

// Keep adds the record of a base, as the caller of Base does.
func (m *Memory) Keep(a targets.Artifact) { m.with(func() { m.bases = append(m.bases, a) }) }

func (m *Memory) with(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()

	f()
}

func (m *Memory) signal() {
	select {
	case m.advanced <- struct{}{}:
	default:
	}
}

// Tail is the newest archived position.
func (m *Memory) Tail() (targets.Position, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()

	if m.cur == nil {
		return targets.Position{}, false
	}

	return targets.Position{Kind: m.kind, Timeline: m.cur.id, Offset: m.cur.end()}, true
}

// Begin opens or resumes a timeline. One that would begin behind its tail has
// a hole, which this archive takes from no follower.
func (m *Memory) Begin(_ context.Context, id string, offset uint64, parent targets.Position, history []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()

	l := m.timelines[id]
	if l == nil {
		l = &timeline{id: id, start: offset, parent: parent, history: history}
		m.timelines[id] = l
	}

	if offset > l.end() {
		return fail.Newf(fail.Corrupt, "archive", id, "begins at %d, behind a hole from %d", offset, l.end())
	}

	m.cur = l
	if !m.held {
		m.durable = l.end()
	}

	return nil
}

// Write appends, drops what is there already and refuses a hole.
func (m *Memory) Write(_ context.Context, offset uint64, p []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()

	if m.failWrite != nil {
		return m.failWrite
	}

	l := m.cur
	if offset > l.end() {
		return fail.Newf(fail.Corrupt, "archive", l.id, "hole from %d to %d", l.end(), offset)
	}

	if skip := l.end() - offset; skip < uint64(len(p)) {
		l.data = append(l.data, p[skip:]...)
	}

	if !m.held {
		m.durable = l.end()
		m.signal()
	}

	return nil
}

// Durable is how far the current timeline is safe.
func (m *Memory) Durable() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()

	return m.durable
}

// Advanced is signalled when Durable may have grown.
func (m *Memory) Advanced() <-chan struct{} { return m.advanced }

// Err is what GiveUp said.
func (m *Memory) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()

	return m.gaveUp
}

// Base keeps an image that the log delivered.
func (m *Memory) Base(_ context.Context, at targets.Position, image io.Reader, settings map[string]string) error {
	saved, err := m.SaveStream(context.Background(), "image", image, nil)
	if err != nil {
		return err
	}

	m.Keep(targets.Artifact{ID: saved.Snapshot, Snapshot: saved.Snapshot, Kind: m.kind, From: at, Until: at, Bytes: saved.Bytes, Settings: settings})

	return nil
}

func (m *Memory) put(name string, b []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blobs[name] = b
}

func (m *Memory) get(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()

	b, ok := m.blobs[name]
	if !ok {
		return nil, fail.Newf(fail.NotFound, "memory", name, "it is not there")
	}

	return b, nil
}

// SaveTree copies a directory. A file that vanishes meanwhile is left out.
func (m *Memory) SaveTree(ctx context.Context, req targets.TreeRequest) (targets.Saved, error) {
	root, err := os.MkdirTemp(m.dir, "tree-")
	if err != nil {
		return targets.Saved{}, err
	}
	saved := targets.Saved{Snapshot: filepath.Base(root), Path: req.Dir}
	err = filepath.WalkDir(req.Dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case req.Vanishing && errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case path == req.Dir:
			return nil
		case excluded(path, req.Exclude) && e.IsDir():
			return filepath.SkipDir
		case excluded(path, req.Exclude):
			return nil
		}
		n, err := copyEntry(path, filepath.Join(root, strings.TrimPrefix(path, req.Dir)), e)
		saved.Bytes += n

		if req.Vanishing && errors.Is(err, fs.ErrNotExist) {
			return nil
		}

		return err
	})

	return saved, err
}

func excluded(path string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(x string) bool {
		if filepath.IsAbs(x) {
			ok, _ := filepath.Match(x, path)
			return ok
		}
		ok, _ := filepath.Match(x, filepath.Base(path))

		return ok
	})
}

// copyEntry copies a directory, a link or a file, and nothing else.
func copyEntry(from, to string, e fs.DirEntry) (int64, error) {
	switch {
	case e.IsDir():
		return 0, os.Mkdir(to, 0o700)
	case e.Type()&fs.ModeSymlink != 0:
		l, err := os.Readlink(from)
		if err != nil {
			return 0, err
		}

		return 0, os.Symlink(l, to)
	case !e.Type().IsRegular():
		return 0, nil
	}

	b, err := os.ReadFile(from)
	if err != nil {
		return 0, err
	}

	return int64(len(b)), os.WriteFile(to, b, 0o600)
}

// SaveStream keeps bytes; a reader that fails leaves nothing.
func (m *Memory) SaveStream(_ context.Context, name string, r io.Reader, _ targets.Progress) (targets.Saved, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return targets.Saved{}, err
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	id := fmt.Sprintf("%064x", len(m.blobs)+1)
	m.blobs[id] = b

	return targets.Saved{Snapshot: id, Path: "/" + name, Bytes: int64(len(b))}, nil
}

// SaveFile keeps a small file.
func (m *Memory) SaveFile(_ context.Context, base, name string, content []byte) (string, error) {
	m.put("file "+base+" "+name, bytes.Clone(content))
	return hash(content), nil
}

// RestoreTree copies a tree back. With delta it first removes all but the claim.
func (m *Memory) RestoreTree(ctx context.Context, a targets.Artifact, dir string, delta bool, _ targets.Progress) error {
	if delta {
		if out, err := exec.CommandContext(ctx, "find", dir, "-mindepth", "1", "!", "-name", targets.ClaimFile, "-delete").CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
	}

	if out, err := exec.CommandContext(ctx, "cp", "-a", filepath.Join(m.dir, a.Snapshot)+"/.", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}

	return nil
}

// OpenStream reads what SaveStream kept.
func (m *Memory) OpenStream(_ context.Context, a targets.Artifact) (io.ReadCloser, error) {
	return m.open(a.Snapshot)
}

func (m *Memory) open(name string) (io.ReadCloser, error) {
	b, err := m.get(name)
	if err != nil {
		return nil, err
	}

	return io.NopCloser(bytes.NewReader(b)), nil
}

// File reads what SaveFile kept.
func (m *Memory) File(_ context.Context, a targets.Artifact, name string) ([]byte, error) {
	return m.get("file " + a.ID + " " + name)
}

// Log reads a part of a timeline.
func (m *Memory) Log(_ context.Context, s targets.Span) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()

	l := m.timelines[s.Timeline]
	if l == nil || s.From < l.start || s.To > l.end() || s.From > s.To {
		return nil, fail.Newf(fail.NotFound, "memory", s.Timeline, "no bytes from %d to %d", s.From, s.To)
	}

	return io.NopCloser(bytes.NewReader(l.data[s.From-l.start : s.To-l.start])), nil
}

// History returns the file kept with a timeline.
func (m *Memory) History(_ context.Context, id string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()

	if l := m.timelines[id]; l != nil {
		return l.history, nil
	}

	return nil, nil
}

// HasObject reports whether content is kept.
func (m *Memory) HasObject(_ context.Context, sha string) (bool, error) {
	_, err := m.get(sha)
	return err == nil, nil
}

// PutObject keeps content.
func (m *Memory) PutObject(_ context.Context, r io.Reader) (string, int64, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return "", 0, err
	}

	m.put(hash(b), b)

	return hash(b), int64(len(b)), nil
}

// PutManifest keeps a manifest.
func (m *Memory) PutManifest(ctx context.Context, _ time.Time, r io.Reader) (string, error) {
	sha, _, err := m.PutObject(ctx, r)
	if err == nil {
		m.with(func() { m.manifests = append(m.manifests, sha) })
	}

	return sha, err
}

// Manifests are those that were stored, oldest first.
func (m *Memory) Manifests() []string {
	m.mu.Lock()
	defer m.mu.Unlock()

	return slices.Clone(m.manifests)
}

// LastManifest opens the newest manifest.
func (m *Memory) LastManifest(context.Context) (io.ReadCloser, error) {
	all := m.Manifests()
	if len(all) == 0 {
		return nil, nil
	}

	return m.open(all[len(all)-1])
}

// Object opens content.
func (m *Memory) Object(_ context.Context, sha string) (io.ReadCloser, error) { return m.open(sha) }

// Manifest opens a manifest.
func (m *Memory) Manifest(_ context.Context, sha string) (io.ReadCloser, error) { return m.open(sha) }

func hash(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}
