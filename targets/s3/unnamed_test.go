package s3

import (
	"bytes"
	"context"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
)

// An object whose key the server does not give stops no snapshot: it is left
// out, counted and shown. Once it is deleted it does not matter.
func TestKeyThatTheServerCannotName(t *testing.T) {
	for _, versioned := range []bool{true, false} {
		f, s := newFixture(t, versioned), newStore(t)
		for _, k := range []string{"a", "\x01ctl", "z"} {
			f.putObject(t, k, "content of "+k)
		}

		p, st := f.snapshot(s, time.Now())
		if st.Objects != 2 || st.Unnamed != 1 || len(st.UnnamedKeys) != 1 || !strings.Contains(st.UnnamedKeys[0], `\ufffdctl`) {
			t.Errorf("versioned %v: %+v", versioned, st)
		}

		if es := s.entries(t, p.Manifest); len(es) != 2 || s.content(t, es["z"]) != "content of z" {
			t.Errorf("versioned %v: the snapshot holds %v", versioned, es)
		}

		if probe, err := f.d.Probe(context.Background(), f.in); err != nil || !strings.Contains(strings.Join(probe.Warnings, " "), "cannot name") {
			t.Errorf("versioned %v: probe: %v %v", versioned, probe.Warnings, err)
		}

		f.remove(t, "\x01ctl")

		if _, st := f.snapshot(s, time.Now().Add(2*Slack)); st.Objects != 2 || st.Unnamed != 0 {
			t.Errorf("versioned %v, after the deletion: %+v", versioned, st)
		}
	}
}

// A listing in pages that goes on at such a key loses nothing without a word.
func TestPagesThatEndAtAnUnnamedKey(t *testing.T) {
	f := newFixture(t, true)
	for _, k := range []string{"a", "b", "m\x01", "n", "z"} {
		f.putObject(t, k, k)
	}
	f.pageSize = 1
	f.unnamed = func(listed) {}
	var got []string

	var err error
	for l, e := range f.asOf(context.Background(), time.Now().Add(2*Slack)) {
		if err = e; err == nil {
			got = append(got, l.Key)
		}
	}

	if strings.Join(got, "") != "abnz" && !fail.Is(err, fail.Unsupported) {
		t.Errorf("listed %q, %v", got, err)
	}
}

// A key with U+FFFD in it that the server names, encoded, is saved like any other.
func TestReplacementCharacterInAKey(t *testing.T) {
	for _, versioned := range []bool{true, false} {
		f, s := newFixture(t, versioned), newStore(t)
		f.putObject(t, "bad\uFFFDname", "content")
		f.putObject(t, "good", "content")
		in := f.in
		in.Address = encodingFront(t, in.Address)

		p, st, err := f.d.Snapshot(context.Background(), in, time.Now(), s, nil)
		if err != nil || st.Objects != 2 || st.Unnamed != 0 {
			t.Fatalf("versioned %v: %+v %v", versioned, st, err)
		}

		if e := s.entries(t, p.Manifest)["bad\uFFFDname"]; s.content(t, e) != "content" {
			t.Errorf("versioned %v: %+v", versioned, e)
		}
	}
}

var (
	listedTag   = regexp.MustCompile(`<Key>([^<]*)</Key>`)
	encodingTag = regexp.MustCompile(`<EncodingType>[^<]*</EncodingType>`)
)

// encodingFront is a front that lists keys URL-encoded, as S3 itself does.
func encodingFront(t *testing.T, to string) string {
	t.Helper()

	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	front := httputil.NewSingleHostReverseProxy(u)
	front.ModifyResponse = func(r *http.Response) error {
		if r.Request.URL.Query().Get("encoding-type") != "url" {
			return nil
		}

		b, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		b = encodingTag.ReplaceAll(b, nil)
		b = listedTag.ReplaceAllFunc(b, func(tag []byte) []byte {
			key := html.UnescapeString(string(listedTag.FindSubmatch(tag)[1]))
			return []byte("<Key>" + url.QueryEscape(key) + "</Key>")
		})
		b = bytes.Replace(b, []byte("<Name>"), []byte("<EncodingType>url</EncodingType><Name>"), 1)
		r.Body = io.NopCloser(bytes.NewReader(b))
		r.ContentLength = int64(len(b))
		r.Header.Set("Content-Length", strconv.Itoa(len(b)))

		return nil
	}
	s := httptest.NewServer(front)
	t.Cleanup(s.Close)

	return s.URL
}
