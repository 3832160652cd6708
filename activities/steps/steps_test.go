package steps_test

import (
	"context"
	"testing"

	"drctl/activities/section"
	"drctl/activities/steps"
	"drctl/internal/fail"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/targets/handover"
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

// started is a switch that notes whether the old side was started again.
type started struct {
	handover.Switch
	undone bool
}

func (s *started) Undo(context.Context, bool) error {
	s.undone = true
	return nil
}

// An old side is not started again while a newer promotion may have made another server
// the primary, whatever the new side of this run says.
func TestAnUndoLooksAtNewerPromotionsFirst(t *testing.T) {
	id := targets.ShardID{Target: "orders", Shard: "0"}
	n := plan.Node{ID: "fence-orders/0", Op: plan.OpFence, Shard: id}
	sw := &started{}
	newer := fail.Newf(fail.Conflict, "test", "", "another was promoted since")
	h := &steps.Hands{To: "west", Shards: map[targets.ShardID]steps.Shard{id: {Switch: sw}}, Newer: func(context.Context) error { return newer }}

	if err := h.Undo(t.Context(), n, section.Known{}); !fail.Is(err, fail.Conflict) || sw.undone {
		t.Errorf("%v, started %t", err, sw.undone)
	}
	h.Newer = func(context.Context) error { return nil }

	if err := h.Undo(t.Context(), n, section.Known{}); err != nil || !sw.undone {
		t.Errorf("%v, started %t", err, sw.undone)
	}
}
