package observe

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"drctl/activities"
	"drctl/activities/observing"
	"drctl/drills"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/restore/readiness"
	"drctl/restore/served"
	"drctl/targets"
	"drctl/workflows"
)

// Observer asks an engine about the workflows of one platform.
type Observer struct {
	Client client.Client // nil when there is no engine
	Err    error         // why there is none
	IDs    workflows.IDs
	// Embedded says that drctl up runs the engine.
	Embedded bool
	// Schedules are those of the configuration; each starts workflows.Scheduled.
	Schedules func() ([]engine.Schedule, error)
	// Queues are those that somebody has to serve for a group, besides those of its
	// regions; nil for none.
	Queues func(group string) []served.Queue
	// Drills are the names of a group's drills.
	Drills func(group string) []string
}

// asking collects answers of questions that are asked at once.
type asking struct {
	errgroup.Group
	mu     sync.Mutex
	silent []error
}

func (a *asking) ask(question func() error) {
	a.Go(func() error {
		if err := question(); err != nil {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.silent = append(a.silent, err)
		}

		return nil
	})
}

// Group says what runs of a group, and what came of what ran. It never fails: what
// could not be asked is in the value.
func (o Observer) Group(ctx context.Context, g platform.Group) readiness.Engine {
	f := readiness.Engine{Err: o.Err, Embedded: o.Embedded, Archivers: map[targets.ShardID]readiness.Archiver{}, Bases: map[targets.ShardID]engine.Streak{}}
	if o.Client == nil {
		if f.Err == nil {
			f.Err = errors.New("it was not asked")
		}

		return f
	}

	var err error
	if f.Running, err = engine.Running(ctx, o.Client, o.IDs.Prefix()); err != nil {
		f.Err = err
		return f
	}
	f.Other = others(o.IDs, f.Running)
	f.TakingBase = slices.ContainsFunc(f.Running, func(r engine.Run) bool {
		return r.ID == o.IDs.Backup(g.Name) && r.Workflow == workflows.TakeBackupName
	})

	var a asking
	a.SetLimit(8)
	regions := regionsOf(g)

	f.Regions = make([]readiness.Region, len(regions))
	for i, r := range regions {
		a.ask(func() (err error) {
			f.Regions[i] = readiness.Region{Region: r, Queue: g.Queue(r)}

			f.Regions[i].Polled, err = engine.Polled(ctx, o.Client, g.Queue(r), enums.TASK_QUEUE_TYPE_WORKFLOW)
			if err != nil {
				f.Regions[i].Polled = time.Now() // not known is not unserved
			}

			return err
		})
	}

	if o.Queues != nil {
		f.Queues = o.Queues(g.Name)
	}

	for i := range f.Queues {
		a.ask(func() (err error) {
			q := &f.Queues[i]
			if err = askQueue(ctx, o.Client, q); err != nil {
				q.Polled = time.Now() // not known is not unserved
			}

			return err
		})
	}

	for _, sh := range g.Shards {
		if !sh.Kind.Traits().Log {
			continue
		}

		a.ask(func() error {
			x := askArchiver(ctx, o.Client, o.IDs, sh.Shard)

			a.mu.Lock()
			defer a.mu.Unlock()
			f.Archivers[sh.Shard] = x

			return nil
		})
	}

	if g.HasLog() {
		a.ask(func() error { f.Observer = askObserver(ctx, o.Client, o.IDs, g.Name); return nil })
	}

	a.ask(func() (err error) {
		f.Cuts, _, err = engine.RunStreak(ctx, o.Client, engine.Which{ID: o.IDs.Cut(g.Name), Workflow: workflows.TakeCutName}, nil)
		return err
	})
	a.ask(func() (err error) { f.Bases, err = o.baseStreaks(ctx, g); return err })
	a.ask(func() (err error) { f.Jobs, err = o.jobs(ctx, g, f.Running); return err })

	schedules, err := o.schedulesOf(g)
	if err != nil {
		a.silent = append(a.silent, err)
	}

	f.Schedules = make([]readiness.Schedule, len(schedules))
	for i, x := range schedules {
		f.Schedules[i] = readiness.Schedule{Schedule: x.Schedule, Kind: runKinds[x.in.Workflow], Drill: x.drill}
		a.ask(func() error { return o.askSchedule(ctx, x.in, &f.Schedules[i]) })
	}
	_ = a.Wait()
	f.Silent = a.silent

	return f
}

// regionsOf are the regions without whose workers something of the group stands still.
func regionsOf(g platform.Group) []string {
	out := append([]string{g.Home}, g.Policy.Vaults...)
	for _, sh := range g.Shards {
		out = append(out, sh.Region)
	}

	slices.Sort(out)

	return slices.Compact(out)
}

