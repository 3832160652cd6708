package gamedays

import (
	"context"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"

	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/planting"
	"drctl/internal/vault"
)

// busy is a conflict when the group is not free for a drill: a recovery of it runs that is not the drill's own, or
// another drill has planted something. Other errors say that this is not known.
func (a *Activities) busy(ctx context.Context, set vault.Set, recover, group string) error {
	if err := recovering(ctx, recover); err != nil {
		return err
	}

	left, err := planting.Left(ctx, set, group)
	if err != nil {
		return err
	}

	return planting.Others(left, activity.GetInfo(ctx).WorkflowExecution.RunID, time.Now())
}

// recovering is a conflict when a recovery runs under an id that is not a child of the drill whose activity this is.
func recovering(ctx context.Context, id string) error {
	return notOurs(ctx, activity.GetClient(ctx), id, activity.GetInfo(ctx).WorkflowExecution.RunID)
}

func notOurs(ctx context.Context, c client.Client, id, drill string) error {
	ctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()

	d, err := c.DescribeWorkflowExecution(ctx, id, "")
	if engine.NotFound(err) {
		return nil
	}

	if err != nil {
		return fail.From(fail.Unavailable, op, id, err)
	}

	x := d.GetWorkflowExecutionInfo()
	if x.GetCloseTime() != nil || x.GetParentExecution().GetRunId() == drill {
		return nil
	}

	return fail.Newf(fail.Conflict, op, id, "a recovery of the group runs since %s: it goes before a drill", x.GetStartTime().AsTime().UTC().Format(time.RFC3339))
}
