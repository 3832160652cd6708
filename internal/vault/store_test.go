package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/targets"
)

func TestStores(t *testing.T) {
	t.Parallel()

	for _, b := range backends(t) {
		t.Run(b.name, func(t *testing.T) { testStore(t, must(OpenStore(context.Background(), b.loc("conformance")))) })
	}
}

func testStore(t *testing.T, s Store) {
	ctx := context.Background()
	t.Run("create only", func(t *testing.T) {
		if err := s.Put(ctx, "a/one", []byte("first")); err != nil {
			t.Fatal(err)
		}

		wantCode(t, s.Put(ctx, "a/one", []byte("second")), fail.Conflict, "a/one")

		if got := must(get(ctx, s, "a/one")); string(got) != "first" {
			t.Fatalf("overwritten: %q", got)
		}

		if i := must(s.Stat(ctx, "a/one")); i.Size != 5 || i.Key != "a/one" || time.Since(i.Modified).Abs() > time.Minute {
			t.Fatalf("%+v", i)
		}
	})
	t.Run("absent", func(t *testing.T) {
		_, err := s.Get(ctx, "no/such")
		wantCode(t, err, fail.NotFound, "no/such")
		_, err = s.Stat(ctx, "no/such")
		wantCode(t, err, fail.NotFound, "no/such")

		if err := s.Delete(ctx, "no/such"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("invalid keys", func(t *testing.T) {
		for _, k := range []string{"", "/a", "a/", "a//b", "../a", "a/../b", ".tmp/x", "a b", "a\x00"} {
			wantCode(t, s.Put(ctx, k, nil), fail.Invalid)
			_, err := s.Get(ctx, k)
			wantCode(t, err, fail.Invalid)
		}
	})
	t.Run("one winner", func(t *testing.T) {
		var won atomic.Int32
		var winner atomic.Int32

		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				if err := s.Put(ctx, "race", bytes.Repeat([]byte{byte(i)}, 1000)); err == nil {
					won.Add(1)
					winner.Store(int32(i))
				} else if !fail.Is(err, fail.Conflict) {
					t.Error(err)
				}
			})
		}

		wg.Wait()

		if won.Load() != 1 {
			t.Fatalf("%d writers won", won.Load())
		}

		if got := must(get(ctx, s, "race")); !bytes.Equal(got, bytes.Repeat([]byte{byte(winner.Load())}, 1000)) {
			t.Fatal("not the winner's bytes")
		}
	})
	t.Run("large file", func(t *testing.T) {
		body := make([]byte, 2*partSize+12345)
		rand.Read(body)

		f := filepath.Join(t.TempDir(), "large")
		if err := os.WriteFile(f, body, 0o600); err != nil {
			t.Fatal(err)
		}

		if err := s.PutFile(ctx, "large/file", f); err != nil {
			t.Fatal(err)
		}

		if !bytes.Equal(must(readWhole(ctx, s, "large/file")), body) {
			t.Fatal("content differs")
		}

		wantCode(t, s.PutFile(ctx, "large/file", f), fail.Conflict, "large/file")
		cancelled, cancel := context.WithCancel(ctx)
		cancel()

		if err := s.PutFile(cancelled, "large/other", f); err == nil {
			t.Fatal("cancelled put succeeded")
		}
		_, err := s.Stat(ctx, "large/other")
		wantCode(t, err, fail.NotFound)
	})
	t.Run("order", func(t *testing.T) { testOrder(t, s) })
	t.Run("folders", func(t *testing.T) { testFolders(t, s) })
	t.Run("delete", func(t *testing.T) {
		key := CutKey("a", "one")
		if err := s.Put(ctx, key, []byte("once")); err != nil {
			t.Fatal(err)
		}

		if err := s.Delete(ctx, key); err != nil {
			t.Fatal(err)
		}
		_, err := s.Stat(ctx, key)
		wantCode(t, err, fail.NotFound)

		if err := s.Put(ctx, key, []byte("again")); err != nil { // a delete marker is no object
			t.Fatal(err)
		}
	})
}

