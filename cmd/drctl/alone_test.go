package main

import (
	"os"
	"path/filepath"
	"testing"

	"drctl/internal/upkeep"
	"drctl/restore/readiness/alone"
	"drctl/targets"
)

// TestAlone looks into one vault with nothing but its place and its key.
func TestAlone(t *testing.T) {
	w := sharedLab(t)
	w.running(t)

	away := filepath.Join(w.dir, "alone")
	if err := os.MkdirAll(away, 0o755); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(w.lab, "key.txt")
	bare := runOptions{config: "-", dir: away}
	only := func(args ...string) result {
		return w.start(t, bare, append(args, "--vault-url", "s3://vault", "--vault-endpoint", w.instance(t, "west", "media/0").Address,
			"--vault-access-key", "lab", "--vault-secret-file", filepath.Join(w.lab, "secrets", "s3"), "--key", key)...).wait(t)
	}
	list := only("backup", "list", "--json")
	list.expect(t, 0)

	bases := decode[[]targets.Artifact](t, list.out)
	if len(bases) < 3 {
		t.Fatalf("%d bases", len(bases))
	}

	only("backup", "show", bases[0].ID).expect(t, 0, bases[0].ID)
	verify := only("backup", "verify", "--json")
	verify.expect(t, 0)

	if cs := decode[[]upkeep.Check](t, verify.out); len(cs) != 1 || cs[0].Region != "west" || cs[0].Checks < 5 || cs[0].Failed != 0 {
		t.Errorf("verify: %+v", cs)
	}
	st := only("status", "--json")
	st.expect(t, 0)

	if h := decode[alone.Held](t, st.out); !h.Recoverable || h.NewestCut == "" || len(h.Shards) != 4 || h.Checked.IsZero() {
		t.Errorf("status: %+v", h)
	}

	only("status").expect(t, 0, "west alone", "a plan can be made")
	only("drill", "list").expect(t, 0)
	only("drill", "show", "nope").expect(t, 1, "there is no drill report nope in the vault of west", "drctl drill list")
}
