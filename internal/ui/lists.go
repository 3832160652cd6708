package ui

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
)

// withLists returns a copy of v, as JSON sees it, in which every list that is nil
// is empty: a reader gets [] and never null. What writes itself as JSON is left.
func withLists(v any) any {
	if v == nil {
		return nil
	}

	return filled(reflect.ValueOf(v)).Interface()
}

func filled(v reflect.Value) reflect.Value {
	t := v.Type()
	if t.Implements(reflect.TypeFor[json.Marshaler]()) || t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		return v
	}

	out := reflect.New(t).Elem()
	out.Set(v)

	switch t.Kind() {
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 { // text in base64
			return v
		}

		out.Set(reflect.MakeSlice(t, v.Len(), v.Len()))

		for i := range v.Len() {
			out.Index(i).Set(filled(v.Index(i)))
		}
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if f.IsExported() && !(strings.Contains(f.Tag.Get("json"), ",omitzero") && v.Field(i).IsZero()) {
				out.Field(i).Set(filled(v.Field(i)))
			}
		}
	case reflect.Map:
		if v.IsNil() {
			return v
		}

		out.Set(reflect.MakeMapWithSize(t, v.Len()))

		for m := v.MapRange(); m.Next(); {
			out.SetMapIndex(m.Key(), filled(m.Value()))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			out.Set(reflect.New(t.Elem()))
			out.Elem().Set(filled(v.Elem()))
		}
	case reflect.Interface:
		if !v.IsNil() {
			out.Set(filled(v.Elem()))
		}
	}

	return out
}
