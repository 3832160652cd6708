package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
)

func TestEntries(t *testing.T) {
	sha := strings.Repeat("ab", 32)
	var b bytes.Buffer
	w := NewWriter(&b)
	in := []Entry{{Key: "a\nb", SHA256: sha, Size: 3, Modified: time.Unix(5, 0).UTC(), Metadata: map[string]string{"x": "<&>"}}, {Key: "ä", SHA256: sha}}
	for _, e := range in {
		if err := w.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil || strings.Count(b.String(), "\n") != 2 {
		t.Fatal(b.String(), err)
	}
	var out []Entry
	for e, err := range Entries(&b, "m") {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	if fmt.Sprint(in) != fmt.Sprint(out) {
		t.Errorf("%v", out)
	}
	line := func(k, s string) string { return fmt.Sprintf("{\"key\":%q,\"sha256\":%q}\n", k, s) }
	for name, bad := range map[string]string{
		"unsorted": line("b", sha) + line("a", sha), "twice": line("b", sha) + line("b", sha), "no key": line("", sha), "bad sha": line("a", "xyz"),
		"short": line("a", sha)[:20], "not json": "hello", "size": "{\"key\":\"a\",\"sha256\":\"" + sha + "\",\"size\":-1}",
	} {
		var err error
		for _, e := range Entries(strings.NewReader(bad), "m") {
			err = e
		}
		if !fail.Is(err, fail.Corrupt) || !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
