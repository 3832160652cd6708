package postgres_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
	"drctl/targets/postgres"
)

// driver makes a driver whose log lines land in the returned buffer.
func driver(t testing.TB) (*postgres.Driver, *logBuffer) {
	t.Helper()
	lb := &logBuffer{}

	return postgres.New(postgres.Options{Tools: sandboxtest.Tools(t), Log: slog.New(slog.NewTextHandler(lb, &slog.HandlerOptions{Level: slog.LevelInfo}))}), lb
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.b.String()
}

func ctxFor(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)

	return ctx
}

func open(t testing.TB, in targets.Instance) *pgx.Conn {
	t.Helper()

	c, err := pgx.Connect(context.Background(), sandboxtest.DSN(in, in.Database))
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.Close(ctx)
	})

	return c
}

func run(t testing.TB, c *pgx.Conn, sql string, args ...any) {
	t.Helper()

	if _, err := c.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func value[T any](t testing.TB, c *pgx.Conn, sql string, args ...any) (v T) {
	t.Helper()

	if err := c.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}

	return v
}

func lsn(t testing.TB, c *pgx.Conn, sql string) uint64 {
	t.Helper()

	n, err := targets.ParseLSN(value[string](t, c, sql))
	if err != nil {
		t.Fatal(err)
	}

	return n
}

func wantCode(t testing.TB, err error, code fail.Code, words ...string) {
	t.Helper()

	var fe *fail.Error
	if !errors.As(err, &fe) {
		t.Fatalf("got %v, want a fail.Error of code %s", err, code)
	}

	if fe.Code != code {
		t.Fatalf("got code %s, want %s: %v", fe.Code, code, err)
	}

	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Fatalf("%q does not mention %q", err, w)
		}
	}

	if strings.Contains(err.Error(), sandboxtest.Password) {
		t.Fatalf("the error holds the password: %v", err)
	}
}

// archive keeps timelines in memory. It reports bytes durable only when told
// to, or at once when auto is set.
type archive struct {
	mu        sync.Mutex
	timelines map[string]*timeline
	order     []string
	cur       string
	auto      bool
	durable   map[string]uint64
	advanced  chan struct{}
	onWrite   func(total int) error
	total     int
	gaveUp    error
}

type timeline struct {
	start   uint64
	parent  targets.Position
	history []byte
	holes   []targets.Span
	parts   []part
}

type part struct {
	from uint64
	data []byte
}

func newArchive() *archive {
	return &archive{timelines: map[string]*timeline{}, auto: true, durable: map[string]uint64{}, advanced: make(chan struct{}, 1)}
}

func (l *timeline) end() uint64 {
	p := l.parts[len(l.parts)-1]
	return p.from + uint64(len(p.data))
}

func (a *archive) Tail() (targets.Position, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()

	if len(a.order) == 0 {
		return targets.Position{}, false
	}
	id := a.order[len(a.order)-1]

	return targets.Position{Kind: targets.Postgres, Timeline: id, Offset: a.timelines[id].end()}, true
}

func (a *archive) Begin(_ context.Context, id string, offset uint64, parent targets.Position, history []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()

	l := a.timelines[id]
	if l == nil {
		l = &timeline{start: offset, parent: parent, history: history, parts: []part{{from: offset}}}
		a.timelines[id] = l
		a.order = append(a.order, id)
	} else if offset > l.end() {
		l.holes = append(l.holes, targets.Span{Timeline: id, From: l.end(), To: offset})
		l.parts = append(l.parts, part{from: offset})
	}
	a.cur = id
	a.durable[id] = l.end()

	return nil
}

func (a *archive) Write(_ context.Context, offset uint64, p []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.timelines[a.cur]

	end := l.end()
	if offset > end {
		return fail.Newf(fail.Corrupt, "archive", a.cur, "hole from %s to %s", targets.FormatLSN(end), targets.FormatLSN(offset))
	}

	if skip := end - offset; skip < uint64(len(p)) {
		last := &l.parts[len(l.parts)-1]
		last.data = append(last.data, p[skip:]...)
	}

	a.total += len(p)
	if a.onWrite != nil {
		if err := a.onWrite(a.total); err != nil {
			return err
		}
	}

	if a.auto {
		a.durable[a.cur] = l.end()
		a.signal()
	}

	return nil
}

