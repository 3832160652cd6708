package dag_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"drctl/internal/report/dag"
)

// TestSVG: every step is there, to the right of what it waits for; what another
// way says has no line; a circle and a strange name do no harm.
func TestSVG(t *testing.T) {
	nodes := []dag.Node{{ID: "c", Label: "last <script>", Needs: []string{"a", "b", "ghost"}, Heavy: true}, {ID: "b", Label: "middle", Needs: []string{"a"}, Group: "switch"}, {ID: "a", Label: "first"}}

	var one, two bytes.Buffer
	if err := errors.Join(dag.SVG(&one, "a plan & more", nodes), dag.SVG(&two, "a plan & more", nodes)); err != nil {
		t.Fatal(err)
	}
	s := one.String()

	if s != two.String() || strings.Contains(s, "<script>") || strings.Count(s, "<path") != 2 {
		t.Errorf("two pictures, a script, or a line too many:\n%s", s)
	}

	for d := xml.NewDecoder(&one); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}

	if !(strings.Index(s, `<rect x="20"`) > 0 && strings.Contains(s, `x="300"`) && strings.Contains(s, `x="580"`)) {
		t.Errorf("the columns are not in order:\n%s", s)
	}

	if err := dag.SVG(io.Discard, "", []dag.Node{{ID: "a", Needs: []string{"b"}}, {ID: "b", Needs: []string{"a"}}}); err != nil {
		t.Error(err)
	}

	if err := dag.SVG(io.Discard, "", nil); err != nil {
		t.Error(err)
	}
}
