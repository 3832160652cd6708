package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/cmd/drctl/configured"
	"drctl/internal/fail"
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

// Before there is a key, every command that needs a vault says the next step, once;
// drctl up does not begin what cannot work.
func TestBeforeVaultInit(t *testing.T) {
	file, s := vaultsOnly(t, "{address: 127.0.0.1:1}")
	key := filepath.Join(filepath.Dir(file), "key")

	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}

	for _, command := range []string{"up", "status", "cut list", "backup list", "restore plan", "backup verify"} {
		var out, errs bytes.Buffer
		root := newApp(&out, &errs).root()
		root.SetArgs(append([]string{"--config", file}, strings.Fields(command)...))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)

		err := root.ExecuteContext(ctx)
		if ctx.Err() != nil || err == nil {
			t.Fatalf("%s: %v", command, err)
		}

		cancel()
		said := out.String() + errs.String() + err.Error()

		for _, want := range []string{"for a new platform run: drctl vault init", "open " + key} {
			if n := strings.Count(said, want); n != 1 {
				t.Errorf("%s says %q %d times:\n%s", command, want, n, said)
			}
		}
	}

	// One reason for the set, and no line for each vault.
	if _, err := s.p.Set(t.Context(), "shop", "east"); fail.CodeOf(err) != fail.NotFound || strings.Count(err.Error(), "drctl vault init") != 1 {
		t.Errorf("%v", err)
	}
}

// That a vault is away is logged when it begins and when the reason changes: archivers,
// observers and cuts ask for it again and again.
func TestAVaultAwayIsLoggedOnce(t *testing.T) {
	_, s := vaultsOnly(t, "{address: 127.0.0.1:1}")
	var logged bytes.Buffer
	p := configured.New(s.cfg, s.p.Programs, slog.New(slog.NewTextHandler(&logged, nil)))
	east := filepath.Join(s.cfg.StateDir, "..", "east")

	ask := func(want int) {
		t.Helper()

		for range 3 {
			_, _ = p.Set(t.Context(), "shop", "east")
		}

		if n := strings.Count(logged.String(), "a vault cannot be used"); n != want {
			t.Errorf("it is said %d times, want %d:\n%s", n, want, &logged)
		}
	}

	if err := os.Rename(east, east+".away"); err != nil {
		t.Fatal(err)
	}

	ask(1)

	if err := os.WriteFile(east, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	ask(2)
}