func (a *archive) signal() {
	select {
	case a.advanced <- struct{}{}:
	default:
	}
}

func (a *archive) Durable() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()

	return a.durable[a.cur]
}

func (a *archive) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()

	return a.gaveUp
}

func (a *archive) Advanced() <-chan struct{} { return a.advanced }

func (a *archive) Base(context.Context, targets.Position, io.Reader, map[string]string) error {
	return errors.New("PostgreSQL delivers no base in its stream")
}

func (a *archive) reach(t testing.TB, id string, offset uint64) {
	t.Helper()

	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		a.mu.Lock()
		l := a.timelines[id]
		ok := l != nil && l.end() >= offset

		a.mu.Unlock()

		if ok {
			return
		}
	}

	t.Fatalf("the stream of %s did not reach %s: %v", id, targets.FormatLSN(offset), a.ends())
}

func (a *archive) ends() map[string]string {
	a.mu.Lock()
	defer a.mu.Unlock()

	out := map[string]string{}
	for id, l := range a.timelines {
		out[id] = targets.FormatLSN(l.start) + ".." + targets.FormatLSN(l.end())
	}

	return out
}

// bytes returns [from, to) of a timeline that has no hole there.
func (a *archive) bytes(id string, from, to uint64) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()

	l := a.timelines[id]
	if l == nil {
		return nil, fail.Newf(fail.NotFound, "archive", id, "no such timeline")
	}

	for _, p := range l.parts {
		if from >= p.from && to <= p.from+uint64(len(p.data)) {
			return p.data[from-p.from : to-p.from], nil
		}
	}

	return nil, fail.Newf(fail.NotFound, "archive", id, "no bytes from %s to %s", targets.FormatLSN(from), targets.FormatLSN(to))
}

// store is a vault in a directory: trees as copies, files as files.
type store struct {
	t   testing.TB
	dir string
	*archive
	mu sync.Mutex
	n  int
	// onTree runs before a tree is copied or a stream is read.
	onTree func()
}

func newStore(t testing.TB, a *archive) *store {
	return &store{t: t, dir: sandboxtest.Dir(t), archive: a}
}

func (s *store) next() string {
	s.mu.Lock()
	defer s.mu.Unlock()

	s.n++

	return fmt.Sprintf("%064x", s.n) // as restic names its snapshots
}

func (s *store) SaveTree(_ context.Context, req targets.TreeRequest) (targets.Saved, error) {
	if s.onTree != nil {
		s.onTree()
	}
	id := s.next()
	saved := targets.Saved{Snapshot: id, Path: req.Dir}
	root := filepath.Join(s.dir, id)
	err := filepath.WalkDir(req.Dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}

		if err != nil {
			return err
		}

		for _, x := range req.Exclude {
			match := x == path
			if !strings.HasPrefix(x, "/") {
				match, _ = filepath.Match(x, filepath.Base(path))
			} else if strings.HasSuffix(x, "/*") {
				match = filepath.Dir(path) == strings.TrimSuffix(x, "/*")
			}

			if match && e.IsDir() {
				return filepath.SkipDir
			}

			if match {
				return nil
			}
		}
		rel, _ := filepath.Rel(req.Dir, path)

		to := filepath.Join(root, rel)
		switch {
		case e.IsDir():
			return os.MkdirAll(to, 0o700)
		case e.Type()&os.ModeSymlink != 0:
			l, err := os.Readlink(path)
			if err != nil {
				return err
			}

			return os.Symlink(l, to)
		case !e.Type().IsRegular():
			return nil
		}

		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		saved.Bytes += int64(len(b))

		return errors.Join(err, os.WriteFile(to, b, 0o600))
	})

	return saved, err
}