func askArchiver(ctx context.Context, c client.Client, ids workflows.IDs, shard targets.ShardID) readiness.Archiver {
	st, err := engine.StateOf(ctx, c, ids.Archive(shard))
	if fail.Is(err, fail.NotFound) || err == nil && !st.Running {
		return readiness.Archiver{Missing: true}
	}

	if err != nil {
		return readiness.Archiver{Err: err}
	}

	f := readiness.Archiver{Started: st.Started, Again: workflows.ArchiveAgain}
	if i := slices.IndexFunc(st.Pending, func(p engine.Pending) bool { return p.Activity == activities.FollowShardName }); i >= 0 {
		f.Follow = &st.Pending[i]
	}

	if p := f.Follow; p == nil || p.LastFailure == "" && p.Beat().Phase != engine.Following {
		f.Streak, f.Err = engine.ActivityStreak(ctx, c, st.ID, st.RunID, activities.FollowShardName)
	}

	return f
}

func askObserver(ctx context.Context, c client.Client, ids workflows.IDs, group string) *readiness.Observer {
	st, err := engine.StateOf(ctx, c, ids.Observe(group))
	if fail.Is(err, fail.NotFound) || err == nil && !st.Running {
		return &readiness.Observer{Missing: true}
	}

	if err != nil {
		return &readiness.Observer{Err: err}
	}

	f := &readiness.Observer{Started: st.Started, Again: workflows.ObserveAgain}
	if i := slices.IndexFunc(st.Pending, func(p engine.Pending) bool { return p.Activity == observing.Name }); i >= 0 {
		f.Observe = &st.Pending[i]
		f.Said = said(f.Observe.Details)
	}

	if p := f.Observe; p == nil || p.LastFailure == "" && len(p.Details) == 0 {
		f.Streak, f.Err = engine.ActivityStreak(ctx, c, st.ID, st.RunID, observing.Name)
	}

	return f
}

// said reads a beat of an observer. One of another release says nothing.
func said(details []byte) (out readiness.Observed) {
	var b observing.Beat
	_ = json.Unmarshal(details, &b)
	out.FailingCount, out.Trouble = b.FailingCount, b.Trouble

	for _, s := range b.Failing {
		out.Failing = append(out.Failing, readiness.NotObserved{Shard: s.Shard, Since: s.Since, Why: s.Error})
	}

	return out
}

// maxResults bounds how many results of earlier runs are read.
const maxResults = 10

// baseStreaks says of every shard whose newest base, or snapshot, was not taken
// or not copied: since when and why.
func (o Observer) baseStreaks(ctx context.Context, g platform.Group) (map[targets.ShardID]engine.Streak, error) {
	open, out := map[targets.ShardID]engine.Streak{}, map[targets.ShardID]engine.Streak{}
	for _, sh := range g.Shards {
		open[sh.Shard] = engine.Streak{}
	}
	note := func(id targets.ShardID, at time.Time, why string) {
		st, undecided := open[id]
		switch {
		case !undecided:
		case why == "":
			out[id] = st
			delete(open, id)
		default:
			st.Add(at, errors.New(why))
			open[id] = st
		}
	}
	read := 0
	_, err := engine.EachClosed(ctx, o.Client, engine.Which{ID: o.IDs.Backup(g.Name), Workflow: workflows.TakeBackupName}, func(x engine.Closed) bool {
		if x.Cancelled {
			return true
		}

		if read++; read > maxResults || len(open) == 0 || ctx.Err() != nil {
			return false
		}

		var got workflows.BackupOut
		if err := engine.Result(ctx, o.Client, x.Run, &got); err != nil {
			for _, sh := range g.Shards {
				note(sh.Shard, x.Ended, err.Error())
			}

			return true
		}

		for _, b := range got.Bases {
			note(b.Shard, x.Ended, b.Error)
		}

		for _, b := range got.Objects {
			note(b.Shard, x.Ended, b.Error)
		}

		return true
	})

	for id, st := range open {
		st.More = read > maxResults
		out[id] = st
	}

	return out, err
}

// jobs are the activities that run or wait of a group's cuts, backups, checks,
// recoveries and drills.
func (o Observer) jobs(ctx context.Context, g platform.Group, running []engine.Run) ([]readiness.Job, error) {
	ids := []string{o.IDs.Cut(g.Name), o.IDs.Backup(g.Name), o.IDs.Check(g.Name), o.IDs.Recover(g.Name)}
	for _, name := range o.Drills(g.Name) {
		ids = append(ids, o.IDs.Drill(name))
	}

	var out []readiness.Job
	for _, r := range running {
		if !slices.Contains(ids, r.ID) {
			continue
		}

		ps, err := engine.Progress(ctx, o.Client, r.ID)
		if err != nil && !fail.Is(err, fail.NotFound) {
			return out, err
		}

		for _, p := range ps {
			out = append(out, jobOf(p))
		}
	}

	return out, nil
}

