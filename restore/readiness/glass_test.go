package readiness

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/platform"
	"drctl/internal/vault"
	"drctl/restore/readiness/problem"
	"drctl/restore/runs"
)

// TestABrokenGlassIsAProblem until somebody has reviewed it.
func TestABrokenGlassIsAProblem(t *testing.T) {
	k, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err := vault.Init(t.Context(), vault.Options{Region: "west", Location: vault.Location{URL: "file://" + filepath.Join(t.TempDir(), "west")}, Key: k})
	if err != nil {
		t.Fatal(err)
	}
	set := vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}
	g := platform.Group{Name: "shop"}

	judged := func() string {
		f := Facts{now: time.Now(), group: g, glass: runs.Unreviewed(t.Context(), answered([]vaultFacts{{region: "west", v: v, policy: true}}), "shop")}
		return strings.Join(problem.Texts(f.judgeGlass(), f.now), "\n")
	}

	if got := judged(); got != "" {
		t.Errorf("before: %q", got)
	}

	id := runs.GlassID("r1", "approve")
	if _, err := set.SaveReport(t.Context(), runs.GlassKind("shop"), id, runs.Glass{Run: "r1", Step: "approve", Group: "shop", Mode: "failover", By: "ann", Reason: "nobody answers", At: time.Now()}); err != nil {
		t.Fatal(err)
	}

	if got := judged(); !strings.Contains(got, "without the approvals") || !strings.Contains(got, "ann: nobody answers") || !strings.Contains(got, "drctl recovery review r1.approve") {
		t.Errorf("broken: %q", got)
	}

	if err := runs.SaveReview(t.Context(), set, "shop", id, runs.Review{By: "bob", Note: "right"}); err != nil {
		t.Fatal(err)
	}

	if got := judged(); got != "" {
		t.Errorf("reviewed: %q", got)
	}
}
