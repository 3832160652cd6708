package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"drctl/activities"
	"drctl/activities/observing"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/targets"
)

// TakeCutIn asks for a cut of a group.
type TakeCutIn struct {
	Group platform.Group `json:"group"`
}

// TakeCut takes the barrier, snapshots the object stores and seals. A cut that cannot be
// sealed in time is recorded as abandoned and fails the workflow.
func TakeCut(ctx workflow.Context, in TakeCutIn) (targets.Cut, error) {
	home := in.Group.Queue(in.Group.Home)

	cut, err := quiesce(ctx, in.Group, home)
	if err != nil {
		return targets.Cut{}, err
	}

	sealed, err := seal(ctx, in.Group, cut)
	if err != nil {
		dctx, cancel := workflow.NewDisconnectedContext(ctx)
		defer cancel()

		aerr := workflow.ExecuteActivity(shortCall(dctx, home), activities.AbandonCutName,
			activities.CutIn{Cut: cut, Reason: errorText(err)}).Get(dctx, nil)
		if aerr != nil {
			workflow.GetLogger(ctx).Error("an abandoned cut could not be recorded", "cut", cut.ID, "err", aerr.Error())
		}

		return cut, joinErrors("cut: seal", cut.ID, "the cut is abandoned, and that could not be recorded; see: drctl status", err, aerr)
	}

	return sealed, nil
}

const (
	// observerRounds is how often an observer is looked for that was not where it had been found. Each
	// search waits for what was observed since.
	observerRounds = 3
	// observerTakes is how long the host of an observer may take to begin with a cut.
	observerTakes = 15 * time.Second
)

// quiesce takes the cut that is to be sealed.
func quiesce(ctx workflow.Context, g platform.Group, home string) (cut targets.Cut, err error) {
	// A barrier that died with its worker is tried again under a new id. Its
	// servers have let go by then: the lease ends long before the heartbeat
	// is missed.
	opt := workflow.ActivityOptions{
		TaskQueue: home, StartToCloseTimeout: 2 * time.Minute, HeartbeatTimeout: 20 * time.Second,
		ScheduleToStartTimeout: time.Minute,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: time.Second, MaximumAttempts: 3},
	}
	take := func() error {
		return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, opt), activities.QuiesceCutName, activities.GroupIn{Group: g.Name}).Get(ctx, &cut)
	}

	// A cut is taken where the servers are observed. Histories of older versions have no
	// such question, or one.
	rounds := 1
	switch workflow.GetVersion(ctx, "find-observer", workflow.DefaultVersion, 2) {
	case workflow.DefaultVersion:
		return cut, take()
	case 2:
		rounds = observerRounds
	}

	in := observing.FindIn{Group: g.Name}

	for round := 1; ; round++ {
		var queue string
		if err := workflow.ExecuteActivity(findCall(ctx, home), observing.FindName, in).Get(ctx, &queue); err != nil {
			return targets.Cut{}, err
		}

		if queue != "" {
			opt.TaskQueue, opt.ScheduleToStartTimeout = queue, observerTakes
		}

		err := take()
		if err == nil || queue == "" || round == rounds || !waitedInVain(err) && !observing.IsNobody(err) {
			return cut, err
		}

		in.Gone = workflow.Now(ctx)
	}
}

// findCall is for the search for an observer, which beats while it waits, and is its own retry.
func findCall(ctx workflow.Context, queue string) workflow.Context {
	opt := workflow.GetActivityOptions(shortCall(ctx, queue))
	opt.StartToCloseTimeout, opt.HeartbeatTimeout = observing.FindWithin+time.Minute, 20*time.Second
	opt.RetryPolicy.NonRetryableErrorTypes = []string{string(fail.Unavailable), string(fail.Stalled)}

	return workflow.WithActivityOptions(ctx, opt)
}

func seal(ctx workflow.Context, g platform.Group, cut targets.Cut) (targets.Cut, error) {
	within := g.Policy.SealWithin

	ctx, cancel := workflow.WithCancel(ctx)
	defer cancel()
	deadline := func(queue string) workflow.Context {
		return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			TaskQueue: queue, ScheduleToCloseTimeout: within, HeartbeatTimeout: 20 * time.Second, WaitForCancellation: true,
			RetryPolicy: &temporal.RetryPolicy{InitialInterval: 500 * time.Millisecond, MaximumInterval: 5 * time.Second},
		})
	}

	snapshots := map[int]workflow.Future{}
	for i, p := range cut.Shards {
		if p.Kind.Traits().Manifest {
			snapshots[i] = workflow.ExecuteActivity(deadline(g.Queue(p.Region)), activities.SnapshotName,
				activities.SnapshotIn{Shard: p.Shard, AsOf: p.Position.AsOf})
		}
	}

	for i := range cut.Shards { // in order: maps have none
		if f, ok := snapshots[i]; ok {
			var out activities.SnapshotOut
			if err := f.Get(ctx, &out); err != nil {
				return cut, err
			}
			cut.Shards[i].Position, cut.Shards[i].Objects, cut.Shards[i].Bytes = out.Position, out.Stats.Objects, out.Stats.Bytes
			cut.Shards[i].Warnings = append(cut.Shards[i].Warnings, out.Warnings...)
		}
	}
	err := workflow.ExecuteActivity(deadline(g.Queue(g.Home)), activities.SealCutName, activities.CutIn{Cut: cut}).Get(ctx, &cut)

	return cut, err
}
