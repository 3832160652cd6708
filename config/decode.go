package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"drctl/config/unit"
	"drctl/internal/human"
)

// source is what is known of the file besides its values.
type source struct {
	file string
	env  func(string) (string, bool)
	// places holds, by path, where a value was written: a path without an
	// entry was left out.
	places map[string]place
	// broken holds the paths whose value could not be read; they are not
	// reported again for what follows from it.
	broken   map[string]bool
	warnings []Mistake
}

type place struct {
	keyLine, keyCol int // of the key, for what is missing inside
	line, col       int // of the value, for what is wrong with it
}

func (s *source) wrote(path string) bool { _, ok := s.places[path]; return ok }

// maxValues bounds what aliases can blow up to.
const maxValues = 200_000

type decoder struct {
	src    *source
	errs   []Mistake
	values int
	inside map[*yaml.Node]bool // aliases being expanded
}

func (d *decoder) fail(n *yaml.Node, path, hint, format string, args ...any) {
	d.errs = append(d.errs, Mistake{File: d.src.file, Line: n.Line, Col: n.Column, Path: path, Message: fmt.Sprintf(format, args...), Hint: hint})
	d.src.broken[path] = true
}

// defaulter is a section with defaults of its own.
type defaulter interface{ SetDefaults() }

// fresh returns a T with its defaults.
func fresh[T any]() *T {
	v := new(T)
	setDefaults(reflect.ValueOf(v).Elem())

	return v
}

// setDefaults sets the defaults of v and of the structs inside it.
func setDefaults(v reflect.Value) {
	if v.Kind() != reflect.Struct {
		return
	}

	for i := range v.NumField() {
		if v.Type().Field(i).IsExported() {
			setDefaults(v.Field(i))
		}
	}

	if d, ok := v.Addr().Interface().(defaulter); ok {
		d.SetDefaults()
	}
}

// node follows aliases; the second result undoes the guard against cycles.
func (d *decoder) node(n *yaml.Node, path string) (*yaml.Node, func()) {
	d.values++
	if d.values > maxValues {
		if d.values == maxValues+1 {
			d.fail(n, path, "", "the file has more than %d values", maxValues)
		}

		return nil, func() {}
	}

	if n.Kind != yaml.AliasNode {
		return n, func() {}
	}

	if d.inside[n.Alias] {
		d.fail(n, path, "", "alias *%s refers to a section that contains it", n.Value)
		return nil, func() {}
	}
	d.inside[n.Alias] = true

	return n.Alias, func() { delete(d.inside, n.Alias) }
}

// decode reads n into v, which holds its defaults.
func (d *decoder) decode(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	n, done := d.node(n, path)
	defer done()

	if n == nil {
		return
	}

	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" && tag.Get("lax") == "" {
		// "tls:" alone asks for a section with its defaults.
		if v.Kind() == reflect.Pointer && v.Type().Elem().Kind() == reflect.Struct {
			v.Set(reflect.New(v.Type().Elem()))
			setDefaults(v.Elem())

			return
		}

		d.fail(n, path, "give a value or delete the line", "the value is missing")

		return
	}

	switch v.Interface().(type) {
	case Ref:
		d.ref(n, v, path)
		return
	case time.Duration, unit.Size:
		d.quantity(n, v, path, tag)
		return
	}

	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
			setDefaults(v.Elem())
		}

		d.decode(n, v.Elem(), path, tag)
	case reflect.Struct:
		d.structure(n, v, path)
	case reflect.Map:
		d.mapping(n, v, path, tag)
	case reflect.Slice:
		d.list(n, v, path, tag)
	default:
		d.scalar(n, v, path, tag)
	}
}

// kindOf names what was written, for messages.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a section"
	case yaml.SequenceNode:
		return "a list"
	}

	switch n.Tag {
	case "!!int", "!!float":
		return "the number " + strconv.Quote(n.Value)
	case "!!bool":
		return "the truth value " + strconv.Quote(n.Value)
	case "!!null":
		return "nothing"
	case "!!timestamp":
		return "the date " + strconv.Quote(n.Value)
	}

	return "text"
}

type pair struct{ key, value *yaml.Node }

