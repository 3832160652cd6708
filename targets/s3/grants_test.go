package s3

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
)

// The requests by which rights are told apart, as a server sees them.
var askedFor = map[string]func(*http.Request) bool{
	"s3:ListBucket":          func(r *http.Request) bool { return r.Method == http.MethodGet && r.URL.Query().Has("list-type") },
	"s3:ListBucketVersions":  func(r *http.Request) bool { return r.URL.Query().Has("versions") },
	"s3:GetBucketVersioning": func(r *http.Request) bool { return r.URL.Query().Has("versioning") },
	"s3:GetObject": func(r *http.Request) bool {
		return r.Method == http.MethodGet && object(r) && !r.URL.Query().Has("versionId")
	},
	"s3:GetObjectVersion": func(r *http.Request) bool { return object(r) && r.URL.Query().Has("versionId") },
}

func object(r *http.Request) bool {
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return key != ""
}

// Every right that is missing is told, alone and with all others, in one run;
// with all of them nothing is. The bucket stays as it was.
func TestPreflightNamesEveryLack(t *testing.T) {
	f := newFixture(t, true)
	f.putObject(t, "picture", "content")
	denied := map[string]bool{}
	front := sandboxtest.NewFront(t, f.in, func(r *http.Request) int {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			t.Errorf("the preflight sent %s %s", r.Method, r.URL)
		}

		for right, is := range askedFor {
			if denied[right] && is(r) {
				return http.StatusForbidden
			}
		}

		return 0
	})
	in := f.in
	in.Address = front.URL
	d := New(Options{})
	lacks := func(in targets.Instance) (out []string) {
		t.Helper()

		ls, err := d.Preflight(t.Context(), in, targets.Needs{Group: "shop", Whole: true})
		if err != nil {
			t.Fatal(err)
		}

		for _, l := range ls {
			if !strings.Contains(l.Fix, l.What) || !strings.Contains(l.Fix, in.Database) {
				t.Errorf("%s: %s", l.What, l.Fix)
			}
			out = append(out, l.What)
		}

		slices.Sort(out)

		return out
	}

	if got := lacks(in); got != nil {
		t.Fatalf("with every right it lacks %v", got)
	}

	var all []string
	for right := range askedFor {
		denied = map[string]bool{right: true}
		if got := lacks(in); !slices.Equal(got, []string{right}) {
			t.Errorf("without %s it lacks %v", right, got)
		}
		all = append(all, right)
	}

	slices.Sort(all)

	for _, right := range all {
		denied[right] = true
	}
	// The version names an object, so that reading is tried without a listing too.
	denied["s3:ListBucketVersions"] = false

	if got := lacks(in); len(got) != len(all)-1 {
		t.Errorf("with nothing but versions it lacks %v", got)
	}

	// Nothing is in this part of the bucket.
	denied = map[string]bool{"s3:GetObject": true}

	in.Prefix = "empty/"
	if got := lacks(in); !slices.Equal(got, []string{"s3:GetObject"}) {
		t.Errorf("in an empty bucket: %v", got)
	}
	denied = map[string]bool{}

	if got := lacks(in); got != nil {
		t.Errorf("in an empty bucket with every right: %v", got)
	}

	// A wrong key is an error, not a list of rights.
	in.Password = targets.NewSecret("wrong")
	if ls, err := d.Preflight(t.Context(), in, targets.Needs{Whole: true}); err == nil {
		t.Errorf("with a wrong key: %v", ls)
	}
}
