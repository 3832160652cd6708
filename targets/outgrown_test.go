package targets

import (
	"strings"
	"testing"
	"time"
)

func TestOutgrown(t *testing.T) {
	at := func(id string, hour int, tablespaces ...string) Artifact {
		a := Artifact{ID: id, Finished: time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC), Tablespaces: map[string]string{}}
		for _, oid := range tablespaces {
			a.Tablespaces[oid] = "/fast=snapshot:/fast"
		}

		return a
	}
	fast := map[string]string{"16400": "/fast"}

	both := map[string]string{"16400": "/fast", "9999": "/slow"}
	for name, x := range map[string]struct {
		bases []Artifact
		has   map[string]string
		want  []string
	}{
		"no base yet":                {nil, fast, nil},
		"no tablespace":              {[]Artifact{at("a", 1)}, nil, nil},
		"held":                       {[]Artifact{at("a", 1, "16400")}, fast, nil},
		"dropped since":              {[]Artifact{at("a", 1, "16400")}, nil, nil},
		"made since":                 {[]Artifact{at("a", 1)}, fast, []string{"16400 at /fast", "base a"}},
		"the newest base counts":     {[]Artifact{at("b", 2, "16400"), at("a", 1)}, fast, nil},
		"an older base is no help":   {[]Artifact{at("b", 1, "16400"), at("a", 2)}, fast, []string{"base a"}},
		"each is named, in order":    {[]Artifact{at("a", 1)}, both, []string{"9999 at /slow, tablespace 16400 at /fast"}},
		"only what is lacking is":    {[]Artifact{at("a", 1, "9999")}, both, []string{"16400"}},
		"a base taken over a wire":   {[]Artifact{{ID: "w"}}, fast, []string{"base w"}},
		"another oid is another one": {[]Artifact{at("a", 1, "16399")}, fast, []string{"16400"}},
	} {
		got := Outgrown(x.bases, x.has)
		if (got == "") != (x.want == nil) {
			t.Errorf("%s: %q", name, got)
		}

		for _, w := range x.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: %q does not mention %q", name, got, w)
			}
		}
	}
}
