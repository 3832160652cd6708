package failures

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// told is how many failures are told: those of the list that the project began with.
const told = 33

var (
	form  = regexp.MustCompile(`(?s)^# [^\n]+\n\nSource: [^\n]+\.\n\n\*\*Given\*\* [^\n]+\n\n\*\*When\*\* [^\n]+\n\n\*\*Then\*\* [^\n]+\n\nShown by:\n\n(- [^\n]+\n)+(\nNot shown: [^\n]+\n)?$`)
	shown = regexp.MustCompile("(?m)^- `go test (\\./[a-z0-9/]+) -run (Test[A-Za-z0-9]+)`$")
)

// Every story has its form, and the tests that it names are there and are not skipped.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("stories/*.md")
	if err != nil || len(files) != told {
		t.Fatalf("%d stories: %v", len(files), err)
	}

	for i, file := range files {
		if want := fmt.Sprintf("%02d-", i+1); !strings.HasPrefix(filepath.Base(file), want) {
			t.Errorf("%s: its number is not %s", file, want)
		}

		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}

		if !form.Match(text) {
			t.Errorf("%s is not told as: title, source, given, when, then, shown by", file)
		}

		lines := strings.Count(string(text), "\n- ")
		tests := shown.FindAllStringSubmatch(string(text), -1)

		if len(tests) != lines {
			t.Errorf("%s: of %d lines %d name a test", file, lines, len(tests))
		}

		for _, m := range tests {
			if err := runs(filepath.Join("..", "..", m[1]), m[2]); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}

// runs reports whether a folder has a test that begins with a name and does not skip itself.
func runs(dir, name string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return err
	}

	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			return err
		}

		for _, d := range f.Decls {
			if x, ok := d.(*ast.FuncDecl); ok && x.Name.Name == name {
				if skips(x) {
					return fmt.Errorf("%s of %s skips itself", name, dir)
				}

				return nil
			}
		}
	}

	return fmt.Errorf("%s has no test %s", dir, name)
}

func skips(f *ast.FuncDecl) (yes bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && isT(s.X) && strings.HasPrefix(s.Sel.Name, "Skip") {
			yes = true
		}

		return true
	})

	return yes
}

// A name that is nowhere, and a test that skips itself, are found.
func TestRuns(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x_test.go"), []byte("package x\nfunc TestIdle(t *testing.T) { t.Skip() }\nfunc TestBusy(t *testing.T) {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	for name, want := range map[string]string{"TestIdle": "skips itself", "TestGone": "has no test", "TestBusy": ""} {
		if err := runs(dir, name); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// isT reports whether an expression is the test's t.
func isT(x ast.Expr) bool {
	id, ok := x.(*ast.Ident)
	return ok && id.Name == "t"
}