// pairs lists a mapping's entries in order, merge keys (<<) expanded.
// Duplicates are reported here.
func (d *decoder) pairs(n *yaml.Node, path string) []pair {
	if n.Kind != yaml.MappingNode {
		d.fail(n, path, "", "this must be a section (key: value), not %s", kindOf(n))
		return nil
	}
	var out, merged []pair

	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, val := n.Content[i], n.Content[i+1]
		if k.Kind == yaml.ScalarNode && k.Tag == "!!merge" {
			merged = append(merged, d.merge(val, path)...)
			continue
		}

		kn := k
		if k.Kind == yaml.AliasNode {
			kn = k.Alias
		}

		if kn.Kind != yaml.ScalarNode || kn.Tag == "!!null" {
			d.fail(k, path, "", "a key must be a plain word")
			continue
		}

		if first, ok := seen[kn.Value]; ok {
			d.fail(k, join(path, kn.Value), fmt.Sprintf("it is given first in line %d", first.Line), "the key %q is given twice", kn.Value)
			continue
		}
		seen[kn.Value] = k
		out = append(out, pair{&yaml.Node{Kind: yaml.ScalarNode, Value: kn.Value, Tag: kn.Tag, Line: k.Line, Column: k.Column}, val})
	}

	for _, p := range merged {
		if _, ok := seen[p.key.Value]; !ok {
			seen[p.key.Value] = p.key
			out = append(out, p)
		}
	}

	return out
}

// merge lists what a merge key brings in; the first of several wins.
func (d *decoder) merge(n *yaml.Node, path string) []pair {
	n, done := d.node(n, path)
	defer done()

	if n == nil {
		return nil
	}

	if n.Kind == yaml.SequenceNode {
		var out []pair
		for _, e := range n.Content {
			out = append(out, d.merge(e, path)...)
		}

		return out
	}

	return d.pairs(n, path)
}

func join(path, key string) string {
	if path == "" {
		return key
	}

	return path + "." + key
}

func (d *decoder) record(path string, key, value *yaml.Node) {
	d.src.places[path] = place{key.Line, key.Column, value.Line, value.Column}
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, path string) {
	fields, known := fieldsOf(v.Type())
	for _, p := range d.pairs(n, path) {
		at := join(path, p.key.Value)

		f, ok := fields[p.key.Value]
		if !ok {
			d.fail(p.key, at, human.Suggest(p.key.Value, known), "unknown key %q", p.key.Value)
			continue
		}

		d.record(at, p.key, p.value)
		d.decode(p.value, v.FieldByIndex(f.Index), at, f.Tag)
	}

	for _, k := range known {
		if fields[k].Tag.Get("req") != "" && !d.src.wrote(join(path, k)) && !d.src.broken[path] {
			d.missing(path, k)
		}
	}
}

// missing reports an absent key at the key of its section.
func (d *decoder) missing(path, key string) {
	at := d.src.places[path]

	line, col := at.keyLine, at.keyCol
	if path == "" {
		line, col = 1, 1
	}
	d.errs = append(d.errs, Mistake{File: d.src.file, Line: line, Col: col, Path: path, Message: fmt.Sprintf("the key %q is missing", key)})
	d.src.broken[join(path, key)] = true
}

// fieldsOf lists a struct's keys, in order of declaration.
func fieldsOf(t reflect.Type) (map[string]reflect.StructField, []string) {
	fields := map[string]reflect.StructField{}

	var order []string
	for i := range t.NumField() {
		f := t.Field(i)
		if k := f.Tag.Get("yaml"); k != "" {
			fields[k] = f
			order = append(order, k)
		}
	}

	return fields, order
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}

	for _, p := range d.pairs(n, path) {
		at := join(path, p.key.Value)
		d.record(at, p.key, p.value)

		if f := tag.Get("key"); f != "" {
			if msg, hint := formats[f].check(p.key.Value); msg != "" {
				d.fail(p.key, at, hint, "%s", msg)
			}
		}

		e, etag := reflect.New(v.Type().Elem()).Elem(), reflect.StructTag("")
		switch e.Kind() {
		case reflect.String:
			etag = tag // its format is that of the values
		case reflect.Pointer:
			e.Set(reflect.New(e.Type().Elem()))
			setDefaults(e.Elem())
		case reflect.Struct:
			setDefaults(e)
		}

		d.decode(p.value, e, at, etag)
		v.SetMapIndex(reflect.ValueOf(p.key.Value), e)
	}
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	if n.Kind != yaml.SequenceNode {
		d.fail(n, path, "write [a, b] or one \"- a\" per line", "this must be a list, not %s", kindOf(n))
		return
	}

	out := reflect.MakeSlice(v.Type(), 0, len(n.Content))
	for i, c := range n.Content {
		at := join(path, strconv.Itoa(i))
		d.record(at, c, c)
		e := reflect.New(v.Type().Elem()).Elem()
		setDefaults(e)
		d.decode(c, e, at, tag)
		out = reflect.Append(out, e)
	}

	v.Set(out)
}

