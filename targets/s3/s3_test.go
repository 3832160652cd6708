package s3

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"drctl/internal/fail"
	"drctl/internal/s3client"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
)

// strange keys that a server must list, name and give back unharmed.
var strange = []string{"a b", "a+b", "a%20b", "a-b", "a/b/c", "a0", "ä/日本.png", "line\nbreak", "quote\"&<>", "🙂", "tab\tkey"}

func TestSnapshotAndRestore(t *testing.T) {
	for _, versioned := range []bool{true, false} {
		t.Run(fmt.Sprintf("versioned=%v", versioned), func(t *testing.T) {
			t.Parallel()
			f, s := newFixture(t, versioned), newStore(t)
			for i, k := range strange {
				f.putObject(t, k, fmt.Sprintf("content %d", i))
			}
			f.putObject(t, "empty", "")
			f.putObject(t, "image.png", "an image", func(in *awss3.PutObjectInput) {
				expires := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
				in.ContentType, in.CacheControl, in.ContentLanguage = ptr("image/png"), ptr("max-age=60"), ptr("fr")
				in.ContentDisposition, in.ContentEncoding, in.Expires = ptr("attachment; filename=\"x.png\""), ptr("identity"), &expires
				in.Metadata = map[string]string{"owner": "shop", "sha": "abc"}
			})
			big := random(20<<20+17, 3)
			f.must(t, s3client.Upload(context.Background(), f.Client, &awss3.PutObjectInput{Bucket: f.name, Key: ptr("big/multi.bin"), ContentType: ptr("application/x-big")}, 1, s3client.StreamParts(strings.NewReader(big), 5<<20)))

			p, st := f.snapshot(s, time.Now())
			if n := int64(len(strange) + 3); st.Objects != n || st.NewObjects != n || st.ReusedObjects != 0 || st.Failed != 0 {
				t.Fatalf("stats: %+v", st)
			}
			es := s.entries(t, p.Manifest)
			if e := es["image.png"]; e.ContentType != "image/png" || e.Metadata["owner"] != "shop" || e.CacheControl != "max-age=60" || e.ContentLanguage != "fr" || e.Expires == "" {
				t.Errorf("entry: %+v", e)
			}

			in := f.restore(s, p)
			r := openTest(t, in)
			for i, k := range strange {
				if got := r.read(t, k); got != fmt.Sprintf("content %d", i) {
					t.Errorf("%q: %q", k, got)
				}
			}
			if r.read(t, "big/multi.bin") != big || r.read(t, "empty") != "" {
				t.Error("contents differ")
			}
			fs, err := f.d.Verify(context.Background(), in, expectation(s, p))
			if err != nil || len(failed(fs)) > 0 || len(fs) != 3 {
				t.Errorf("verify: %+v %v", fs, err)
			}
			// The restored bucket, taken again, has the same contents.
			s2 := newStore(t)
			p2, _, err := f.d.Snapshot(context.Background(), in, time.Now(), s2, nil)
			f.must(t, err)
			for k, e := range s2.entries(t, p2.Manifest) {
				want := es[k]
				if e.SHA256 != want.SHA256 || e.ContentType != want.ContentType || fmt.Sprint(e.Metadata) != fmt.Sprint(want.Metadata) || e.Expires != want.Expires || e.ContentDisposition != want.ContentDisposition {
					t.Errorf("%q: %+v, was %+v", k, e, want)
				}
			}
		})
	}
}

func TestIncremental(t *testing.T) {
	for _, versioned := range []bool{true, false} {
		t.Run(fmt.Sprintf("versioned=%v", versioned), func(t *testing.T) {
			t.Parallel()
			f, s := newFixture(t, versioned), newStore(t)
			for i := range 50 {
				f.putObject(t, fmt.Sprintf("k/%03d", i), fmt.Sprintf("v%d", i))
			}
			first, _ := f.snapshot(s, time.Now())
			again, st := f.snapshot(s, time.Now())
			if st.ReusedObjects != 50 || st.NewObjects != 0 || again.Manifest != first.Manifest || s.puts.Load() != 50 {
				t.Fatalf("nothing changed: %+v, %d puts", st, s.puts.Load())
			}
			f.putObject(t, "k/010", "changed")
			f.putObject(t, "k/0105", "new")
			f.remove(t, "k/020")
			// Retention dropped an object that the last manifest names.
			f.must(t, os.Remove(s.path(s.entries(t, first.Manifest)["k/030"].SHA256)))
			p, st := f.snapshot(s, time.Now().Add(2*Slack)) // past the time in which a deletion may be younger than it looks
			if st.Objects != 50 || st.NewObjects != 3 || st.ReusedObjects != 47 || st.DeletedSinceLast != 1 {
				t.Fatalf("stats: %+v", st)
			}
			es := s.entries(t, p.Manifest)
			if _, ok := es["k/020"]; ok || s.content(t, es["k/010"]) != "changed" || s.content(t, es["k/030"]) != "v30" {
				t.Error("the manifest is wrong")
			}
			// A damaged last manifest costs work, nothing else.
			f.must(t, os.WriteFile(s.path(p.Manifest), []byte("{\"key\":\"k/000\",\n"), 0o600))
			p2, st := f.snapshot(s, time.Now().Add(2*Slack))
			if st.Objects != 50 || st.NewObjects != 50 || p2.Manifest != p.Manifest {
				t.Errorf("after damage: %+v", st)
			}
		})
	}
}