func (s *store) SaveStream(_ context.Context, name string, r io.Reader, _ targets.Progress) (targets.Saved, error) {
	if s.onTree != nil {
		s.onTree()
	}
	id := s.next()

	f, err := os.Create(filepath.Join(s.dir, id))
	if err != nil {
		return targets.Saved{}, err
	}
	defer f.Close()

	n, err := io.Copy(f, r)
	if err != nil {
		_ = os.Remove(f.Name())
		return targets.Saved{}, err
	}

	return targets.Saved{Snapshot: id, Path: "/" + name, Bytes: n}, nil
}

func (s *store) SaveFile(_ context.Context, base, name string, content []byte) (string, error) {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:]), os.WriteFile(filepath.Join(s.dir, base+"-"+name), content, 0o600)
}

func (s *store) RestoreTree(_ context.Context, a targets.Artifact, dir string, delta bool, _ targets.Progress) error {
	if delta {
		if out, err := exec.Command("find", dir, "-mindepth", "1", "!", "-name", targets.ClaimFile, "-delete").CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
	}

	out, err := exec.Command("cp", "-a", filepath.Join(s.dir, a.Snapshot)+"/.", dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}

	return nil
}

func (s *store) OpenStream(_ context.Context, a targets.Artifact) (io.ReadCloser, error) {
	return os.Open(filepath.Join(s.dir, a.Snapshot))
}

func (s *store) File(_ context.Context, a targets.Artifact, name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(s.dir, a.ID+"-"+name))
}

func (s *store) Log(_ context.Context, span targets.Span) (io.ReadCloser, error) {
	b, err := s.bytes(span.Timeline, span.From, span.To)
	if err != nil {
		return nil, err
	}

	return io.NopCloser(bytes.NewReader(b)), nil
}

func (s *store) History(_ context.Context, id string) ([]byte, error) {
	s.archive.mu.Lock()
	defer s.archive.mu.Unlock()

	if l := s.timelines[id]; l != nil {
		return l.history, nil
	}

	return nil, nil
}

func (s *store) Object(context.Context, string) (io.ReadCloser, error) {
	return nil, errors.ErrUnsupported
}
func (s *store) Manifest(context.Context, string) (io.ReadCloser, error) {
	return nil, errors.ErrUnsupported
}

// follow runs Follow in the background until stop is called.
func follow(t testing.TB, d *postgres.Driver, in targets.Instance, a targets.Archive) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())

	done := make(chan error, 1)
	go func() {
		err := d.Follow(ctx, in, a)
		if ctx.Err() == nil {
			fmt.Fprintf(os.Stderr, "%s: Follow ended: %v\n", t.Name(), err)
		}

		done <- err
	}()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() {
			cancel()

			select {
			case err = <-done:
			case <-time.After(2 * time.Minute):
				err = errors.New("Follow did not stop")
			}
		})

		return err
	}
	t.Cleanup(func() { _ = stop() })

	return stop
}

// timelineOf asks the server for its timeline.
func timelineOf(t testing.TB, d *postgres.Driver, in targets.Instance) string {
	t.Helper()

	st, err := d.Probe(ctxFor(t, 2*time.Minute), in)
	if err != nil {
		t.Fatal(err)
	}

	return st.Position.Timeline
}

// mark takes a restore point through the barrier, as a cut does.
func mark(t testing.TB, d *postgres.Driver, in targets.Instance, id string) targets.Position {
	t.Helper()
	ctx := ctxFor(t, 2*time.Minute)

	m, err := d.Join(ctx, in, targets.JoinRequest{CutID: id, Group: "shop", Lease: time.Minute, Budget: time.Minute, Gate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var at targets.Position

	for try := 0; ; try++ {
		if err = m.LockGate(ctx, time.Second); err == nil {
			err = m.Lock(ctx, time.Second)
		}

		if err == nil {
			break
		}

		if try == 60 {
			t.Fatal(err)
		}

		if err := m.Release(ctx); err != nil {
			t.Fatal(err)
		}
	}

	if at, err = m.Mark(ctx); err != nil {
		t.Fatal(err)
	}

	if err := m.Release(ctx); err != nil {
		t.Fatal(err)
	}

	if err := m.Settle(ctx); err != nil {
		t.Fatal(err)
	}

	return at
}
