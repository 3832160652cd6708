package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const maxDepth = 64

// value is nil, bool, string, number, []any or map[string]any.
type number int64

// parse and appendValue rewrite JSON as RFC 8785 does: members sorted by their
// UTF-16 code units, no space, minimal escapes. Numbers must be whole and are
// written with all their digits (RFC 8785 gives the same up to 2^53: a duration
// of 104 days in nanoseconds). Fractions are an error, as are duplicate members,
// broken UTF-8 and anything after the value.
func parse(doc []byte) (any, error) {
	if !utf8.Valid(doc) {
		return nil, errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()

	v, err := readValue(d, 0)
	if err != nil {
		return nil, err
	}

	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON value")
	}

	return v, nil
}

func readValue(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}

	t, err := d.Token()
	if err != nil {
		return nil, err
	}

	switch t := t.(type) {
	case json.Delim:
		if t == '[' {
			return readArray(d, depth)
		}

		return readObject(d, depth)
	case json.Number:
		n, err := strconv.ParseInt(t.String(), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s is not a whole number", t)
		}

		return number(n), nil
	}

	return t, nil
}

func readArray(d *json.Decoder, depth int) (any, error) {
	out := []any{}
	for d.More() {
		v, err := readValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	_, err := d.Token()

	return out, err
}

func readObject(d *json.Decoder, depth int) (any, error) {
	out := map[string]any{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}

		k, ok := t.(string)
		if !ok {
			return nil, fmt.Errorf("member name expected at byte %d", d.InputOffset())
		}

		if _, ok := out[k]; ok {
			return nil, fmt.Errorf("member %q is there twice", k)
		}

		if out[k], err = readValue(d, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()

	return out, err
}

func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		return strconv.AppendBool(b, v)
	case number:
		return strconv.AppendInt(b, int64(v), 10)
	case string:
		return appendString(b, v)
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, e)
		}

		return append(b, ']')
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}

		slices.SortFunc(keys, func(a, b string) int {
			return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
		})

		b = append(b, '{')
		for i, k := range keys {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, k)
			b = append(b, ':')
			b = appendValue(b, v[k])
		}

		return append(b, '}')
	}

	return b // parse makes no other types
}

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r >= ' ':
			b = utf8.AppendRune(b, r)
		default:
			if i := strings.IndexRune("\b\t\n\f\r", r); i >= 0 {
				b = append(b, '\\', "btnfr"[i])
			} else {
				b = fmt.Appendf(b, `\u%04x`, r)
			}
		}
	}

	return append(b, '"')
}

// The members that the content hash leaves out.
const (
	hashMember   = "content_sha256"
	reviewMember = "review"
)

// contentHash hashes the canonical form of a record's JSON without the hash
// and the review, and returns the hash that the JSON claims.
func contentHash(doc []byte) (sum, claimed string, err error) {
	v, err := parse(doc)
	if err != nil {
		return "", "", err
	}

	m, ok := v.(map[string]any)
	if !ok {
		return "", "", errors.New("not a JSON object")
	}
	claimed, _ = m[hashMember].(string)
	delete(m, hashMember)
	delete(m, reviewMember)
	h := sha256.Sum256(appendValue(nil, m))

	return hex.EncodeToString(h[:]), claimed, nil
}
