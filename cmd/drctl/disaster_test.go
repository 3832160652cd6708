package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"drctl/targets"
	"drctl/workflows"
)

// TestDisaster destroys the region with the engine and every primary, and
// recovers from the other region's vault with nothing but its place, its key
// and the programs.
func TestDisaster(t *testing.T) {
	w := ownLab(t, labShape{shards: 2, cutEvery: "20s"})
	w.running(t)
	w.startTraffic(t)
	cut := decode[targets.Cut](t, w.must(t, "cut", "now", "--json"))
	w.up.signal(syscall.SIGKILL)
	w.up.wait(t)
	w.inLab(t, "break", "region", "east")
	w.stopTraffic(t)

	away := filepath.Join(w.dir, "away")
	if err := os.MkdirAll(away, 0o755); err != nil {
		t.Fatal(err)
	}

	key, err := os.ReadFile(filepath.Join(w.lab, "key.txt"))
	if err != nil {
		t.Fatal(err)
	}

	keyFile := filepath.Join(away, "identity")
	if err := os.WriteFile(keyFile, key, 0o600); err != nil {
		t.Fatal(err)
	}
	bare := runOptions{config: "-", dir: away}
	place := []string{"--vault-url", "s3://vault", "--vault-endpoint", w.instance(t, "west", "media/0").Address, "--vault-access-key", "lab",
		"--vault-secret-file", filepath.Join(w.lab, "secrets", "s3"), "--key", keyFile}
	with := func(args ...string) []string { return append(args, place...) }
	w.start(t, bare, with("cut", "list", "--limit", "0")...).wait(t).expect(t, 0, cut.ID)
	w.start(t, bare, with("restore", "plan", "--cut", cut.ID)...).wait(t).expect(t, 0, "from the vault of west")
	r := w.start(t, bare, with("restore", "run", "--engine", "embedded", "--cut", cut.ID, "--json", "--sandbox-dir", away)...).wait(t)
	r.expect(t, 0)

	out := decode[workflows.RestoreOut](t, r.out)
	if len(out.Steps) != 8 {
		t.Errorf("%d steps", len(out.Steps))
	}
	// The configuration reads west too, and finds the same cut.
	w.expect(t, 0, []string{"out of reach", cut.ID}, "cut", "list", "--limit", "0")
	w.inLab(t, "check", "--sandbox", out.Sandbox.Dir, "--cut", cut.ID).expect(t, 0, "holds")
	w.start(t, bare, "sandbox", "rm", out.Sandbox.Dir).wait(t).expect(t, 0, "removed")

	if es, _ := os.ReadDir(filepath.Join(away, "sandbox")); len(es) != 0 {
		t.Errorf("left: %v", es)
	}

	if es, _ := filepath.Glob(filepath.Join(away, "state", "engines", "*")); len(es) != 0 {
		t.Errorf("the engine of its own left %v", es)
	}

	w.expect(t, 4, []string{"the vault of east cannot be opened", "orders/0@east", "recover it can be made from the vault of west"}, "status")
	w.searchSecrets(t)
}
