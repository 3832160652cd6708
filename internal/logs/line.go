package logs

import (
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"time"
)

// Decode reads one line that a process has logged as JSON: its time, level,
// message and attributes, in their order. ok is false when the line is no such
// record. One that breaks off after its level and message, because the process
// was killed or the line is too long, is a record with what came through, and
// with its raw rest as "broken". A record without a time has the zero time.
func Decode(line string) (r slog.Record, ok bool) {
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()

	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return r, false
	}

	var in record

	whole := in.read(d)
	if !in.hasLevel || !in.hasMessage {
		return r, false
	}

	r = slog.NewRecord(in.at, in.level, in.message, 0)
	r.AddAttrs(in.attrs...)

	if rest := strings.TrimSpace(line[min(d.InputOffset(), int64(len(line))):]); !whole || rest != "" {
		r.AddAttrs(slog.String("broken", rest))
	}

	return r, true
}

// record is a record as far as it has been read.
type record struct {
	at                            time.Time
	level                         slog.Level
	message                       string
	hasTime, hasLevel, hasMessage bool
	attrs                         []slog.Attr
}

// read reads the members of the object, and reports whether it came to its end.
func (in *record) read(d *json.Decoder) bool {
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return false
		}

		v, err := value(d, 0)
		if err != nil {
			return false
		}

		in.add(key.(string), v)
	}
	_, err := d.Token()

	return err == nil
}

// add takes one member. The first time, level and message are the record's own;
// an attribute may have the same name.
func (in *record) add(key string, v slog.Value) {
	text := ""
	if v.Kind() == slog.KindString {
		text = v.String()
	}

	switch {
	case key == slog.TimeKey && !in.hasTime:
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
			in.at, in.hasTime = at, true
			return
		}
	case key == slog.LevelKey && !in.hasLevel:
		if in.level.UnmarshalText([]byte(text)) == nil {
			in.hasLevel = true
			return
		}
	case key == slog.MessageKey && !in.hasMessage && v.Kind() == slog.KindString:
		in.message, in.hasMessage = text, true
		return
	}

	in.attrs = append(in.attrs, slog.Attr{Key: key, Value: v})
}

// maxDepth bounds how deep objects are read as groups; what is deeper is one value.
const maxDepth = 8

// value reads one value. An object is a group with its members in their order.
func value(d *json.Decoder, depth int) (slog.Value, error) {
	if depth == maxDepth {
		var v any
		err := d.Decode(&v)

		return slog.AnyValue(v), err
	}

	t, err := d.Token()
	if err != nil {
		return slog.Value{}, err
	}

	switch t := t.(type) {
	case string:
		return slog.StringValue(t), nil
	case bool:
		return slog.BoolValue(t), nil
	case json.Delim:
		if t == '{' {
			return group(d, depth+1)
		}

		return list(d)
	}

	return slog.AnyValue(t), nil // a number as it is written, or null
}

func group(d *json.Decoder, depth int) (slog.Value, error) {
	var attrs []slog.Attr
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return slog.Value{}, err
		}

		name, ok := key.(string)
		if !ok {
			return slog.Value{}, errors.New("a key that is no string")
		}

		v, err := value(d, depth)
		if err != nil {
			return slog.Value{}, err
		}
		attrs = append(attrs, slog.Attr{Key: name, Value: v})
	}

	if _, err := d.Token(); err != nil {
		return slog.Value{}, err
	}

	if len(attrs) == 0 { // handlers leave an empty group out
		return slog.AnyValue(map[string]any{}), nil
	}

	return slog.GroupValue(attrs...), nil
}

func list(d *json.Decoder) (slog.Value, error) {
	out := []any{}
	for d.More() {
		var v any
		if err := d.Decode(&v); err != nil {
			return slog.Value{}, err
		}
		out = append(out, v)
	}
	_, err := d.Token()

	return slog.AnyValue(out), err
}
