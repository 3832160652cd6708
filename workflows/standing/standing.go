package standing

import (
	"context"
	"errors"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/workflows"
)

// run is one that stands.
type run[T comparable] struct {
	id, workflow, queue string
	in                  T
}

// Archivers starts one archiver for every shard that has a log, replaces those
// that run for another configuration (a primary that moved to another region is
// archived by that region's workers), and stops those of shards that are gone.
func Archivers(ctx context.Context, c client.Client, ids workflows.IDs, groups []platform.Group) ([]engine.Change, error) {
	var want []run[workflows.ArchiveIn]
	for _, g := range groups {
		for _, sh := range g.Shards {
			if sh.Kind.Traits().Log {
				want = append(want, run[workflows.ArchiveIn]{ids.Archive(sh.Shard), workflows.ArchiveName, sh.Queue, workflows.ArchiveIn{Shard: sh}})
			}
		}
	}

	return keep(ctx, c, ids.Prefix()+"archive/", want, "the configuration has no such shard any more")
}

// Observers does the same for the observers, one for every group that has a shard
// with a log, on the queue of its home region.
func Observers(ctx context.Context, c client.Client, ids workflows.IDs, groups []platform.Group) ([]engine.Change, error) {
	var want []run[workflows.ObserveIn]
	for _, g := range groups {
		if g.HasLog() {
			queue := g.Queue(g.Home)
			want = append(want, run[workflows.ObserveIn]{ids.Observe(g.Name), workflows.ObserveName, queue, workflows.ObserveIn{Group: g.Name, Queue: queue}})
		}
	}

	return keep(ctx, c, ids.Prefix()+"observe/", want, "the configuration has no such group any more")
}

// keep sees to all runs under a prefix.
func keep[T comparable](ctx context.Context, c client.Client, prefix string, want []run[T], gone string) ([]engine.Change, error) {
	running, err := engine.Running(ctx, c, prefix)
	if err != nil {
		return nil, err
	}

	var changes []engine.Change
	wanted := map[string]bool{}

	for _, r := range want {
		wanted[r.id] = true

		action, err := r.stand(ctx, c)
		if err != nil {
			return changes, err
		}
		changes = append(changes, engine.Change{ID: r.id, Action: action})
	}

	for _, r := range running {
		if !wanted[r.ID] {
			if err := engine.End(ctx, c, r.ID, gone); err != nil {
				return changes, err
			}
			changes = append(changes, engine.Change{ID: r.ID, Action: "deleted"})
		}
	}

	return changes, nil
}

// stand sees to one run and says what it did.
func (r run[T]) stand(ctx context.Context, c client.Client) (action string, err error) {
	// Starting is the check: a list may be older than the engine's truth.
	if err := r.start(ctx, c); err == nil || !fail.Is(err, fail.Conflict) {
		return "created", err
	}

	var is T
	if err := engine.Input(ctx, c, r.id, &is); err != nil || is == r.in {
		return "kept", err
	}

	if err := engine.End(ctx, c, r.id, "the configuration has changed"); err != nil {
		return "", err
	}

	return "updated", r.start(ctx, c)
}

// start starts the run. One that runs already is a conflict.
func (r run[T]) start(ctx context.Context, c client.Client) error {
	_, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: r.id, TaskQueue: r.queue,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowIDReusePolicy:    enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		// What stands comes before scheduled work.
		Priority:                                 temporal.Priority{PriorityKey: 1},
		WorkflowExecutionErrorWhenAlreadyStarted: true,
	}, r.workflow, r.in)

	var running *serviceerror.WorkflowExecutionAlreadyStarted
	if errors.As(err, &running) {
		return fail.New(fail.Conflict, "start", r.id, "", errors.New("it is running already"))
	}

	if err != nil {
		// An interruption is no error of the engine, whatever its client calls it.
		return fail.New(fail.Unavailable, "engine: start", r.id, "", errors.Join(ctx.Err(), err))
	}

	return nil
}
