package ui

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// A list is never null, however deep it is; what writes itself stays as it is, and
// so does what is not there.
func TestListsAreLists(t *testing.T) {
	type Inner struct {
		Names []string `json:"names"`
		own   []string
	}
	in := struct {
		Inner
		List  []Inner          `json:"list"`
		None  []Inner          `json:"none"`
		Left  []Inner          `json:"left,omitzero"`
		Map   map[string]Inner `json:"map"`
		To    *Inner           `json:"to"`
		Any   any              `json:"any"`
		At    time.Time        `json:"at"`
		Raw   json.RawMessage  `json:"raw"`
		Bytes []byte           `json:"bytes"`
	}{Inner: Inner{own: []string{"x"}}, List: []Inner{{}}, Map: map[string]Inner{"a": {}}, To: &Inner{}, Any: []Inner{{}},
		At: time.Unix(0, 0).UTC(), Raw: json.RawMessage(`null`)}

	var out strings.Builder
	if err := PrintJSON(&out, in); err != nil {
		t.Fatal(err)
	}

	got := strings.Join(strings.Fields(out.String()), "")

	want := `{"names":[],"list":[{"names":[]}],"none":[],"map":{"a":{"names":[]}},"to":{"names":[]},"any":[{"names":[]}],` +
		`"at":"1970-01-01T00:00:00Z","raw":null,"bytes":null}`
	if got != want {
		t.Errorf("%s\nwant %s", got, want)
	}

	if in.None != nil || in.To.Names != nil {
		t.Error("what was printed has changed")
	}
}
