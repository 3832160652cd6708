package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drctl/cmd/drctl/answer"
	"drctl/config"
	"drctl/internal/fail"
	"drctl/internal/ui"
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

const exampleFile = "../../config/example.yaml"

// A name that the configuration does not have is wrong usage: it ends with 2
// and says what is meant, or what there is, in words.
func TestUnknownNamesAreWrongUsage(t *testing.T) {
	for _, c := range []struct{ args, want, hint string }{
		{"restore plan --vault wset", `no region "wset"`, `did you mean "west"?`},
		{"restore plan --vault north", `no region "north"`, "known: east, west"},
		{"restore run --group shp", `no group "shp"`, `did you mean "shop"?`},
		{"drill run nightlyy", `no drill "nightlyy"`, `did you mean "nightly"?`},
		{"drill run nightly --vault north", `no region "north"`, "known: east, west"},
		{"drill show x --vault north", `no region "north"`, "known: east, west"},
		{"worker --region x", `no region "x"`, "known: east, west"},
		{"status --group shp", `no group "shp"`, `did you mean "shop"?`},
		{"cut list --vault north", `no region "north"`, "known: east, west"},
		{"backup list --vault north", `no region "north"`, "known: east, west"},
		{"backup verify --vault north", `no region "north"`, "known: east, west"},
	} {
		root := newApp(io.Discard, io.Discard).root()
		root.SetArgs(append(strings.Fields(c.args), "--config", exampleFile))

		err := root.ExecuteContext(t.Context())
		if fail.ExitCode(err) != 2 || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.hint) {
			t.Errorf("%s: %v", c.args, err)
		}
	}
}

// Without a file a person learns where one is looked for and how to make one.
func TestNoConfigurationFile(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("DRCTL_CONFIG", "")

	for _, args := range [][]string{{"status"}, {"-c", "nope.yaml", "config", "validate"}} {
		root := newApp(io.Discard, io.Discard).root()
		root.SetArgs(args)

		err := root.ExecuteContext(t.Context())
		if fail.ExitCode(err) != 2 || !strings.Contains(err.Error(), "drctl config example > drctl.yaml") {
			t.Errorf("%v: %v", args, err)
		}

		if args[0] == "status" && (!strings.Contains(err.Error(), "/etc/drctl/drctl.yaml") || !strings.Contains(err.Error(), "$DRCTL_CONFIG")) {
			t.Errorf("not all places are named: %v", err)
		}
	}
}

// What config example prints is a valid file, wherever drctl is installed.
func TestExampleIsValid(t *testing.T) {
	var out strings.Builder
	root := newApp(&out, io.Discard).root()
	root.SetArgs([]string{"config", "example"})

	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}

	if _, err := config.Parse([]byte(out.String()), "example"); err != nil {
		t.Error(err)
	}
}

// With --json mistakes are data on stdout, each with its place, and the status is 2.
func TestValidateAsJSON(t *testing.T) {
	text, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "drctl.yaml")

	bad := strings.Replace(string(text), "version: 1", "version: 1\npolices: {}", 1)
	if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
		t.Fatal(err)
	}
	validate := func(file string) (answer.Validated, int) {
		t.Helper()
		var out strings.Builder
		root := newApp(&out, io.Discard).root()
		root.SetArgs([]string{"config", "validate", "--json", "--config", file})
		err := root.ExecuteContext(t.Context())

		var code ui.Exit
		if err != nil && !errors.As(err, &code) {
			t.Fatal(err)
		}

		return decode[answer.Validated](t, out.String()), code.Code
	}

	got, code := validate(file)
	if code != 2 || got.OK || got.Format != 1 || len(got.Problems) != 1 {
		t.Fatalf("status %d: %+v", code, got)
	}

	if p := got.Problems[0]; p.File != file || p.Line < 2 || p.Column != 1 || p.Path != "polices" || p.Message != `unknown key "polices"` || p.Hint != `did you mean "policies"?` {
		t.Errorf("%+v", p)
	}

	if got, code := validate(exampleFile); code != 0 || !got.OK || got.Problems == nil {
		t.Errorf("status %d: %+v", code, got)
	}

	if got, code := validate("/nowhere.yaml"); code != 2 || len(got.Problems) != 1 || got.Problems[0].File != "/nowhere.yaml" {
		t.Errorf("status %d: %+v", code, got)
	}
}
