package logs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"drctl/internal/logs"
)

const root = "../.."

// The manual shows the table of keys as it is.
func TestTheManualHasTheKeys(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root, "docs", "production.md"))
	if err != nil {
		t.Fatal(err)
	}

	table := "| key | meaning |\n|---|---|\n"
	for _, k := range logs.Keys() {
		table += fmt.Sprintf("| `%s` | %s |\n", k.Name, k.Meaning)
	}

	if !strings.Contains(string(b), table+"\n") {
		t.Errorf("the table of keys in docs/production.md is not:\n%s", table)
	}
}

// synonyms are what nobody may call a key that the table has.
var synonyms = []string{"error", "cause", "id", "run_id", "workflow_id", "workflow_run", "shard_id", "target_shard", "vault_region", "task_queue", "cut_id", "base_id", "try"}

var keyForm = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

// Every key that the code logs is a word in lower case and no other name of a
// key of the table; and what an activity calls logs with its context, which has
// run and shard, or with a logger that was bound to it.
func TestKeysInTheCode(t *testing.T) {
	calls := 0
	for _, dir := range []string{"activities", "cmd", "config", "drills", "internal", "restore", "targets", "workflows"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
				return err
			}

			set := token.NewFileSet()

			f, err := parser.ParseFile(set, file, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}

			ast.Inspect(f, func(n ast.Node) bool {
				if c, ok := n.(*ast.CallExpr); ok {
					calls += checkCall(t, set.Position(c.Pos()), c)
				}

				return true
			})

			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}

	if calls < 50 {
		t.Errorf("only %d calls that log were found: does the test still know them?", calls)
	}
}

// withContext are the parts whose lines have to come with a context: what
// activities call. An archiver binds its logger when it begins.
var withContext = []string{"/activities/", "/targets/", "/drills/", "/restore/", "/internal/vault/", "/internal/barrier/", "/internal/topology/"}

// checkCall checks a call of a logger and returns 1; 0 for any other call.
func checkCall(t *testing.T, at token.Position, c *ast.CallExpr) int {
	f, ok := c.Fun.(*ast.SelectorExpr)
	if !ok || !isLogger(f.X) {
		return 0
	}

	first := map[string]int{"Debug": 1, "Info": 1, "Warn": 1, "Error": 1, "With": 0, "Log": 3,
		"DebugContext": 2, "InfoContext": 2, "WarnContext": 2, "ErrorContext": 2}

	from, known := first[f.Sel.Name]
	if !known {
		return 0
	}

	if from == 1 && slices.ContainsFunc(withContext, func(p string) bool { return strings.Contains(at.Filename, p) }) {
		t.Errorf("%s: %s without the context, so without run and shard", at, f.Sel.Name)
	}

	for i := from; i+1 < len(c.Args) && c.Ellipsis == token.NoPos; i += 2 {
		lit, ok := c.Args[i].(*ast.BasicLit)
		if !ok {
			continue
		}

		key, err := strconv.Unquote(lit.Value)
		if err != nil || !keyForm.MatchString(key) || slices.Contains(synonyms, key) {
			t.Errorf("%s: %s is no key: see internal/logs", at, lit.Value)
		}
	}

	return 1
}

// isLogger tells a logger by its name, or as what makes one.
func isLogger(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.Ident:
		return strings.EqualFold(x.Name, "log") || strings.EqualFold(x.Name, "logger")
	case *ast.SelectorExpr:
		return strings.EqualFold(x.Sel.Name, "log") || strings.EqualFold(x.Sel.Name, "logger")
	case *ast.CallExpr:
		f, ok := x.Fun.(*ast.SelectorExpr)
		return ok && (f.Sel.Name == "GetLogger" || f.Sel.Name == "With" && isLogger(f.X))
	}

	return false
}
