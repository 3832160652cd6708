package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// Where there is nothing yet, a command says which one comes next, and a warning
// about the configuration stands once.
func TestNothingYetSaysWhatComesNext(t *testing.T) {
	file, _ := vaultsOnly(t, "{address: 127.0.0.1:1}")

	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	var one []string // region alone, which deserves a warning
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "  west:") {
			one = append(one, line)
		}
	}

	if err := os.WriteFile(file, []byte(strings.Join(one, "")), 0o600); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct{ command, next string }{
		{"cut list", "take one with: drctl cut now"},
		{"cut show latest", "take one with: drctl cut now"},
		{"backup list", "take one with: drctl backup now"},
		{"restore plan", "take one with: drctl cut now"},
		{"status", "take one with: drctl backup now"},
		{"status", "take one with: drctl cut now"},
		{"cut now", "start it with: drctl up"},
		{"drill list", ""},
	} {
		var out, errs bytes.Buffer
		root := newApp(&out, &errs).root()
		root.SetArgs(append([]string{"--config", file}, strings.Fields(c.command)...))

		said := ""
		if err := root.ExecuteContext(t.Context()); err != nil {
			said = err.Error()
		}

		if said += out.String() + errs.String(); !strings.Contains(said, c.next) {
			t.Errorf("%s does not say %q: %s", c.command, c.next, said)
		}

		if n := strings.Count(errs.String(), "there is one region alone"); n != 1 {
			t.Errorf("%s warns %d times:\n%s", c.command, n, &errs)
		}
	}
}
