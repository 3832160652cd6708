package vault

import (
	"context"
	"strings"
	"testing"
	"time"

	"drctl/targets"
)

// The evidence of a cut is no cut, goes where its cut goes, and goes when it goes.
func TestEvidenceLiesBesideItsCut(t *testing.T) {
	ctx := context.Background()
	east, west := twoVaults(t)
	at := time.Now().UTC().Add(-time.Hour)
	set := Set{Vaults: []*Vault{east, west}, Durability: 1}

	cut := targets.Cut{ID: targets.NewID(at), Group: "shop", QuiescedAt: at, SealedAt: at, SealedIn: []string{"east"}, Mode: targets.FromLogs,
		Proof: &targets.CutProof{Grade: targets.Proven, At: at, Evidence: strings.Repeat("a", 64)}}
	key := EvidenceKey("shop", cut.ID)

	if _, _, ok := ParseCutKey(key); ok || !strings.HasPrefix(key, CutKey("shop", "")[:len("cuts/shop/")]) {
		t.Fatalf("%s", key)
	}

	all := func(context.Context, *Vault, targets.Cut) (bool, error) { return true, nil }

	if _, err := set.SaveCut(ctx, cut); err != nil {
		t.Fatal(err)
	}

	if n, err := set.ShareCuts(ctx, "shop", at, all); n != 0 || err == nil {
		t.Fatalf("%d cuts went without their evidence: %v", n, err)
	}

	if err := east.PutEncrypted(ctx, key, nil, []byte("{}")); err != nil {
		t.Fatal(err)
	}

	if n, err := set.ShareCuts(ctx, "shop", at, all); n != 1 || err != nil {
		t.Fatal(n, err)
	}

	for _, v := range set.Vaults {
		if b, _, err := v.ReadEncrypted(ctx, key); err != nil || string(b) != "{}" {
			t.Errorf("%s: %q, %v", v.Region(), b, err)
		}

		if cuts, err := v.Cuts(ctx, "shop"); err != nil || len(cuts) != 1 || cuts[0].Proof == nil {
			t.Errorf("%s: %v, %v", v.Region(), cuts, err)
		}

		if found := must(v.Verify(ctx, VerifyOptions{Groups: []string{"shop"}})); Damaged(found) {
			t.Errorf("%s: %+v", v.Region(), found)
		}
	}

	if _, err := west.Retain(ctx, RetentionPlan{Cuts: []CutRef{{"shop", cut.ID}}}, RetainOptions{}); err != nil {
		t.Fatal(err)
	}

	if left := keysOf(t, west.Store(), CutsPrefix("shop")); len(left) != 0 {
		t.Errorf("%q are left", left)
	}
}
