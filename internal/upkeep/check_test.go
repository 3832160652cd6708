package upkeep

import (
	"context"
	"slices"
	"strings"
	"testing"

	"drctl/internal/vault"
	"drctl/targets"
)

// A cut was sealed because a base led to it. A check says when that base is gone,
// also when no base is left, or only younger ones.
func TestCheckMissesTheBaseOfASealedCut(t *testing.T) {
	for name, c := range map[string]struct {
		younger bool
		want    targets.Severity
	}{
		"no base is left":            {false, targets.Failed},
		"only a younger one is left": {true, targets.Warned},
	} {
		t.Run(name, func(t *testing.T) {
			v, shard, base, cuts := holeVault(t, vault.ChunkName{From: 100, To: 300})

			cut := cuts[0]
			if c.younger {
				base("b2", 390)

				b, err := v.Base(t.Context(), shard, "b2")
				if err != nil {
					t.Fatal(err)
				}
				cut.QuiescedAt = b.Finished.Add(-1)
			}

			if err := v.Store().Delete(t.Context(), vault.BaseRecordKey(shard, "b1")); err != nil {
				t.Fatal(err)
			}

			fs, err := verifyStream(t.Context(), v, shard, []targets.Cut{cut})
			if err != nil {
				t.Fatal(err)
			}

			if !slices.ContainsFunc(fs, func(f targets.Finding) bool {
				return f.Check == "base-for-cut" && f.Severity == c.want && strings.Contains(f.Expected, "cut c")
			}) {
				t.Errorf("the cut's base is gone, and the check says %+v", fs)
			}
		})
	}
}

// A check that could not read what there is has not passed.
func TestCheckThatBreaksOffIsNone(t *testing.T) {
	v, shard, _, cuts := holeVault(t, vault.ChunkName{})

	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	if fs, err := verifyStream(ctx, v, shard, cuts); err == nil {
		t.Errorf("it read nothing and says %+v", fs)
	}
}
