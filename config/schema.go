package config

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"drctl/internal/fail"
)

// Schema returns the JSON Schema (draft 2020-12) of the file, for editors. It
// never refuses a file that Parse takes; Parse refuses more: references that
// lead nowhere and values that contradict each other.
func Schema() ([]byte, error) {
	g := generator{defs: map[string]any{}}
	root := g.structure(reflect.TypeFor[Config]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "drctl configuration"
	root["$defs"] = g.defs
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(root); err != nil {
		return nil, fail.New(fail.Internal, "config: schema", "", "", err)
	}
	return b.Bytes(), nil
}

type generator struct{ defs map[string]any }

type object = map[string]any

// of returns the schema of a type under a field's tag.
func (g *generator) of(t reflect.Type, tag reflect.StructTag) object {
	s := g.bare(t, tag)
	if d := tag.Get("doc"); d != "" {
		s["description"] = d
	}
	return s
}

func (g *generator) bare(t reflect.Type, tag reflect.StructTag) object {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return object{"type": []string{"string", "integer"}, "pattern": durationText, "minimum": 0, "maximum": 0,
			"examples": []string{"30s", "24h", "7d"}}
	case reflect.TypeFor[Size]():
		return object{"type": []string{"string", "integer"}, "pattern": sizeText, "minimum": 0, "examples": []string{"16MiB"}}
	case reflect.TypeFor[Ref]():
		return g.ref("secret", func() object { return secretSchema() })
	}
	switch t.Kind() {
	case reflect.Pointer:
		s := g.bare(t.Elem(), tag)
		if tag.Get("yaml") != "" { // an optional section may be empty
			return object{"anyOf": []object{s, {"type": "null"}}}
		}
		return s
	case reflect.Struct:
		return g.ref(strings.ToLower(t.Name()), func() object { return g.structure(t) })
	case reflect.Map:
		s := object{"type": "object", "additionalProperties": g.bare(t.Elem(), "")}
		if k := tag.Get("key"); k != "" {
			s["propertyNames"] = object{"pattern": formats[k].pattern}
		}
		if tag.Get("req") != "" {
			s["minProperties"] = 1
		}
		return s
	case reflect.Slice:
		return object{"type": "array", "items": g.bare(t.Elem(), tag)}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return g.number(tag)
	}
	return text(tag)
}

func (g *generator) number(tag reflect.StructTag) object {
	s := object{"type": "integer"}
	if n, err := strconv.Atoi(tag.Get("enum")); err == nil {
		return object{"const": n}
	}
	if n, err := strconv.Atoi(tag.Get("min")); err == nil {
		s["minimum"] = n
	}
	return s
}

func text(tag reflect.StructTag) object {
	if e := tag.Get("enum"); e != "" {
		return object{"enum": strings.Split(e, "|")}
	}
	s := object{"type": "string"}
	if tag.Get("lax") != "" {
		return object{"type": []string{"string", "number", "boolean", "null"}}
	}
	if f := tag.Get("format"); f != "" {
		s["pattern"] = formats[f].pattern
	} else if tag.Get("req") != "" {
		s["minLength"] = 1
	}
	return s
}

// ref keeps a section once under $defs.
func (g *generator) ref(name string, build func() object) object {
	if _, ok := g.defs[name]; !ok {
		g.defs[name] = object{} // reserved: types may nest
		g.defs[name] = build()
	}
	return object{"$ref": "#/$defs/" + name}
}

func secretSchema() object {
	r := generator{}
	s := r.structure(reflect.TypeFor[Ref]())
	s["description"] = "Where a secret is: exactly one of env, file and command. Never the secret itself."
	s["minProperties"], s["maxProperties"] = 1, 1
	command := s["properties"].(object)["command"].(object)
	command["minItems"] = 1
	return s
}

func (g *generator) structure(t reflect.Type) object {
	props := object{}
	var required []string
	fields, order := fieldsOf(t)
	for _, k := range order {
		f := fields[k]
		props[k] = g.of(f.Type, f.Tag)
		if f.Tag.Get("req") != "" {
			required = append(required, k)
		}
	}
	addDefaults(t, props)
	s := object{"type": "object", "properties": props, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	if t == reflect.TypeFor[Target]() {
		s["allOf"] = kindRules()
	}
	return s
}

// addDefaults writes the defaults of a section's plain values.
func addDefaults(t reflect.Type, props object) {
	v := reflect.New(t)
	setDefaults(v.Elem())
	fields, order := fieldsOf(t)
	for _, k := range order {
		e := v.Elem().FieldByIndex(fields[k].Index)
		if e.IsZero() {
			continue
		}
		p := props[k].(object)
		switch x := e.Interface().(type) {
		case time.Duration:
			p["default"] = formatDuration(x)
		case Size:
			p["default"] = x.String()
		case string, int, int64, bool:
			p["default"] = x
		}
	}
}

// kindRules says which keys each kind of target needs and which have no
// meaning for it, for the target and its instances.
func kindRules() []object {
	needs := map[string]struct{ target, instance []string }{
		"postgres": {[]string{"database", "user"}, []string{"address"}},
		"redis":    {nil, []string{"address"}},
		"s3":       {nil, []string{"endpoint", "bucket"}},
	}
	var rules []object
	for _, kind := range []string{"postgres", "redis", "s3"} {
		props := forbidden(reflect.TypeFor[Target](), kind)
		instance := object{"properties": forbidden(reflect.TypeFor[Instance](), kind), "required": needs[kind].instance}
		props["shards"] = object{"additionalProperties": object{"additionalProperties": instance}}
		then := object{"properties": props}
		if n := needs[kind].target; n != nil {
			then["required"] = n
		}
		rules = append(rules, object{
			"if":   object{"properties": object{"kind": object{"const": kind}}, "required": []string{"kind"}},
			"then": then,
		})
	}
	return rules
}

func forbidden(t reflect.Type, kind string) object {
	out := object{}
	fields, order := fieldsOf(t)
	for _, k := range order {
		if o := fields[k].Tag.Get("only"); o != "" && !slices.Contains(strings.Split(o, "|"), kind) {
			out[k] = false
		}
	}
	return out
}