// testOrder lists names whose order differs between bytes and folders.
func testOrder(t *testing.T, s Store) {
	ctx := context.Background()

	var want []string
	for _, k := range []string{"a-b/x", "a/x", "a/x-y", "a/x.z", "a.b", "a/y/z", "a0", "A/x", "aa/x/y"} {
		want = append(want, "order/"+k)
	}

	for i := range 30 {
		want = append(want, fmt.Sprintf("order/n/%03d", i))
	}

	for _, k := range want {
		if err := s.Put(ctx, k, []byte(k)); err != nil {
			t.Fatal(k, err)
		}
	}

	slices.Sort(want)

	if got := keysOf(t, s, "order/"); !slices.Equal(got, want) {
		t.Fatalf("order\n got %q\nwant %q", got, want)
	}

	for i, after := range want {
		var got []string
		for x, err := range s.List(ctx, "order/", after) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, x.Key)
		}

		if !slices.Equal(got, want[i+1:]) {
			t.Fatalf("after %q\n got %q\nwant %q", after, got, want[i+1:])
		}
	}

	if got := keysOf(t, s, "order/a/x"); !slices.Equal(got, []string{"order/a/x", "order/a/x-y", "order/a/x.z"}) {
		t.Fatalf("prefix: %q", got)
	}

	if got := keysOf(t, s, "order/nothing/"); len(got) != 0 {
		t.Fatalf("%q", got)
	}
}

func TestS3PagedList(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := must(OpenStore(ctx, s3Location(sandboxtest.S3(t, false), "paged")))
	const n = 1103 // more than one page of 1000

	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < n; i += 8 {
				if err := s.Put(ctx, fmt.Sprintf("k/%05d", i), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}

	wg.Wait()

	got := keysOf(t, s, "k/")
	if len(got) != n || !slices.IsSorted(got) || got[n-1] != fmt.Sprintf("k/%05d", n-1) {
		t.Fatalf("%d keys", len(got))
	}
}

func TestS3Errors(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	l := s3Location(sandboxtest.S3(t, false), "x")
	open := func(change func(*Location)) Store {
		c := l
		change(&c)

		return must(OpenStore(ctx, c))
	}
	_, err := get(ctx, open(func(l *Location) { l.URL = "s3://no-such-bucket/x" }), "k")
	wantCode(t, err, fail.NotFound, "make the bucket")
	_, err = get(ctx, open(func(l *Location) { l.SecretKey = targets.NewSecret("hunter2hunter2") }), "k")
	wantCode(t, err, fail.Denied, "secret key")

	if bytes.Contains([]byte(fmt.Sprintf("%v %+v", err, l)), []byte("hunter2")) {
		t.Fatal("the secret is in the error")
	}
	_, err = get(ctx, open(func(l *Location) { l.AccessKey = "nobody" }), "k")
	wantCode(t, err, fail.Denied)
	port := must(servers.FreePort())
	down := open(func(l *Location) { l.Endpoint = fmt.Sprintf("http://127.0.0.1:%d", port) })
	start := time.Now()
	_, err = get(ctx, down, "k")
	wantCode(t, err, fail.Unavailable, "endpoint")

	if d := time.Since(start); d > 2*time.Minute {
		t.Fatalf("took %s to see that the server is down", d)
	}
}

func TestFileStoreLeavesNothingHalf(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	s := &fileStore{root: filepath.Join(dir, "v")}

	err := s.put(ctx, "x", func(f *os.File) error {
		_, _ = io.WriteString(f, "half")
		return io.ErrUnexpectedEOF
	})
	if err == nil {
		t.Fatal("no error")
	}

	if got := keysOf(t, s, ""); len(got) != 0 {
		t.Fatalf("%q", got)
	}

	if left := must(os.ReadDir(filepath.Join(dir, "v", tmpDir))); len(left) != 0 {
		t.Fatal("temporary file left")
	}
}

func TestLocations(t *testing.T) {
	for _, u := range []string{"", "/abs", "file://host/x", "file:///", "file:rel", "s3://", "s3://b/../x", "s3://user:pw@b/x", "s3://b/x?y", "ftp://b/x"} {
		_, err := OpenStore(context.Background(), Location{URL: u})
		wantCode(t, err, fail.Invalid)
	}
}

// TestSilentServer: a server that does not answer is out of reach; only a
// caller whose own time is over has stalled.
func TestSilentServer(t *testing.T) {
	t.Parallel()

	l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel connects, nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	url := "http://" + l.Addr().String()
	client := http.Client{Transport: &http.Transport{ResponseHeaderTimeout: 50 * time.Millisecond}}

	_, silence := client.Get(url)
	if !errors.Is(silence, context.DeadlineExceeded) {
		t.Fatalf("not the trap that this is about: %v", silence)
	}
	s := must(OpenStore(t.Context(), Location{URL: "s3://b/v", Endpoint: url, AccessKey: "a", SecretKey: targets.NewSecret("b")})).(*s3Store)
	wantCode(t, s.fail(t.Context(), "read", "k", silence), fail.Unavailable)

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = s.Get(ctx, "k")
	wantCode(t, err, fail.Stalled)
}

// readWhole reads an object of any size.
func readWhole(ctx context.Context, s Store, key string) ([]byte, error) {
	r, err := s.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	defer r.Close()

	return io.ReadAll(r)
}