// TestAsOf: what was overwritten, deleted or made after the instant is as it
// was at the instant.
func TestAsOf(t *testing.T) {
	t.Parallel()
	f, s := newFixture(t, true), newStore(t)
	f.putObject(t, "kept", "kept")
	f.putObject(t, "overwritten", "old")
	f.putObject(t, "deleted-after", "still there")
	f.putObject(t, "deleted-before", "gone")
	f.putObject(t, "remade", "first")
	f.remove(t, "deleted-before")
	f.remove(t, "remade")
	time.Sleep(Slack + 100*time.Millisecond)
	asOf := time.Now()
	time.Sleep(Slack + 1100*time.Millisecond)
	f.putObject(t, "overwritten", "new")
	f.putObject(t, "overwritten", "newer")
	f.putObject(t, "made-after", "too late")
	f.putObject(t, "remade", "second")
	f.remove(t, "deleted-after")
	f.remove(t, "kept")
	f.putObject(t, "kept", "kept again")

	p, _ := f.snapshot(s, asOf)
	got := map[string]string{}
	for k, e := range s.entries(t, p.Manifest) {
		got[k] = s.content(t, e)
	}
	want := map[string]string{"kept": "kept", "overwritten": "old", "deleted-after": "still there"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("as of: %v, want %v", got, want)
	}
	now, _ := f.snapshot(s, time.Now().Add(2*Slack))
	got = map[string]string{}
	for k, e := range s.entries(t, now.Manifest) {
		got[k] = s.content(t, e)
	}
	want = map[string]string{"kept": "kept again", "overwritten": "newer", "made-after": "too late", "remade": "second"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("now: %v, want %v", got, want)
	}
}

