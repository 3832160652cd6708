package steps_test

import (
	"testing"

	"drctl/activities/section"
	"drctl/activities/steps"
	"drctl/internal/fail"
	"drctl/restore/plan"
	"drctl/targets"
)

// A shard that nobody has in hand is refused, and what follows, its undoing, has
// nothing to take back.
func TestAShardThatIsNotInHand(t *testing.T) {
	n := plan.Node{ID: "fence-media/0", Op: plan.OpFence, Shard: targets.ShardID{Target: "media", Shard: "0"}}
	h := &steps.Hands{To: "west"}

	if _, err := h.Do(t.Context(), n, section.Known{}); !fail.Is(err, fail.Unsupported) {
		t.Errorf("%v", err)
	}

	if err := h.Undo(t.Context(), n, section.Known{}); err != nil {
		t.Errorf("%v", err)
	}
}
