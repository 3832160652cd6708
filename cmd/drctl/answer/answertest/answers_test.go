package answertest

import (
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"drctl/cmd/drctl/answer"
)

var update = flag.Bool("update", false, "write what is generated")

const (
	doc  = "../../../../docs/json.md"
	mark = "<!-- generated below this line: go test ./cmd/drctl/answer/... -update -->\n"
)

// TestDoc: the page says of every answer what the types say.
func TestDoc(t *testing.T) {
	want, err := Markdown("../../../..")
	if err != nil {
		t.Fatal(err)
	}

	have, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}

	head, got, ok := strings.Cut(string(have), mark)
	if !ok {
		t.Fatalf("%s has no line %q", doc, mark)
	}

	if *update {
		if err := os.WriteFile(doc, []byte(head+mark+want), 0o644); err != nil {
			t.Fatal(err)
		}

		return
	}

	if got != want {
		t.Errorf("%s is not what the types say: go test ./cmd/drctl/answer/... -update", doc)
	}
}

// TestUnits: every name says its unit, in the same way everywhere, and no instant
// is printed that never was.
func TestUnits(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(x reflect.Type) {
		x = bare(x)
		if seen[x] || own(x) {
			return
		}
		seen[x] = true

		switch x.Kind() {
		case reflect.Slice, reflect.Map:
			walk(x.Elem())
		case reflect.Struct:
			for _, f := range fieldsOf(x) {
				if bare(f.typ).Kind() == reflect.Map { // its values have a unit
					f.typ = f.typ.Elem()
				}

				if d := bare(f.typ) == reflect.TypeFor[time.Duration](); d != strings.HasSuffix(f.name, "_ns") {
					t.Errorf("%v.%s is %v", x, f.name, f.typ)
				}

				if f.name != strings.ToLower(f.name) && !old[f.name] {
					t.Errorf("%v.%s is not in lower case", x, f.name)
				}

				walk(f.typ)
			}
		}
	}

	for _, a := range answer.All() {
		if a.Value != nil {
			walk(reflect.TypeOf(a.Value))
		}
	}
}

// old are names from before there was a rule, which stay for those who read them.
var old = map[string]bool{"RTO": true, "RPO": true}

func TestFits(t *testing.T) {
	for _, c := range []struct{ command, out, want string }{
		{"sandbox rm", `{"removed": []}`, ""},
		{"sandbox rm", `{"removed": null}`, "not a list"},
		{"sandbox rm", `{"removed": [], "more": 1}`, "more"},
		{"vault repair", `null`, "not a list"},
		{"cut now", `{"workflow_id": "a", "run_id": "b"}`, ""},
		{"no such", `{}`, "not among the answers"},
	} {
		err := Fits(c.command, []byte(c.out))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v", c.command, c.out, err)
		}
	}
}
