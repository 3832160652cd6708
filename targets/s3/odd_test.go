package s3

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"drctl/internal/manifest"
	"drctl/targets"
)

// oddKeys are keys that S3 has and a file system cannot hold beside each other,
// or that a listing which is XML cannot name.
var oddKeys = []string{"../up", "./rel", "/lead", ".sgwtmp/x", "a", "a!", "a/b", "a/b/c", "data/", "p//q", "p/q", "rel", "x/./y", strings.Repeat("l", 300) + "/z", "plain",
	"replaced\ufffd", "control\x01", "control\x1b/z", "last\uffff", "line\nfeed\rtab\t", "\x7f\u0085"}

// A sandbox holds every key that the vault holds, and verification finds each,
// or says that it is gone.
func TestSandboxHoldsOddKeys(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	var lines []string
	slices.Sort(oddKeys)
	for _, k := range oddKeys {
		sha, n, err := s.PutObject(context.Background(), strings.NewReader("content of "+k))
		if err != nil {
			t.Fatal(err)
		}
		key, _ := json.Marshal(k)
		lines = append(lines, fmt.Sprintf(`{"key":%s,"size":%d,"sha256":%q,"modified":"2026-11-01T00:00:00Z","content_type":"text/plain","metadata":{"n":"1"}}`, key, n, sha))
	}
	sha, err := s.PutManifest(context.Background(), time.Now(), strings.NewReader(strings.Join(lines, "\n")+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	p := targets.Position{Kind: targets.S3, AsOf: time.Now().UTC(), Manifest: sha}
	f := &fixture{t: t, d: newFixture(t, false).d}
	in := f.restore(s, p)

	verify := func() []targets.Finding {
		t.Helper()
		fs, err := f.d.Verify(context.Background(), in, expectation(s, p))
		if err != nil {
			t.Fatal(err)
		}
		return failed(fs)
	}
	if fs := verify(); len(fs) > 0 {
		t.Fatalf("%+v", fs)
	}

	b := openTest(t, in)
	other := b.aside()
	key := targets.OddName("p//q")
	out, err := b.GetObject(context.Background(), &awss3.GetObjectInput{Bucket: other.name, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := io.ReadAll(out.Body); err != nil || string(c) != "content of p//q" {
		t.Fatalf("%q %v", c, err)
	}
	_, err = b.PutObject(context.Background(), &awss3.PutObjectInput{Bucket: other.name, Key: &key, Body: strings.NewReader("other")})
	if err != nil {
		t.Fatal(err)
	}
	gone := targets.OddName("a/b")
	if _, err := b.DeleteObject(context.Background(), &awss3.DeleteObjectInput{Bucket: other.name, Key: &gone}); err != nil {
		t.Fatal(err)
	}
	surplus := "surplus"
	if _, err := b.PutObject(context.Background(), &awss3.PutObjectInput{Bucket: other.name, Key: &surplus, Body: strings.NewReader("x")}); err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprint(verify())
	for _, want := range []string{"key p//q", "key a/b", "objects too many"} {
		if !strings.Contains(all, want) {
			t.Errorf("%s is not named: %s", want, all)
		}
	}
}

func TestPlacer(t *testing.T) {
	var p placer
	var odd []string
	keys := []string{"", "a", "a!", "a/b", "a/b/c", "b/", "b/x", "c.txt", "c.txt2"}
	for _, k := range keys[1:] {
		if p.odd(manifest.Entry{Key: k, ContentType: folderType}) {
			odd = append(odd, k)
		}
	}
	if got := fmt.Sprint(odd); got != "[a/b a/b/c]" {
		t.Error(got)
	}
}
