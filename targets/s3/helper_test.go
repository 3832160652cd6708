package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"drctl/internal/fail"
	"drctl/internal/manifest"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
)

// store keeps objects and manifests in a directory.
type store struct {
	targets.Source // the rest of a source is never called
	dir            string
	mu             sync.Mutex
	manifests      []string
	puts           atomic.Int64 // objects stored
	opens          atomic.Int64 // objects read
	broken         func(sha string) error
}

func newStore(t testing.TB) *store {
	t.Helper()
	return &store{dir: t.TempDir()}
}

func (s *store) path(sha string) string { return filepath.Join(s.dir, sha) }

func (s *store) HasObject(_ context.Context, sha string) (bool, error) {
	_, err := os.Stat(s.path(sha))
	return err == nil, nil
}

func (s *store) save(r io.Reader) (string, int64, error) {
	f, err := os.CreateTemp(s.dir, "new-*")
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), r)
	if err != nil {
		os.Remove(f.Name())
		return "", 0, err
	}
	sha := hex.EncodeToString(h.Sum(nil))
	return sha, n, os.Rename(f.Name(), s.path(sha))
}

func (s *store) PutObject(_ context.Context, r io.Reader) (string, int64, error) {
	s.puts.Add(1)
	return s.save(r)
}

func (s *store) PutManifest(_ context.Context, _ time.Time, r io.Reader) (string, error) {
	sha, _, err := s.save(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.manifests = append(s.manifests, sha)
	return sha, err
}

func (s *store) LastManifest(ctx context.Context) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.manifests) == 0 {
		return nil, nil
	}
	return os.Open(s.path(s.manifests[len(s.manifests)-1]))
}

func (s *store) Object(_ context.Context, sha string) (io.ReadCloser, error) {
	s.opens.Add(1)
	if s.broken != nil {
		if err := s.broken(sha); err != nil {
			return nil, err
		}
	}
	return os.Open(s.path(sha))
}

func (s *store) Manifest(_ context.Context, sha string) (io.ReadCloser, error) {
	return os.Open(s.path(sha))
}

func (s *store) entries(t testing.TB, sha string) map[string]manifest.Entry {
	t.Helper()
	f, err := os.Open(s.path(sha))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[string]manifest.Entry{}
	for e, err := range manifest.Entries(f, sha) {
		if err != nil {
			t.Fatal(err)
		}
		out[e.Key] = e
	}
	return out
}

func (s *store) content(t testing.TB, e manifest.Entry) string {
	t.Helper()
	b, err := os.ReadFile(s.path(e.SHA256))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// fixture is a running server with a driver.
type fixture struct {
	*bucket
	t testing.TB
	d *Driver
}

func newFixture(t testing.TB, versioned bool) *fixture {
	t.Helper()
	in := sandboxtest.S3(t, versioned)
	return &fixture{bucket: openTest(t, in), t: t, d: New(Options{Tools: sandboxtest.Tools(t)})}
}

func openTest(t testing.TB, in targets.Instance) *bucket {
	t.Helper()
	b, err := open(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	return b
}

func (b *bucket) must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (b *bucket) putObject(t testing.TB, key, content string, change ...func(*awss3.PutObjectInput)) {
	t.Helper()
	in := &awss3.PutObjectInput{Bucket: b.name, Key: &key, Body: strings.NewReader(content)}
	for _, f := range change {
		f(in)
	}
	_, err := b.Client.PutObject(context.Background(), in)
	b.must(t, err)
}

func (b *bucket) remove(t testing.TB, key string) {
	t.Helper()
	_, err := b.DeleteObject(context.Background(), &awss3.DeleteObjectInput{Bucket: b.name, Key: &key})
	b.must(t, err)
}

func (b *bucket) read(t testing.TB, key string) string {
	t.Helper()
	out, err := b.GetObject(context.Background(), &awss3.GetObjectInput{Bucket: b.name, Key: &key})
	b.must(t, err)
	defer out.Body.Close()
	c, err := io.ReadAll(out.Body)
	b.must(t, err)
	return string(c)
}

func (f *fixture) snapshot(s *store, asOf time.Time) (targets.Position, targets.SnapshotStats) {
	f.t.Helper()
	var last targets.SnapshotStats
	p, st, err := f.d.Snapshot(context.Background(), f.in, asOf, s, func(now targets.SnapshotStats) {
		if now.Objects <= last.Objects || now.Bytes < last.Bytes {
			f.t.Errorf("progress went from %+v to %+v", last, now)
		}
		last = now
	})
	f.must(f.t, err)
	last.DeletedSinceLast, last.Failed, last.Unnamed, last.UnnamedKeys = st.DeletedSinceLast, st.Failed, st.Unnamed, st.UnnamedKeys
	if !reflect.DeepEqual(last, st) {
		f.t.Errorf("the last progress is %+v, the outcome %+v", last, st)
	}
	return p, st
}

// sandboxOf is an instance for a restore into a directory of its own.
func sandboxOf(t testing.TB) targets.Instance {
	t.Helper()
	return targets.Instance{Kind: targets.S3, Shard: targets.ShardID{Target: "media", Shard: "0"}, Region: "sandbox",
		Role: targets.Sandbox, Database: "media", DataDir: filepath.Join(sandboxtest.Dir(t), "data")}
}

// restore restores into a sandbox and returns the instance that runs.
func (f *fixture) restore(s *store, p targets.Position) targets.Instance {
	f.t.Helper()
	in := sandboxOf(f.t)
	out, err := f.d.Restore(context.Background(), in, targets.RestoreRequest{Point: p}, s)
	f.must(f.t, err)
	f.t.Cleanup(func() { kill(f.t, out.Pid) })
	if out.Reached != p || out.Pid == 0 {
		f.t.Fatalf("outcome: %+v", out)
	}
	in.Address, in.User, in.Password = out.Address, out.User, out.Password
	return in
}

func kill(t testing.TB, pid int) {
	t.Helper()
	p, err := os.FindProcess(pid)
	if err == nil {
		err = p.Kill()
	}
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
}

func expectation(s *store, p targets.Position) targets.Expectation {
	return targets.Expectation{Manifest: func(ctx context.Context) (io.ReadCloser, error) { return s.Manifest(ctx, p.Manifest) }}
}

func failed(fs []targets.Finding) (out []targets.Finding) {
	return slices.DeleteFunc(slices.Clone(fs), func(f targets.Finding) bool { return f.Severity != targets.Failed })
}

func wantCode(t testing.TB, err error, code fail.Code) {
	t.Helper()
	if !fail.Is(err, code) {
		t.Fatalf("want %s: %v", code, err)
	}
}

func random(n int, seed byte) string {
	b := bytes.Repeat([]byte{seed}, n)
	x := uint32(seed) + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return string(b)
}

var ptr = aws.String