// TestMany: memory does not grow with the number of keys or objects' size, and
// listings of many pages keep their order. It runs alone: what it measures is
// the heap of the whole process.
func TestMany(t *testing.T) {
	f, s := newFixture(t, true), newStore(t)
	const n = 5000
	var keys []string
	for i := range n {
		keys = append(keys, fmt.Sprintf("d%d/%s-%05d", i%37, strings.Repeat("x", i%5), i))
	}
	work := make(chan string)
	done := make(chan error)
	for range 8 {
		go func() {
			for k := range work {
				if _, err := f.Client.PutObject(context.Background(), &awss3.PutObjectInput{Bucket: f.name, Key: ptr(k), Body: strings.NewReader(k)}); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for _, k := range keys {
		work <- k
	}
	close(work)
	for range 8 {
		f.must(t, <-done)
	}
	p, st := f.snapshot(s, time.Now())
	if st.Objects != n {
		t.Fatalf("%+v", st)
	}
	// The second run holds no contents: what it holds is bookkeeping alone.
	var before, m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak := make(chan uint64)
	stop := make(chan struct{})
	go func() {
		var most uint64
		for {
			select {
			case <-stop:
				peak <- most
				return
			case <-time.After(250 * time.Millisecond):
				runtime.GC()
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
		}
	}()
	_, st = f.snapshot(s, time.Now())
	close(stop)
	most := <-peak
	if st.ReusedObjects != n {
		t.Fatalf("%+v", st)
	}
	if grown := int64(most) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	in := f.restore(s, p)
	want := expectation(s, p)
	want.Quick = true // contents are compared by the other tests
	fs, err := f.d.Verify(context.Background(), in, want)
	if err != nil || len(failed(fs)) > 0 {
		t.Errorf("%+v %v", fs, err)
	}
	var listed []string
	for l, err := range openTest(t, in).current(context.Background()) {
		f.must(t, err)
		listed = append(listed, l.Key)
	}
	sort.Strings(keys)
	if fmt.Sprint(listed) != fmt.Sprint(keys) {
		t.Error("the keys differ")
	}
}

// TestPages: the size of the server's pages changes nothing, wherever they end.
func TestPages(t *testing.T) {
	t.Parallel()
	f := newFixture(t, true)
	for i, k := range []string{"a", "b", "c/x", "c-x", "d", "e", "f"} {
		for v := range 1 + i%3 {
			f.putObject(t, k, fmt.Sprint(v))
		}
		if i%2 == 0 {
			f.remove(t, k)
		}
		if i%4 == 0 {
			f.putObject(t, k, "again")
		}
	}
	var want string
	for _, size := range []int32{1000, 2, 3, 4, 5, 7} {
		f.pageSize = size
		var got string
		for l, err := range f.asOf(context.Background(), time.Now().Add(2*Slack)) {
			f.must(t, err)
			got += fmt.Sprintln(l)
		}
		if want == "" {
			want = got
		}
		if got != want || !strings.Contains(got, "c-x") {
			t.Errorf("pages of %d:\n%swant\n%s", size, got, want)
		}
	}
}

// TestVersioningTurnedOn: objects from before have the version "null".
func TestVersioningTurnedOn(t *testing.T) {
	t.Parallel()
	f, s := newFixture(t, false), newStore(t)
	f.putObject(t, "before", "1")
	f.putObject(t, "overwritten", "1")
	_, err := f.PutBucketVersioning(context.Background(), &awss3.PutBucketVersioningInput{Bucket: f.name,
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
	f.must(t, err)
	asOf := time.Now()
	time.Sleep(Slack + 1100*time.Millisecond)
	f.putObject(t, "overwritten", "2")
	p, _ := f.snapshot(s, asOf)
	es := s.entries(t, p.Manifest)
	if len(es) != 2 || s.content(t, es["before"]) != "1" || s.content(t, es["overwritten"]) != "1" {
		t.Errorf("%+v", es)
	}
	if _, st := f.snapshot(s, asOf); st.ReusedObjects != 2 {
		t.Errorf("%+v", st)
	}
}

// TestVersioningSuspended: what is overwritten after the instant takes the place
// of what was there, and stands for it: a row may name the object.
func TestVersioningSuspended(t *testing.T) {
	t.Parallel()
	f, s := newFixture(t, true), newStore(t)
	f.putObject(t, "versioned", "kept")
	_, err := f.PutBucketVersioning(context.Background(), &awss3.PutBucketVersioningInput{Bucket: f.name,
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusSuspended}})
	f.must(t, err)
	f.putObject(t, "overwritten", "old")
	time.Sleep(Slack + 100*time.Millisecond)
	asOf := time.Now()
	time.Sleep(Slack + 1100*time.Millisecond)
	f.putObject(t, "overwritten", "new, and longer")
	p, _ := f.snapshot(s, asOf)
	got := map[string]string{}
	for k, e := range s.entries(t, p.Manifest) {
		got[k] = s.content(t, e)
	}
	if want := map[string]string{"versioned": "kept", "overwritten": "new, and longer"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
	st, err := f.d.Probe(context.Background(), f.in)
	if err != nil || len(st.Warnings) != 1 || !strings.Contains(st.Warnings[0], "suspended") {
		t.Errorf("%v %+v", err, st)
	}
}

func TestPrefix(t *testing.T) {
	t.Parallel()
	f, s := newFixture(t, true), newStore(t)
	f.putObject(t, "a/1", "1")
	f.putObject(t, "b/1", "2")
	f.in.Prefix = "a/"
	p, _ := f.snapshot(s, time.Now())
	if es := s.entries(t, p.Manifest); len(es) != 1 || es["a/1"].Size != 1 {
		t.Errorf("%+v", es)
	}
}

// TestUnversionedRaces: objects vanish and change between listing and reading.
func TestUnversionedRaces(t *testing.T) {
	t.Parallel()
	f, s := newFixture(t, false), newStore(t)
	for i := range 40 {
		f.putObject(t, fmt.Sprintf("k%02d", i), "before")
	}
	var once bool
	listing := f.current(context.Background())
	raced := func(yield func(listed, error) bool) {
		var all []listed
		for l, err := range listing {
			f.must(t, err)
			all = append(all, l)
		}
		if !once {
			once = true
			f.remove(t, "k03")
			f.putObject(t, "k04", "after, and longer")
		}
		for _, l := range all {
			if !yield(l, nil) {
				return
			}
		}
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "m"))
	f.must(t, err)
	run := &snapshot{bucket: f.bucket, to: s, stats: &targets.SnapshotStats{}}
	f.must(t, run.run(context.Background(), raced, f.d.last(context.Background(), f.bucket, s), out))
	_, err = out.Seek(0, 0)
	f.must(t, err)
	sha, err := s.PutManifest(context.Background(), time.Now(), out)
	f.must(t, err)
	es := s.entries(t, sha)
	if _, ok := es["k03"]; ok || len(es) != 39 || s.content(t, es["k04"]) != "after, and longer" || es["k04"].Size != 17 {
		t.Errorf("%d entries, k04 %+v", len(es), es["k04"])
	}
	// The next snapshot agrees with what was recorded of the changed object.
	if _, st := f.snapshot(s, time.Now()); st.ReusedObjects != 39 {
		t.Errorf("%+v", st)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	f, s := newFixture(t, true), newStore(t)
	ctx := context.Background()
	bad := f.in
	bad.Password = targets.NewSecret("wrong-secret-value")
	_, err := f.d.Probe(ctx, bad)
	wantCode(t, err, fail.Denied)
	if strings.Contains(err.Error(), "wrong-secret-value") {
		t.Errorf("leak: %v", err)
	}
	bad = f.in
	bad.Database = "absent"
	_, _, err = f.d.Snapshot(ctx, bad, time.Now(), s, nil)
	wantCode(t, err, fail.NotFound)
	fs, err := f.d.Verify(ctx, bad, targets.Expectation{})
	if err != nil || len(failed(fs)) != 1 {
		t.Errorf("%+v %v", fs, err)
	}
	bad = f.in
	bad.Address = "http://127.0.0.1:1"
	_, err = f.d.Join(ctx, bad, targets.JoinRequest{})
	wantCode(t, err, fail.Unavailable)
	_, err = f.d.Base(ctx, f.in, targets.BaseRequest{}, nil)
	wantCode(t, err, fail.Unsupported)
	_, err = f.d.Join(ctx, f.in, targets.JoinRequest{Gate: true})
	wantCode(t, err, fail.Unsupported)
	bad = f.in
	bad.Kind = targets.Redis
	_, err = f.d.Probe(ctx, bad)
	wantCode(t, err, fail.Invalid)
	short, cancel := context.WithCancel(ctx)
	cancel()
	if _, _, err = f.d.Snapshot(short, f.in, time.Now(), s, nil); err == nil {
		t.Error("a cancelled snapshot succeeded")
	}
}

func TestProbeAndJoin(t *testing.T) {
	t.Parallel()
	f := newFixture(t, false)
	ctx := context.Background()
	f.putObject(t, "a", "12345")
	st, err := f.d.Probe(ctx, f.in)
	if err != nil || !st.Reachable || !st.Writable || st.Bytes != 5 || len(st.Warnings) != 1 {
		t.Errorf("%+v %v", st, err)
	}
	// Who only wants to reach it has one object listed, and no more measured.
	asked := counting(t, f.in)
	for name, probe := range map[string]func(context.Context, targets.Instance) (targets.Status, error){"probe": f.d.Probe, "reach": f.d.Reach} {
		asked.whole.Store(0)
		st, err := probe(ctx, asked.in)
		if reach := name == "reach"; err != nil || !st.Reachable || !st.Writable || (st.Bytes == 0) != reach || (asked.whole.Load() == 0) != reach {
			t.Errorf("%s: %d listings, %+v %v", name, asked.whole.Load(), st, err)
		}
	}
	denied := f.in
	denied.Password = targets.NewSecret("not-the-secret")
	_, err = f.d.Reach(ctx, denied)
	wantCode(t, err, fail.Denied)
	// A clock of ours that is wrong by a minute shows.
	skewed := New(Options{Tools: sandboxtest.Tools(t), Now: func() time.Time { return time.Now().Add(-time.Minute) }})
	if st, err = skewed.Probe(ctx, f.in); err != nil || len(st.Warnings) != 2 {
		t.Errorf("%+v %v", st.Warnings, err)
	}
	m, err := f.d.Join(ctx, f.in, targets.JoinRequest{})
	f.must(t, err)
	defer m.Close()
	before := time.Now()
	p, err := m.Mark(ctx)
	if err != nil || p.Kind != targets.S3 || p.AsOf.Before(before.Add(-time.Second)) || m.Lock(ctx, time.Second) != nil || m.Release(ctx) != nil || m.Settle(ctx) != nil {
		t.Errorf("%+v %v", p, err)
	}
}

// counted is a bucket behind a front that counts the listings without a limit.
type counted struct {
	in    targets.Instance
	whole *atomic.Int32
}

func counting(t *testing.T, in targets.Instance) counted {
	t.Helper()
	u, err := url.Parse(in.Address)
	if err != nil {
		t.Fatal(err)
	}
	c := counted{in, new(atomic.Int32)}
	behind := httputil.NewSingleHostReverseProxy(u)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query(); q.Has("list-type") && q.Get("max-keys") != "1" {
			c.whole.Add(1)
		}
		behind.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	c.in.Address = front.URL
	return c
}
