package sandboxtest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"drctl/targets"
)

// LockFront is a server before an S3 server that treats its buckets as AWS
// treats those with object lock: it refuses what is written without a checksum.
type LockFront struct {
	*httptest.Server
	// Writes counts the objects and the parts that came through.
	Writes atomic.Int64
	// Spoil changes a byte of every body on its way, as broken hardware does.
	Spoil atomic.Bool
}

// NewLockFront starts a front before the instance's server; with secure behind
// TLS, whose certificate the front's Client knows.
func NewLockFront(t testing.TB, in targets.Instance, secure bool) *LockFront {
	t.Helper()

	to, err := url.Parse(in.Address)
	if err != nil {
		t.Fatal(err)
	}
	f := &LockFront{}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host // it is signed
	}}

	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, object, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if r.Method == http.MethodPut && object != "" {
			if !hasChecksum(r.Header) {
				w.Header().Set("Content-Type", "application/xml")
				w.WriteHeader(http.StatusBadRequest)
				_, _ = w.Write([]byte(`<Error><Code>InvalidRequest</Code><Message>Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters</Message></Error>`))

				return
			}

			f.Writes.Add(1)

			if f.Spoil.Load() {
				r.Body = &spoiled{ReadCloser: r.Body}
			}
		}

		proxy.ServeHTTP(w, r)
	}))
	if secure {
		f.StartTLS()
	} else {
		f.Start()
	}

	t.Cleanup(f.Close)

	return f
}

func hasChecksum(h http.Header) bool {
	if h.Get("Content-Md5") != "" {
		return true
	}

	for name := range h {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-amz-checksum-") && lower != "x-amz-checksum-algorithm" {
			return true
		}
	}

	return false
}

// spoiled flips a bit of the first byte.
type spoiled struct {
	io.ReadCloser
	done bool
}

func (s *spoiled) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if n > 0 && !s.done {
		p[0] ^= 1
		s.done = true
	}

	return n, err
}

// NewFront starts a front before the instance's server that answers requests
// itself with the status that answer gives for them; 0 lets them through. A
// refusal looks like that of a missing right.
func NewFront(t testing.TB, in targets.Instance, answer func(*http.Request) int) *httptest.Server {
	t.Helper()

	to, err := url.Parse(in.Address)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host // it is signed
	}}
	f := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := answer(r)
		if status == 0 {
			proxy.ServeHTTP(w, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)

		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)

		if status == http.StatusForbidden && r.Method != http.MethodHead {
			_, _ = w.Write([]byte(`<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>`))
		}
	}))
	t.Cleanup(f.Close)

	return f
}
