package answertest

import (
	"encoding"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"drctl/cmd/drctl/answer"
)

// page collects the types that it names, in the order in which they are named.
type page struct {
	root     string
	types    []reflect.Type
	named    map[reflect.Type]string      // its title
	comments map[string]map[string]string // by directory: "Type.Field" to its comment
}

// Markdown lists every answer, and below it every type with its fields. Root is the
// folder of the module.
func Markdown(root string) (string, error) {
	p := &page{root: root, named: map[reflect.Type]string{}, comments: map[string]map[string]string{}}

	var b strings.Builder
	b.WriteString("## Answers\n\n| command | prints |\n|---|---|\n")

	for _, a := range answer.All() {
		what := a.Where
		if a.Value != nil {
			what = p.word(reflect.TypeOf(a.Value))
		}

		if a.When != "" {
			what += ", " + a.When
		}

		fmt.Fprintf(&b, "| `%s` | %s |\n", a.Command, what)
	}

	fmt.Fprintf(&b, "| any, on stderr, when it fails | %s |\n\n## Types\n", p.word(reflect.TypeOf(answer.Failed)))

	for i := 0; i < len(p.types); i++ { // it grows
		t := p.types[i]
		fmt.Fprintf(&b, "\n### %s\n\n| field | is | |\n|---|---|---|\n", p.named[t])

		for _, f := range fieldsOf(t) {
			comment, err := p.comment(f)
			if err != nil {
				return "", err
			}

			is := p.word(f.typ) + unit(f)
			if f.optional {
				is += ", or not there"
			}

			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.name, is, comment)
		}
	}

	return b.String(), nil
}

// word names a type as JSON has it, and remembers those that have fields.
func (p *page) word(t reflect.Type) string {
	t = bare(t)

	switch {
	case t == reflect.TypeFor[time.Time]():
		return "instant"
	case t == reflect.TypeFor[json.RawMessage]():
		return "the record, as [evidence.schema.json](evidence.schema.json) describes it"
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return "text"
	}

	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "list of " + p.word(t.Elem())
	case reflect.Map:
		return "object: name to " + p.word(t.Elem())
	case reflect.Struct:
		if p.named[t] == "" {
			p.named[t] = p.title(t)
			p.types = append(p.types, t)
		}

		return fmt.Sprintf("[%s](#%s)", p.named[t], strings.ToLower(p.named[t]))
	}

	return "number"
}

// title names a type as no other is named: the second of a name has its package's
// before it.
func (p *page) title(t reflect.Type) string {
	for other := range p.named {
		if other != t && other.Name() == t.Name() && p.named[other] == t.Name() {
			dir := filepath.Base(t.PkgPath())

			return strings.ToUpper(dir[:1]) + dir[1:] + t.Name()
		}
	}

	return t.Name()
}

// unit is what a number counts.
func unit(f field) string {
	switch {
	case bare(f.typ) == reflect.TypeFor[time.Duration]():
		return " of nanoseconds"
	case strings.Contains(f.name, "bytes"):
		return " of bytes"
	}

	return ""
}

// comment is the comment of a field in the source.
func (p *page) comment(f field) (string, error) {
	dir := strings.TrimPrefix(f.in.PkgPath(), "drctl")
	if p.comments[dir] == nil {
		all, err := commentsIn(filepath.Join(p.root, dir))
		if err != nil {
			return "", err
		}
		p.comments[dir] = all
	}
	name, _, _ := strings.Cut(f.in.Name(), "[")

	return p.comments[dir][name+"."+f.field], nil
}

// commentsIn reads the comments of the fields of all types in a folder.
func commentsIn(dir string) (map[string]string, error) {
	out := map[string]string{}

	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}

	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}

		ast.Inspect(f, func(n ast.Node) bool {
			t, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}

			if s, ok := t.Type.(*ast.StructType); ok {
				for _, x := range s.Fields.List {
					for _, id := range x.Names {
						out[t.Name.Name+"."+id.Name] = line(x.Doc.Text() + x.Comment.Text())
					}
				}
			}

			return true
		})
	}

	return out, nil
}

// line makes one cell of a table of a comment.
func line(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", "\\|")
}
