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
	for _, c := range []struct{ args, flag, hint string }{
		{"restore run --sandbox-dir /elsewhere", "--sandbox-dir", "--engine embedded"},
		{"restore run --engine-bin /elsewhere", "--engine-bin", "--engine embedded"},
		{"restore plan --key k.txt", "--key", "--vault-url"},
		{"restore run --vault-secret-file s", "--vault-secret-file", "--vault-url"},
		{"cut list --vault-access-key a", "--vault-access-key", "--vault-url"},
		{"cut show x --vault-endpoint http://e", "--vault-endpoint", "--vault-url"},
	} {
		root := newApp(io.Discard, io.Discard).root()
		root.SetArgs(append(strings.Fields(c.args), "--config", "/nowhere.yaml"))
		err := root.ExecuteContext(t.Context())
		if fail.ExitCode(err) != 2 || !strings.Contains(err.Error(), c.flag) || !strings.Contains(err.Error(), c.hint) {
			t.Errorf("%s: %v", c.args, err)
		}
	}
}
