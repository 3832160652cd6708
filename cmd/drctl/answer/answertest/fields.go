package answertest

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
)

// field is one member of a JSON object.
type field struct {
	name     string
	typ      reflect.Type
	optional bool
	in       reflect.Type // the struct that has it
	field    string       // its name in Go
}

// fieldsOf are the members that a struct becomes, those of embedded structs
// included.
func fieldsOf(t reflect.Type) (all []field) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")

		switch {
		case tag == "-" || !f.IsExported() && !f.Anonymous:
			continue
		case f.Anonymous && tag == "":
			all = append(all, fieldsOf(bare(f.Type))...)
			continue
		case tag == "":
			tag = f.Name
		}
		all = append(all, field{tag, f.Type, options != "", t, f.Name})
	}

	return all
}

// bare is what a pointer points to.
func bare(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}

	return t
}

// own reports whether a type writes itself as JSON.
func own(t reflect.Type) bool {
	return t.Implements(reflect.TypeFor[json.Marshaler]()) || t.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}
