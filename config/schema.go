package config

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/invopop/jsonschema"

	"drctl/config/unit"
	"drctl/internal/fail"
)

// Schema returns the JSON Schema (draft 2020-12) of the file, for editors. It
// never refuses a file that Parse takes; Parse refuses more: references that
// lead nowhere and values that contradict each other.
func Schema() ([]byte, error) {
	types := map[string]reflect.Type{}
	r := jsonschema.Reflector{
		Anonymous: true, ExpandedStruct: true, RequiredFromJSONSchemaTags: true,
		FieldNameTag: "yaml",
		Mapper:       quantitySchema,
		Namer: func(t reflect.Type) string {
			name := strings.ToLower(t.Name())
			types[name] = t
			return name
		},
	}
	s := r.Reflect(&Config{})
	s.Title = "drctl configuration"

	// The library knows names and types; our tags say the rest.
	addGrammar(s, reflect.TypeFor[Config]())

	for name, section := range s.Definitions {
		if types[name].Kind() == reflect.Struct {
			addGrammar(section, types[name])
		}
	}
	one := uint64(1)
	secret := s.Definitions["ref"]
	secret.Description = "Where a secret is: exactly one of env, file and command. Never the secret itself."
	secret.MinProperties, secret.MaxProperties = &one, &one
	secret.Properties.Value("command").MinItems = &one
	s.Definitions["target"].AllOf = kindRules()

	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")

	if err := enc.Encode(s); err != nil {
		return nil, fail.New(fail.Internal, "config: schema", "", "", err)
	}

	return b.Bytes(), nil
}

// either is a value of one of several types, which the library's Type cannot say.
func either(types ...string) map[string]any { return map[string]any{"type": types} }

// quantitySchema describes what is a number in Go and text in the file.
func quantitySchema(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[time.Duration]():
		// The one duration without a unit is 0.
		return &jsonschema.Schema{Extras: either("string", "integer"), Pattern: unit.DurationPattern,
			Minimum: "0", Maximum: "0", Examples: []any{"30s", "24h", "7d"}}
	case reflect.TypeFor[unit.Size]():
		return &jsonschema.Schema{Extras: either("string", "integer"), Pattern: unit.SizePattern,
			Minimum: "0", Examples: []any{"16MiB"}}
	}

	return nil
}

// addGrammar writes into a section's schema what the tags of its struct say.
func addGrammar(s *jsonschema.Schema, t reflect.Type) {
	defaults := reflect.New(t).Elem()
	setDefaults(defaults)

	fields, order := fieldsOf(t)
	for _, key := range order {
		f := fields[key]

		p := s.Properties.Value(key)
		if f.Tag.Get("req") != "" {
			s.Required = append(s.Required, key)
		}

		constrain(p, f)
		p.Default = defaultOf(defaults.FieldByIndex(f.Index))

		// An optional section may be empty.
		if f.Type.Kind() == reflect.Pointer {
			p = &jsonschema.Schema{AnyOf: []*jsonschema.Schema{p, {Type: "null"}}}
			s.Properties.Set(key, p)
		}
		p.Description = f.Tag.Get("doc")
	}
}

// constrain limits the values of a key: itself, or the elements of its list.
func constrain(p *jsonschema.Schema, f reflect.StructField) {
	tag := f.Tag
	switch f.Type.Kind() {
	case reflect.Map:
		if k := tag.Get("key"); k != "" {
			p.PropertyNames = &jsonschema.Schema{Pattern: formats[k].pattern}
		}

		if tag.Get("req") != "" {
			one := uint64(1)
			p.MinProperties = &one
		}

		return
	case reflect.Slice:
		p = p.Items
	}

	switch {
	case p.Type == "integer" && tag.Get("enum") != "":
		p.Type, p.Const = "", json.Number(tag.Get("enum"))
	case p.Type == "integer":
		p.Minimum = json.Number(tag.Get("min"))
	case p.Type != "string":
	case tag.Get("enum") != "":
		p.Type = ""
		for _, word := range strings.Split(tag.Get("enum"), "|") {
			p.Enum = append(p.Enum, word)
		}
	case tag.Get("lax") != "":
		p.Type, p.Extras = "", either("string", "number", "boolean", "null")
	case tag.Get("format") != "":
		p.Pattern = formats[tag.Get("format")].pattern
	case tag.Get("req") != "":
		one := uint64(1)
		p.MinLength = &one
	}
}

// defaultOf renders a plain value as it is written in a file; nil when there is none.
func defaultOf(v reflect.Value) any {
	if v.IsZero() {
		return nil
	}

	switch x := v.Interface().(type) {
	case time.Duration:
		return unit.FormatDuration(x)
	case unit.Size:
		return x.String()
	case string, int, int64, bool:
		return x
	}

	return nil
}

// kindRules says which keys each kind of target needs and which have no
// meaning for it, for the target and its instances.
func kindRules() []*jsonschema.Schema {
	rule := func(kind string, target, instance []string) *jsonschema.Schema {
		is := &jsonschema.Schema{Properties: jsonschema.NewProperties(), Required: []string{"kind"}}
		is.Properties.Set("kind", &jsonschema.Schema{Const: kind})

		then, in := keysOf(kind, reflect.TypeFor[Target](), target), keysOf(kind, reflect.TypeFor[Instance](), instance)
		then.Properties.Set("shards", &jsonschema.Schema{AdditionalProperties: &jsonschema.Schema{AdditionalProperties: in}})

		return &jsonschema.Schema{If: is, Then: then}
	}

	return []*jsonschema.Schema{
		rule("postgres", []string{"database", "user"}, []string{"address"}),
		rule("redis", nil, []string{"address"}),
		rule("s3", nil, []string{"endpoint", "bucket"}),
	}
}

// keysOf asks for the required keys and refuses those that belong to other kinds.
func keysOf(kind string, t reflect.Type, required []string) *jsonschema.Schema {
	s := &jsonschema.Schema{Properties: jsonschema.NewProperties(), Required: required}

	fields, order := fieldsOf(t)
	for _, key := range order {
		if only := fields[key].Tag.Get("only"); only != "" && !slices.Contains(strings.Split(only, "|"), kind) {
			s.Properties.Set(key, jsonschema.FalseSchema)
		}
	}

	return s
}
