package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drctl/restore/plan"
	"drctl/workflows"
)

// TestSavedPlan runs exactly the plan that was looked at, from the vault and from a file.
func TestSavedPlan(t *testing.T) {
	w := sharedLab(t)
	w.running(t)
	text := w.must(t, "restore", "plan", "--json", "--save", "--shard", "orders/0", "--vault", "west")
	p := decode[plan.Run](t, text)

	file, edited := filepath.Join(w.dir, "plan.json"), filepath.Join(w.dir, "edited.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	q := p
	q.Steps = append([]plan.Step(nil), p.Steps...)
	q.Steps[0].StreamBytes++

	b, err := json.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}

	if err := os.WriteFile(edited, b, 0o600); err != nil {
		t.Fatal(err)
	}

	w.must(t, "cut", "now") // a newer cut changes nothing

	for _, name := range []string{p.Hash[:12], file} {
		out := decode[workflows.RestoreOut](t, w.must(t, "restore", "run", "--json", "--plan", name))
		if len(out.Steps) != 2 || !strings.Contains(out.Sandbox.Dir, p.ID) {
			t.Errorf("%s: %+v", name, out)
		}

		w.must(t, "sandbox", "rm", out.Sandbox.Dir)
	}

	w.expect(t, 0, []string{"drctl restore run --plan "}, "restore", "plan", "--save")
	w.expect(t, 4, []string{"has been changed"}, "restore", "run", "--plan", edited)
	w.expect(t, 1, []string{"there is no such plan", "--save"}, "restore", "run", "--plan", strings.Repeat("0", 64))
	w.expect(t, 2, []string{"--cut"}, "restore", "run", "--plan", p.Hash, "--cut", "latest")
	w.expect(t, 2, []string{"--shard"}, "restore", "run", "--plan", p.Hash, "--shard", "orders/0")
	w.expect(t, 2, []string{"--at"}, "restore", "run", "--plan", p.Hash, "--at", "2026-01-01T00:00:00Z")
}
