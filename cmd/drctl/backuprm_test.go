package main

import (
	"slices"
	"strings"
	"testing"

	"drctl/restore/plan"
	"drctl/targets"
	"drctl/workflows"
)

// TestBackupRm removes a base that nothing needs, and is refused one that a sealed
// cut needs.
func TestBackupRm(t *testing.T) {
	w := sharedLab(t)
	w.running(t)
	w.inLab(t, "traffic", "--rate", "50", "--quiet", "--duration", "4s") // the next base lies behind the cut
	first := decode[workflows.BackupOut](t, w.must(t, "backup", "now", "--json", "--shard", "carts/0")).Bases[0].Base
	decode[targets.Cut](t, w.must(t, "cut", "now", "--json"))
	second := decode[workflows.BackupOut](t, w.must(t, "backup", "now", "--json", "--shard", "carts/0")).Bases[0].Base
	held := func(region, id string) bool {
		for _, b := range decode[[]targets.Artifact](t, w.must(t, "backup", "list", "--json", "--vault", region)) {
			if b.ID == id {
				return true
			}
		}

		return false
	}

	w.expect(t, 2, []string{"name a base"}, "backup", "rm")
	w.expect(t, 2, []string{"--yes"}, "backup", "rm", second.ID)
	w.expect(t, 2, []string{"--force " + second.ID}, "backup", "rm", second.ID, "--yes", "--force", first.ID)
	w.expect(t, 1, []string{"there is no base nope", "drctl backup list"}, "backup", "rm", "nope", "--yes")
	w.expect(t, 0, []string{"nothing was removed"}, "backup", "rm", second.ID, "--dry-run")

	if !held("east", second.ID) {
		t.Fatal("a dry run removed it")
	}

	w.expect(t, 0, []string{"removed " + second.ID, "east and of west"}, "backup", "rm", second.ID, "--yes")

	for _, region := range []string{"east", "west"} {
		if held(region, second.ID) || !held(region, first.ID) {
			t.Errorf("the vault of %s holds %s: %t, %s: %t", region, second.ID, held(region, second.ID), first.ID, held(region, first.ID))
		}
	}

	w.must(t, "cut", "now")

	for _, s := range decode[plan.Run](t, w.must(t, "restore", "plan", "--json")).Steps {
		if s.Base.ID == second.ID {
			t.Error("a plan uses the base that was removed")
		}
	}

	w.expect(t, 1, []string{"there is no base"}, "backup", "rm", second.ID, "--yes") // a repeat changes nothing

	// Whatever goes without --force, no cut is lost by it, so something must stay for
	// the cuts before the newest base.
	cuts := decode[struct{ Cuts []targets.Cut }](t, w.must(t, "cut", "list", "--json", "--limit", "0")).Cuts
	kept := func() (ids []string) {
		for _, c := range cuts[max(0, len(cuts)-4):] {
			if w.run(t, "restore", "plan", "--shard", "carts/0", "--cut", c.ID).code == 0 {
				ids = append(ids, c.ID)
			}
		}

		return ids
	}

	before, refused := kept(), 0
	for _, b := range decode[[]targets.Artifact](t, w.must(t, "backup", "list", "--json", "--shard", "carts/0")) {
		r := w.run(t, "backup", "rm", b.ID, "--yes")
		switch {
		case r.code == 1 && strings.Contains(r.err, "no other base leads to") && held("east", b.ID):
			refused++
		case r.code == 1 && strings.Contains(r.err, "the last base"):
		case r.code != 0:
			t.Error(r)
		default:
			t.Logf("%s of %v was not needed", b.ID, b.Until)
		}
	}

	if after := kept(); len(before) == 0 || !slices.Equal(before, after) || refused == 0 {
		t.Errorf("%d were refused; cuts that can be recovered: before %v, after %v", refused, before, after)
	}

	w.expect(t, 0, []string{"0 failed"}, "backup", "verify")
}
