package answertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"drctl/cmd/drctl/answer"
)

// Fits reports whether out, which a command printed, has one of the shapes of its
// answers; the error says what is not in the last of them.
func Fits(command string, out []byte) error {
	err := errors.New("the command is not among the answers")
	for _, a := range answer.All() {
		if a.Command != command {
			continue
		}

		if a.Value == nil {
			var raw json.RawMessage
			err = json.Unmarshal(out, &raw)
		} else {
			err = fits(reflect.TypeOf(a.Value), out)
		}

		if err == nil {
			return nil
		}
	}

	return err
}

// fits decodes out strictly into a value of the type, and refuses null for a list.
func fits(t reflect.Type, out []byte) error {
	d := json.NewDecoder(bytes.NewReader(out))
	d.DisallowUnknownFields()

	if err := d.Decode(reflect.New(t).Interface()); err != nil {
		return err
	}

	var raw any
	if err := json.Unmarshal(out, &raw); err != nil {
		return err
	}

	return noNull(t, raw, "")
}

// noNull refuses null where the type has a list.
func noNull(t reflect.Type, raw any, path string) error {
	t = bare(t)

	switch t.Kind() {
	case reflect.Slice:
		list, ok := raw.([]any)
		if !ok && !own(t) {
			return fmt.Errorf("%s is %v, not a list", path, raw)
		}

		for _, x := range list {
			if err := noNull(t.Elem(), x, path+"[]"); err != nil {
				return err
			}
		}
	case reflect.Struct:
		fields, _ := raw.(map[string]any)
		for _, f := range fieldsOf(t) {
			x, there := fields[f.name]
			if !there || own(bare(f.typ)) {
				continue
			}

			if err := noNull(f.typ, x, path+"."+f.name); err != nil {
				return err
			}
		}
	}

	return nil
}
