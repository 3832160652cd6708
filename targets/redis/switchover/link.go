package switchover

import (
	"context"

	"drctl/targets/handover"
)

// Link implements handover.Linked. A master sends its replicas something every ten seconds
// at least, and the replica counts in seconds.
func (h *hands) Link(ctx context.Context) (handover.Link, error) {
	v, err := h.new.look(ctx, "switch: link")
	if err != nil {
		return handover.Link{}, err
	}

	return handover.Link{Up: !v.master && v.linked, Silent: v.silent}, nil
}
