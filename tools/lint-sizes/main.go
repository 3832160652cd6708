// Command lint-sizes keeps packages, files and functions small.
//
//	lint-sizes ROOT EXCEPTIONS          check
//	lint-sizes -shrink ROOT EXCEPTIONS  check, and write down what has become smaller
//	lint-sizes -list ROOT               print today's offenders in the format of the file
//
// A package has at most 1,500 lines, a file 500 and a function 80. Blank lines
// are not counted; test files count as files only. What was larger when the rule
// came stands in the exceptions file with its size, which may only shrink: a
// figure that is too high fails as well, so that no room is left to grow into.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

var limits = map[string]int{"package": 1500, "file": 500, "func": 80}

func main() {
	shrink := flag.Bool("shrink", false, "lower the figures of the exceptions file to today's")
	list := flag.Bool("list", false, "print today's offenders")
	flag.Parse()
	if want := map[bool]int{true: 1, false: 2}[*list]; flag.NArg() != want {
		flag.Usage()
		os.Exit(2)
	}

	bad, err := run(flag.Arg(0), flag.Arg(1), *list, *shrink)
	if err != nil {
		fmt.Fprintln(os.Stderr, "lint-sizes:", err)
		os.Exit(2)
	}
	for _, b := range bad {
		fmt.Fprintln(os.Stderr, b)
	}
	if len(bad) > 0 {
		os.Exit(1)
	}
}

func run(root, file string, list, shrink bool) (bad []string, err error) {
	sizes, err := measure(root)
	if err != nil {
		return nil, err
	}
	if list {
		return nil, write(os.Stdout, offenders(sizes))
	}

	allowed, err := read(file)
	if err != nil {
		return nil, err
	}
	if shrink {
		now := offenders(sizes)
		maps.DeleteFunc(now, func(k string, _ int) bool { _, ok := allowed[k]; return !ok })
		for k := range now {
			now[k] = min(now[k], allowed[k])
		}
		allowed = now
		if err := save(file, allowed); err != nil {
			return nil, err
		}
	}
	return judge(sizes, allowed), nil
}

// measure counts the lines of every package, file and function below root, by
// "kind name".
func measure(root string) (map[string]int, error) {
	sizes := map[string]int{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			if n := e.Name(); path != root && (strings.HasPrefix(n, ".") || n == "bin" || n == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return measureFile(sizes, path, filepath.ToSlash(rel))
	})
	return sizes, err
}

func measureFile(sizes map[string]int, path, rel string) error {
	src, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	lines := strings.Split(string(src), "\n")
	sizes["file "+rel] = filled(lines)
	if strings.HasSuffix(rel, "_test.go") {
		return nil
	}

	dir := filepath.ToSlash(filepath.Dir(rel))
	sizes["package "+dir] += filled(lines)
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, path, src, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		from, to := set.Position(fn.Pos()).Line, set.Position(fn.End()).Line
		// Files of different systems may hold a function of the same name.
		key := "func " + dir + "." + name(fn)
		sizes[key] = max(sizes[key], filled(lines[from-1:to]))
	}
	return nil
}

// name is "Name" or "Receiver.Name".
func name(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return fn.Name.Name
	}
	t := fn.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name + "." + fn.Name.Name
		default:
			return fn.Name.Name
		}
	}
}

func filled(lines []string) (n int) {
	for _, l := range lines {
		if strings.TrimSpace(l) != "" {
			n++
		}
	}
	return n
}

func kind(key string) string { k, _, _ := strings.Cut(key, " "); return k }

// offenders are those beyond their limit.
func offenders(sizes map[string]int) map[string]int {
	out := map[string]int{}
	for key, n := range sizes {
		if n > limits[kind(key)] {
			out[key] = n
		}
	}
	return out
}

// judge names what is too large, and each exception that is larger than needed.
func judge(sizes, allowed map[string]int) (bad []string) {
	over := offenders(sizes)
	for key, n := range over {
		if a, ok := allowed[key]; !ok {
			bad = append(bad, fmt.Sprintf("%s: %d lines, at most %d: split it", key, n, limits[kind(key)]))
		} else if n > a {
			bad = append(bad, fmt.Sprintf("%s: %d lines, more than its exception of %d: split it, it may only shrink", key, n, a))
		} else if n < a {
			bad = append(bad, fmt.Sprintf("%s: shrunk to %d lines: lower its exception of %d to %d", key, n, a, n))
		}
	}
	for key := range allowed {
		if _, ok := over[key]; !ok {
			bad = append(bad, fmt.Sprintf("%s: needs no exception any more: remove the line", key))
		}
	}
	slices.Sort(bad)
	return bad
}

func read(file string) (map[string]int, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := map[string]int{}
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		words := strings.Fields(sc.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if len(words) != 3 || limits[words[0]] == 0 {
			return nil, fmt.Errorf("%s: %q is not \"package|file|func NAME LINES\"", file, sc.Text())
		}
		n, err := strconv.Atoi(words[2])
		if err != nil {
			return nil, fmt.Errorf("%s: %q: %w", file, sc.Text(), err)
		}
		out[words[0]+" "+words[1]] = n
	}
	return out, sc.Err()
}

func save(file string, allowed map[string]int) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(write(f, allowed), f.Close())
}

func write(f *os.File, allowed map[string]int) error {
	var b strings.Builder
	b.WriteString("# What was larger than allowed when the rule came (tools/lint-sizes), with its lines.\n# These figures may only shrink.\n")
	for _, key := range slices.Sorted(maps.Keys(allowed)) {
		fmt.Fprintf(&b, "%s %d\n", key, allowed[key])
	}
	_, err := f.WriteString(b.String())
	return err
}
