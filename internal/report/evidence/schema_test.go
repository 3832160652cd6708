package evidence

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/invopop/jsonschema"
	validate "github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write the schema again")

const schemaFile = "../../../docs/evidence.schema.json"

var generic = regexp.MustCompile(`[^\w]+`)

// schema describes Record, with the comments of its source as descriptions.
func schema(t *testing.T) []byte {
	t.Helper()

	names := map[string]string{}
	for _, v := range []struct {
		v    any
		name string
	}{{Text{}, "MaybeText"}, {Instant{}, "MaybeInstant"}, {Span{}, "MaybeDuration"}, {Number{}, "MaybeNumber"}} {
		names[reflect.TypeOf(v.v).String()] = v.name
	}

	r := &jsonschema.Reflector{Namer: func(t reflect.Type) string {
		if n := names[t.String()]; n != "" {
			return n
		}
		return generic.ReplaceAllString(t.Name(), "_")
	}}
	if err := r.AddGoComments("drctl/internal/report/evidence", "./"); err != nil {
		t.Fatal(err)
	}
	r.CommentMap = relative(r.CommentMap)
	r.Mapper = func(t reflect.Type) *jsonschema.Schema {
		switch t {
		case reflect.TypeFor[Text]():
			return maybe(&jsonschema.Schema{Type: "string"})
		case reflect.TypeFor[Instant]():
			return maybe(&jsonschema.Schema{Type: "string", Format: "date-time"})
		case reflect.TypeFor[Span](), reflect.TypeFor[Number]():
			return maybe(&jsonschema.Schema{Type: "integer"})
		case reflect.TypeFor[time.Duration]():
			return &jsonschema.Schema{Type: "integer"}
		}

		return nil
	}
	s := r.Reflect(&Record{})
	s.ID = ""
	s.Title = "drctl evidence"

	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	// Fixed values and choices that Go types cannot say.
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	defs := m["$defs"].(map[string]any)
	prop := func(def, name string) map[string]any {
		return defs[def].(map[string]any)["properties"].(map[string]any)[name].(map[string]any)
	}
	prop("Record", "schema")["const"] = Version
	prop("Record", "content_sha256")["pattern"] = "^[0-9a-f]{64}$"
	prop("Record", "kind")["enum"] = []string{RestoreDrill}
	prop("Check", "verdict")["enum"] = severities
	prop("Step", "outcome")["enum"] = []string{StepDone, StepFailed, StepNotRun}
	prop("Issue", "severity")["enum"] = []string{Critical, Major, Minor}
	prop("Attachment", "sha256")["pattern"] = "^[0-9a-f]{64}$"

	if b, err = json.MarshalIndent(m, "", "  "); err != nil {
		t.Fatal(err)
	}

	return append(b, '\n')
}

// relative puts comments under the package's import path, whatever the
// directory was that they were read from.
func relative(in map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range in {
		i := strings.LastIndex(k, "/")

		k = "drctl/internal/report/" + k[i+1:]
		if !strings.HasPrefix(k, "drctl/internal/report/evidence.") {
			k = strings.Replace(k, "drctl/internal/report/", "drctl/internal/report/evidence", 1)
		}
		out[k] = strings.ReplaceAll(v, "\n", " ")
	}

	return out
}

func maybe(value *jsonschema.Schema) *jsonschema.Schema {
	known, unknown := jsonschema.NewProperties(), jsonschema.NewProperties()
	known.Set("value", value)
	one := uint64(1)
	unknown.Set("not_recorded", &jsonschema.Schema{Type: "string", MinLength: &one, Description: "Why there is no value."})

	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		{Type: "object", Properties: known, Required: []string{"value"}, AdditionalProperties: jsonschema.FalseSchema},
		{Type: "object", Properties: unknown, Required: []string{"not_recorded"}, AdditionalProperties: jsonschema.FalseSchema}}}
}

func TestSchemaIsUpToDate(t *testing.T) {
	got := schema(t)
	if *update {
		if err := os.WriteFile(filepath.FromSlash(schemaFile), got, 0o644); err != nil {
			t.Fatal(err)
		}
	}

	want, err := os.ReadFile(filepath.FromSlash(schemaFile))
	if err != nil {
		t.Fatal(err)
	}

	if !bytes.Equal(got, want) {
		t.Error("docs/evidence.schema.json is out of date: run go test ./internal/report/evidence -update")
	}
}

func TestSchemaAcceptsRecordsAndRefusesOthers(t *testing.T) {
	s, err := validate.NewCompiler().Compile(filepath.FromSlash(schemaFile))
	if err != nil {
		t.Fatal(err)
	}

	_, doc, err := Finalize(example())
	if err != nil {
		t.Fatal(err)
	}

	check := func(doc string) error {
		v, err := validate.UnmarshalJSON(strings.NewReader(doc))
		if err != nil {
			t.Fatal(err)
		}

		return s.Validate(v)
	}
	if err := check(string(doc)); err != nil {
		t.Fatal(err)
	}

	for name, change := range map[string][2]string{
		"another version":          {Version, "drctl.evidence/0"},
		"unknown verdict":          {`"verdict": "passed"`, `"verdict": "fine"`},
		"unknown member":           {`"attempts": 0`, `"attempts": 0, "mood": "good"`},
		"text for a number":        {`"attempts": 0`, `"attempts": "0"`},
		"value and reason":         {`"not_recorded": "no reason given"`, `"not_recorded": "no reason given", "value": "x"`},
		"neither value nor reason": {`"not_recorded": "no reason given"`, ``},
		"a missing list":           {`"exclusions"`, `"exclusion"`},
	} {
		bad := strings.Replace(string(doc), change[0], change[1], 1)
		if bad == string(doc) {
			t.Fatalf("%s: nothing was changed", name)
		}

		if check(bad) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestEveryMemberIsDocumented keeps the page honest: whoever adds a member to
// the record has to say on the page what it means.
func TestEveryMemberIsDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.FromSlash("../../../docs/evidence.md"))
	if err != nil {
		t.Fatal(err)
	}

	for f := range reflect.TypeFor[Record]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !strings.Contains(string(page), "`"+name) {
			t.Errorf("docs/evidence.md does not mention `%s`", name)
		}
	}

	if bytes.Contains(page, []byte("complies")) {
		t.Error("docs/evidence.md claims compliance")
	}
}
