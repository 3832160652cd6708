package atmoment

import (
	"context"
	"fmt"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/handover"
)

// current refuses a moment on a branch of the log that the group has left. A vault that was away while
// the group moved knows of nothing newer than what the old side wrote after that, and its standby does.
// One that cannot be asked says nothing.
func current(ctx context.Context, driver targets.Driver, standby targets.Instance, point targets.Position) error {
	asking, ok := driver.(handover.Asking)
	if !ok {
		return nil
	}

	left, err := asking.Asker().Left(ctx, standby)
	if err != nil {
		return nil
	}

	return onBranch(standby, point, left)
}

// onBranch holds a point against where a standby's line has left older timelines.
func onBranch(standby targets.Instance, point targets.Position, left []targets.Position) error {
	for _, l := range left {
		if l.Timeline == point.Timeline && point.Offset > l.Offset {
			return fail.New(fail.Conflict, op, standby.String(), "take the newest: --choice newest; or see which log the vault lacks: drctl status",
				fmt.Errorf("the vault's newest moment is at %s, and the group has left that branch of the log at %s: what was written there after that was given up already", point, l))
		}
	}

	return nil
}
