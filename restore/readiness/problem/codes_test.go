package problem_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"drctl/restore/readiness/problem"
)

// written finds codes in sources.
var written = regexp.MustCompile(`(?:Code: *|warn\()"([a-z]+(?:-[a-z]+)*)", (?:Severity|fmt|doubt)`)

// Every code that drctl writes is on the list, and none that it does not write: who waits for a problem
// by its code is told when there is none of that name.
func TestCodesAreThoseThatAreWritten(t *testing.T) {
	found := map[string]bool{}

	for _, dir := range []string{"restore", "workflows", "cmd", "activities", "internal", "drills"} {
		err := filepath.WalkDir(filepath.Join("../../..", dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}

			b, err := os.ReadFile(path)
			for _, m := range written.FindAllSubmatch(b, -1) {
				found[string(m[1])] = true
			}

			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}

	for code := range found {
		if !problem.Known(code) {
			t.Errorf("%s is written and not on the list", code)
		}
	}

	all := problem.Codes()
	for _, code := range all {
		if !found[code] {
			t.Errorf("%s is on the list, and nobody writes it", code)
		}
	}

	if len(all) < 30 || !slices.IsSorted(all) {
		t.Errorf("%d codes, or not sorted", len(all))
	}
}