// scheduled is a schedule with what it starts.
type scheduled struct {
	engine.Schedule
	in    workflows.ScheduledIn
	drill string // its name
}

// schedulesOf are the schedules that a group must have.
func (o Observer) schedulesOf(g platform.Group) ([]scheduled, error) {
	all, err := o.Schedules()
	if err != nil {
		return nil, err
	}

	ours := map[string]string{o.IDs.Cut(g.Name): "", o.IDs.Backup(g.Name): "", o.IDs.Check(g.Name): ""}
	for _, name := range o.Drills(g.Name) {
		ours[o.IDs.Drill(name)] = name
	}

	var out []scheduled
	for _, x := range all {
		in, ok := x.Args[0].(workflows.ScheduledIn)
		if !ok {
			continue
		}

		if drill, is := ours[in.ID]; is {
			out = append(out, scheduled{x, in, drill})
		}
	}

	return out, nil
}

func (o Observer) askSchedule(ctx context.Context, in workflows.ScheduledIn, f *readiness.Schedule) error {
	d, err := o.Client.ScheduleClient().GetHandle(ctx, f.ID).Describe(ctx)
	if engine.NotFound(err) {
		f.Missing = true
		return nil
	}

	if err != nil {
		return fail.New(fail.Unavailable, "engine: describe schedule", f.ID, "", err)
	}
	f.Paused, f.Note, f.Created = d.Schedule.State.Paused, d.Schedule.State.Note, d.Info.CreatedAt

	which := engine.Which{ID: in.ID, Workflow: in.Workflow}
	switch f.Kind {
	case readiness.CutRuns, readiness.BaseRuns: // asked apart: they are taken by hand too
		_, err = engine.EachClosed(ctx, o.Client, which, func(x engine.Closed) bool { f.Newest = x; return false })
	case readiness.DrillRuns: // one that failed has ended well for the engine
		read := 0
		f.Streak, f.Newest, err = engine.RunStreak(ctx, o.Client, which, func(ctx context.Context, x engine.Closed) error {
			var out drills.Outcome
			if read++; read > maxResults || engine.Result(ctx, o.Client, x.Run, &out) != nil || out.Passed {
				return nil
			}

			return fail.Newf(fail.Unverified, "drill", out.ID, "it failed; see: drctl drill show %s", out.ID)
		})
	default:
		f.Streak, f.Newest, err = engine.RunStreak(ctx, o.Client, which, nil)
	}

	if err != nil {
		return err
	}
	f.Runs, _, err = engine.RunStreak(ctx, o.Client, engine.Which{Prefix: f.WorkflowID + "-", Workflow: workflows.ScheduledName}, nil)

	return err
}

// others are the ids of what runs besides archivers, observers and the schedules' own runs.
func others(ids workflows.IDs, running []engine.Run) []string {
	var out []string
	for _, r := range running {
		if kind := ids.Kind(r.ID); kind != "archive" && kind != "observe" && kind != "scheduled" {
			out = append(out, r.ID)
		}
	}

	return out
}

// runKinds says what a schedule's workflow is for.
var runKinds = map[string]readiness.RunKind{
	workflows.TakeCutName: readiness.CutRuns, workflows.TakeBackupName: readiness.BaseRuns, workflows.CheckName: readiness.CheckRuns,
	workflows.RetainName: readiness.RetentionRuns, workflows.RunDrillName: readiness.DrillRuns, workflows.GameDayName: readiness.DrillRuns,
}

// jobNames says what an activity does, for people.
var jobNames = map[string]string{
	activities.TakeBaseName: "base", activities.CopyVaultName: "copy of the bases", activities.SnapshotName: "snapshot", activities.QuiesceCutName: "cut",
	activities.SealCutName: "sealing of the cut", activities.CheckVaultName: "check", activities.RetainName: "retention", activities.ShareCutsName: "sharing of cuts",
}

func jobOf(p engine.Pending) readiness.Job {
	return readiness.Job{Pending: p, Name: cmp.Or(jobNames[p.Activity], p.Activity),
		Cut:   p.Activity == activities.QuiesceCutName || p.Activity == activities.SealCutName,
		Moves: p.Activity == activities.TakeBaseName || p.Activity == activities.CopyVaultName || p.Activity == activities.SnapshotName}
}
