package main

import (
	"io"
	"strings"
	"testing"

	"drctl/internal/fail"
)

// --json prints JSON, of the configuration too.
func TestShowAsJSON(t *testing.T) {
	var out strings.Builder
	root := newApp(&out, io.Discard).root()
	root.SetArgs([]string{"config", "show", "--json", "--config", "../../config/example.yaml"})
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v := decode[map[string]any](t, out.String()); v["regions"] == nil || v["groups"] == nil {
		t.Errorf("no configuration: %v", v)
	}
}

// A flag that would have no effect is wrong usage, whatever the configuration.
func TestFlagsWithoutEffect(t *testing.T) {
	root := newApp(io.Discard, io.Discard).root()
	root.SetArgs([]string{"restore", "run", "--sandbox-dir", "/elsewhere", "--config", "/nowhere.yaml"})
	err := root.ExecuteContext(t.Context())
	if fail.ExitCode(err) != 2 || !strings.Contains(err.Error(), "--sandbox-dir") || !strings.Contains(err.Error(), "--engine embedded") {
		t.Fatal(err)
	}
}
