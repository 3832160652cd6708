package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/vault"
	"drctl/targets"
)

// TestCompletion completes names from the configuration and from a vault, and says
// nothing when it cannot.
func TestCompletion(t *testing.T) {
	file, s := vaultsOnly(t, "{address: 127.0.0.1:1}")

	v, err := s.p.Vault(t.Context(), "east")
	if err != nil {
		t.Fatal(err)
	}

	now := time.Now().UTC()

	cut := targets.Cut{ID: targets.NewID(now), Group: "shop", QuiescedAt: now, SealedAt: now}
	if _, err := (vault.Set{Vaults: []*vault.Vault{v}}).SaveCut(t.Context(), cut); err != nil {
		t.Fatal(err)
	}

	complete := func(file string, words ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		root := newApp(&out, &errs).root()
		root.SetOut(&out)
		root.SetErr(&errs)
		root.SetArgs(append([]string{"__complete", "--config", file}, words...))

		if err := root.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}

		if e := errs.String(); strings.Contains(e, "warning") || strings.Contains(e, "error") || strings.Count(e, "\n") > 1 {
			t.Errorf("%v: said %q", words, e)
		}
		list, _, _ := strings.Cut(out.String(), ":4\n") // cobra: no names of files

		return strings.Join(strings.Fields(list), " ")
	}

	key := filepath.Join(filepath.Dir(file), "key")
	place := "file://" + filepath.Join(filepath.Dir(file), "east")

	for _, c := range []struct{ words, want string }{
		{"status --group |", "shop"},
		{"backup now --shard |", "orders/0"},
		{"restore plan --target o|", "orders"},
		{"worker --region |", "east west"},
		{"vault repair --region w|", "west"},
		{"restore run --into i|", "instances"},
		{"schedule pause cut/shop |", "backup/shop check/shop retain/shop"},
		{"cut show |", cut.ID + " latest"},
		{"restore plan --cut |", cut.ID + " latest"},
		{"cut show --vault-url " + place + " --key " + key + " 2|", cut.ID},
		{"cut show x |", ""},
		{"sandbox rm |", ""},
		{"drill show |", ""},
		{"status |", ""},
	} {
		if got := complete(file, strings.Split(strings.TrimSuffix(c.words, "|"), " ")...); got != c.want {
			t.Errorf("%s: %q, want %q", c.words, got, c.want)
		}
	}

	// Neither a file that is not there nor a vault that is gone says a word.
	if got := complete("/nowhere.yaml", "cut", "show", ""); got != "latest" {
		t.Errorf("without a configuration: %q", got)
	}

	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}

	if got := complete(file, "backup", "rm", ""); got != "" {
		t.Errorf("without a key: %q", got)
	}
}