// ref reads a secret's reference. The text of a wrong one is never repeated:
// it may be the secret.
func (d *decoder) ref(n *yaml.Node, v reflect.Value, path string) {
	const hint = "{env: NAME}, {file: /path} or {command: [program, argument]}"
	if n.Kind != yaml.MappingNode {
		d.fail(n, path, hint, "secrets are given by reference, never in the file itself")
		return
	}
	before := len(d.errs)
	d.structure(n, v, path)

	if len(d.errs) > before {
		d.src.broken[path] = true // what follows from it is not reported
		return
	}

	count := 0
	for _, k := range []string{"env", "file", "command"} {
		if d.src.wrote(join(path, k)) {
			count++
		}
	}

	if count != 1 || v.Interface().(Ref).IsZero() {
		d.fail(n, path, hint, "a reference names exactly one of env, file and command")
		return
	}

	if c := v.Interface().(Ref).Command; len(c) > 0 && strings.TrimSpace(c[0]) == "" {
		d.fail(n, path, hint, "the command names no program")
	}
}

func (d *decoder) quantity(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	what, example := "a duration", "for example 250ms, 30s, 5m, 24h or 7d"
	if v.Type() == reflect.TypeFor[unit.Size]() {
		what, example = "a size", "for example 64KiB, 16MiB or 200GiB"
	}

	if n.Kind != yaml.ScalarNode {
		d.fail(n, path, example, "this must be %s, not %s", what, kindOf(n))
		return
	}

	value, err := parseQuantity(n.Value, v.Type())
	if n.Value == "" {
		err = fmt.Errorf("%q is not %s", "", what)
	}

	if err != nil {
		d.fail(n, path, example, "%s", err.Error())
		return
	}

	if low := tag.Get("min"); low != "" {
		if least, err := parseQuantity(low, v.Type()); err == nil && value < least {
			d.fail(n, path, "", "%s is too small; the least is %s", n.Value, low)
			return
		}
	}

	v.SetInt(value)
}

func parseQuantity(s string, t reflect.Type) (int64, error) {
	if t == reflect.TypeFor[unit.Size]() {
		n, err := unit.ParseSize(s)
		return int64(n), err
	}
	n, err := unit.ParseDuration(s)

	return int64(n), err
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	if n.Kind != yaml.ScalarNode {
		d.fail(n, path, "", "this must be a single value, not %s", kindOf(n))
		return
	}

	switch v.Kind() {
	case reflect.Bool:
		if n.Tag != "!!bool" {
			d.fail(n, path, "", "this must be true or false, not %s", kindOf(n))
			return
		}

		v.SetBool(strings.EqualFold(n.Value, "true"))
	case reflect.Int, reflect.Int64:
		var i int64
		if n.Tag != "!!int" || n.Decode(&i) != nil {
			d.fail(n, path, "", "this must be a whole number, not %s", kindOf(n))
			return
		}

		if low := tag.Get("min"); low != "" {
			if least, _ := strconv.ParseInt(low, 10, 64); i < least {
				d.fail(n, path, "", "%d is too small; the least is %d", i, least)
				return
			}
		}

		if e := tag.Get("enum"); e != "" && e != strconv.FormatInt(i, 10) {
			d.fail(n, path, "use a newer drctl for a newer file", "version %d is not known; this program reads version %s", i, e)
			return
		}

		v.SetInt(i)
	case reflect.String:
		d.text(n, v, path, tag)
	}
}

func (d *decoder) text(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	if n.Tag != "!!str" && tag.Get("lax") == "" {
		d.fail(n, path, "put it in quotes", "this must be text, not %s", kindOf(n))
		return
	}

	if strings.ContainsRune(n.Value, 0) {
		d.fail(n, path, "", "the text contains a zero byte")
		return
	}

	if e := tag.Get("enum"); e != "" {
		words := strings.Split(e, "|")
		for _, w := range words {
			if w == n.Value {
				v.SetString(w)
				return
			}
		}

		hint := human.Suggest(n.Value, words)
		if !strings.HasPrefix(hint, "did") {
			hint = "one of " + strings.Join(words, ", ")
		}

		d.fail(n, path, hint, "%q is not known here", n.Value)

		return
	}

	if f := tag.Get("format"); f != "" {
		if msg, hint := formats[f].check(n.Value); msg != "" {
			if tag.Get("quiet") != "" {
				msg = strings.ReplaceAll(msg, strconv.Quote(n.Value), "this")
			}

			d.fail(n, path, hint, "%s", msg)

			return
		}
	} else if tag.Get("req") != "" && tag.Get("lax") == "" && n.Value == "" {
		d.fail(n, path, "", "the text is empty")
		return
	}

	v.SetString(n.Value)
}
