package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"drctl/config/storage"
	"drctl/config/unit"
	"drctl/internal/fail"
)

// Show renders the resolved file, defaults included. It parses again to the
// same configuration but for the arguments of secret commands, which are
// redacted: people put tokens there.
func (c *Config) Show() ([]byte, error) {
	return c.render(true)
}

// ShowJSON is Show as JSON. It can be read as a configuration too: JSON is YAML.
func (c *Config) ShowJSON() ([]byte, error) {
	b, err := c.render(true)
	if err != nil {
		return nil, err
	}

	var v any
	if err := yaml.Unmarshal(b, &v); err != nil {
		return nil, fail.New(fail.Internal, "config: show", c.file, "", err)
	}

	out, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, fail.New(fail.Internal, "config: show", c.file, "", err)
	}

	return append(out, '\n'), nil
}

// Hash identifies the resolved configuration: two files that mean the same
// have the same hash, whatever their order and comments. Secrets themselves
// are not part of it, their references are.
func (c *Config) Hash() string {
	b, err := c.render(false)
	if err != nil {
		return "" // render of a parsed configuration does not fail
	}
	h := sha256.Sum256(b)

	return hex.EncodeToString(h[:])
}

func (c *Config) render(redact bool) ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)

	if err := enc.Encode(toNode(reflect.ValueOf(c).Elem(), redact)); err != nil {
		return nil, fail.New(fail.Internal, "config: show", c.file, "", err)
	}

	if err := enc.Close(); err != nil {
		return nil, fail.New(fail.Internal, "config: show", c.file, "", err)
	}

	return b.Bytes(), nil
}

func scalarNode(tag, value string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
	if tag == "!!str" {
		n.SetString(value)
	}

	return n
}

// toNode renders a value; nil for what was left out and has no default.
func toNode(v reflect.Value, redact bool) *yaml.Node {
	switch x := v.Interface().(type) {
	case Ref:
		return refNode(x, redact)
	case time.Duration:
		return scalarNode("!!str", unit.FormatDuration(x))
	case unit.Size:
		return scalarNode("!!str", x.String())
	}

	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}

		return toNode(v.Elem(), redact)
	case reflect.Struct:
		return structNode(v, redact)
	case reflect.Map:
		return mapNode(v, redact)
	case reflect.Slice:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			n.Content = append(n.Content, toNode(v.Index(i), redact))
		}

		return n
	case reflect.Bool:
		return scalarNode("!!bool", strconv.FormatBool(v.Bool()))
	case reflect.Int, reflect.Int64:
		return scalarNode("!!int", strconv.FormatInt(v.Int(), 10))
	}

	return scalarNode("!!str", v.String())
}

func refNode(r Ref, redact bool) *yaml.Node {
	if r.IsZero() {
		return nil
	}
	n := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}

	add := func(k string, v *yaml.Node) { n.Content = append(n.Content, scalarNode("!!str", k), v) }
	switch {
	case r.Env != "":
		add("env", scalarNode("!!str", r.Env))
	case r.File != "":
		add("file", scalarNode("!!str", r.File))
	default:
		list := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for i, a := range r.Command {
			if i > 0 && redact {
				a = "[redacted]"
			}
			list.Content = append(list.Content, scalarNode("!!str", a))
		}

		add("command", list)
	}

	return n
}

func structNode(v reflect.Value, redact bool) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}

	fields, order := fieldsOf(v.Type())
	for _, k := range order {
		f := fields[k]

		e := v.FieldByIndex(f.Index)
		if f.Tag.Get("only") != "" && e.IsZero() {
			continue // the kind may not have it
		}

		// Empty text and lists were left out; read_data is the one text whose
		// emptiness differs from its default.
		switch e.Kind() {
		case reflect.String, reflect.Slice, reflect.Map:
			if e.Len() == 0 && f.Tag.Get("format") != "fraction" && f.Tag.Get("req") == "" {
				continue
			}
		}

		if f.Name == "Region" && v.Type() == reflect.TypeFor[storage.Store]() && isFileVault(v) {
			continue // an S3 region has no meaning there
		}

		if c := toNode(e, redact); c != nil && (c.Kind == yaml.ScalarNode || len(c.Content) > 0 || f.Type.Kind() == reflect.Pointer) {
			n.Content = append(n.Content, scalarNode("!!str", k), c)
		}
	}

	return n
}

func isFileVault(v reflect.Value) bool {
	u := v.FieldByName("URL").String()
	return len(u) > 5 && u[:5] == "file:"
}

func mapNode(v reflect.Value, redact bool) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int {
		switch {
		case a.String() < b.String():
			return -1
		case a.String() > b.String():
			return 1
		}

		return 0
	})

	for _, k := range keys {
		c := toNode(v.MapIndex(k), redact)
		if c == nil {
			continue
		}
		n.Content = append(n.Content, scalarNode("!!str", k.String()), c)
	}

	return n
}
