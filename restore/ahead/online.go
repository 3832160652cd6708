package ahead

import (
	"context"
	"fmt"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/handover"
)

// OnLine refuses a standby that its promotion would refuse, before any other is promoted: one that has left
// the line of its old primary, or of a kind whose standbys have lost it when they were started anew without
// their master. A standby that cannot be asked is left to its promotion.
func OnLine(ctx context.Context, driver targets.Driver, standby targets.Instance, at, line targets.Position) error {
	refuse := func(why error) error {
		return fail.New(fail.Conflict, op, standby.String(), "recover the group at a moment (--choice proven), or the shard from the vault (drctl restore run --into instances)", why)
	}

	if at.Timeline == line.Timeline {
		return nil
	}

	asking, ok := driver.(handover.Asking)
	if !ok {
		return refuse(fmt.Errorf("it is at %s, and the old primary's log is at %s: it has lost its place in it, as one does that is started anew while its primary is gone", at, line))
	}

	left, err := asking.Asker().Left(ctx, standby)
	if err != nil {
		return nil
	}

	for _, l := range left {
		if l.Timeline == line.Timeline && line.Offset > l.Offset {
			return refuse(fmt.Errorf("it left the old primary's line at %s, and that went on to %s", l, line))
		}
	}

	return nil
}
