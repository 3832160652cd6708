package main

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"drctl/activities"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/targets"
	"drctl/workflows"
)

// engineFacts are what the engine says of a group.
type engineFacts struct {
	err       error // nothing could be asked; the rest is empty
	embedded  bool
	regions   []regionFacts
	archivers map[targets.ShardID]archiverFacts
	ids       workflows.IDs
	running   []engine.Run     // everything of the platform that runs there
	pending   []engine.Pending // of this group's jobs, archivers apart
	cuts      engine.Streak
	bases     map[targets.ShardID]engine.Streak
	schedules []scheduleFacts
	// silent are questions that were not answered.
	silent []error
}

// regionFacts are a region's task queue and when it was last asked for work.
type regionFacts struct {
	region, queue string
	polled        time.Time
}

type archiverFacts struct {
	state   engine.State
	missing bool
	streak  engine.Streak // of attempts that the engine has given up
	err     error
}

// scheduleFacts are one schedule and what its runs came to.
type scheduleFacts struct {
	engine.Schedule
	in      workflows.ScheduledIn
	missing bool
	paused  bool
	note    string
	made    time.Time
	streak  engine.Streak
	newest  engine.Closed // of what it starts
	runs    engine.Streak // of the schedule's own runs
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

func (s *session) askEngine(ctx context.Context, g platform.Group) engineFacts {
	f := engineFacts{err: s.engineErr, ids: s.ids(), embedded: s.embedded(), archivers: map[targets.ShardID]archiverFacts{}, bases: map[targets.ShardID]engine.Streak{}}
	if s.engine == nil {
		if f.err == nil {
			f.err = errors.New("it was not asked")
		}
		return f
	}
	var err error
	if f.running, err = engine.Running(ctx, s.engine, s.ids().Prefix()); err != nil {
		f.err = err
		return f
	}
	var a asking
	a.SetLimit(8)
	regions := regionsOf(g)
	f.regions = make([]regionFacts, len(regions))
	for i, r := range regions {
		a.ask(func() (err error) {
			f.regions[i] = regionFacts{region: r, queue: g.Queue(r)}
			f.regions[i].polled, err = engine.Polled(ctx, s.engine, g.Queue(r))
			if err != nil {
				f.regions[i].polled = time.Now() // not known is not unserved
			}
			return err
		})
	}
	for _, sh := range g.Shards {
		if sh.Kind == targets.S3 {
			continue
		}
		a.ask(func() error {
			x := askArchiver(ctx, s.engine, s.ids(), sh.Shard)
			a.mu.Lock()
			defer a.mu.Unlock()
			f.archivers[sh.Shard] = x
			return nil
		})
	}
	a.ask(func() (err error) {
		f.cuts, _, err = engine.RunStreak(ctx, s.engine, engine.Which{ID: s.ids().Cut(g.Name), Workflow: workflows.TakeCutName}, nil)
		return err
	})
	a.ask(func() (err error) { f.bases, err = s.baseStreaks(ctx, g); return err })
	a.ask(func() (err error) { f.pending, err = s.jobs(ctx, g, f.running); return err })
	f.schedules, err = s.schedulesOf(g)
	if err != nil {
		a.silent = append(a.silent, err)
	}
	for i := range f.schedules {
		a.ask(func() error { return s.askSchedule(ctx, &f.schedules[i]) })
	}
	_ = a.Wait()
	f.silent = a.silent
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

func askArchiver(ctx context.Context, c client.Client, ids workflows.IDs, shard targets.ShardID) archiverFacts {
	st, err := engine.StateOf(ctx, c, ids.Archive(shard))
	if fail.Is(err, fail.NotFound) || err == nil && !st.Running {
		return archiverFacts{missing: true}
	}
	if err != nil {
		return archiverFacts{err: err}
	}
	f := archiverFacts{state: st}
	if p, ok := f.follow(); !ok || p.LastFailure == "" && beatOf(p).Phase != activities.PhaseFollowing {
		f.streak, f.err = engine.ActivityStreak(ctx, c, st.ID, st.RunID, activities.FollowShardName)
	}
	return f
}

// follow is the activity that archives, when the engine has one.
func (f archiverFacts) follow() (engine.Pending, bool) {
	for _, p := range f.state.Pending {
		if p.Activity == activities.FollowShardName {
			return p, true
		}
	}
	return engine.Pending{}, false
}

// beatOf is what an activity said last; zero when it has said nothing.
func beatOf(p engine.Pending) (b activities.Beat) {
	_ = json.Unmarshal(p.Details, &b)
	return b
}

// maxResults bounds how many results of earlier runs are read.
const maxResults = 10

// baseStreaks says of every shard whose newest base, or snapshot, was not taken
// or not copied: since when and why.
func (s *session) baseStreaks(ctx context.Context, g platform.Group) (map[targets.ShardID]engine.Streak, error) {
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
	_, err := engine.EachClosed(ctx, s.engine, engine.Which{ID: s.ids().Backup(g.Name), Workflow: workflows.TakeBackupName}, func(x engine.Closed) bool {
		if x.Cancelled {
			return true
		}
		if read++; read > maxResults || len(open) == 0 || ctx.Err() != nil {
			return false
		}
		var got workflows.BackupOut
		if err := engine.Result(ctx, s.engine, x.Run, &got); err != nil {
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
func (s *session) jobs(ctx context.Context, g platform.Group, running []engine.Run) ([]engine.Pending, error) {
	ids := []string{s.ids().Cut(g.Name), s.ids().Backup(g.Name), s.ids().Check(g.Name), s.ids().Recover(g.Name)}
	for name, d := range s.cfg.Drills {
		if d.Group == g.Name {
			ids = append(ids, s.ids().Drill(name))
		}
	}
	var out []engine.Pending
	for _, r := range running {
		if !slices.Contains(ids, r.ID) {
			continue
		}
		ps, err := engine.Progress(ctx, s.engine, r.ID)
		if err != nil && !fail.Is(err, fail.NotFound) {
			return out, err
		}
		out = append(out, ps...)
	}
	return out, nil
}

// schedulesOf are the schedules that a group must have.
func (s *session) schedulesOf(g platform.Group) ([]scheduleFacts, error) {
	all, err := s.schedules()
	if err != nil {
		return nil, err
	}
	ours := map[string]bool{s.ids().Cut(g.Name): true, s.ids().Backup(g.Name): true, s.ids().Check(g.Name): true}
	for name, d := range s.cfg.Drills {
		ours[s.ids().Drill(name)] = d.Group == g.Name
	}
	var out []scheduleFacts
	for _, x := range all {
		if in, ok := x.Args[0].(workflows.ScheduledIn); ok && ours[in.ID] {
			out = append(out, scheduleFacts{Schedule: x, in: in})
		}
	}
	return out, nil
}

func (s *session) askSchedule(ctx context.Context, f *scheduleFacts) error {
	d, err := s.engine.ScheduleClient().GetHandle(ctx, f.ID).Describe(ctx)
	if engine.NotFound(err) {
		f.missing = true
		return nil
	}
	if err != nil {
		return fail.New(fail.Unavailable, "engine: describe schedule", f.ID, "", err)
	}
	f.paused, f.note, f.made = d.Schedule.State.Paused, d.Schedule.State.Note, d.Info.CreatedAt
	which := engine.Which{ID: f.in.ID, Workflow: f.in.Workflow}
	switch f.in.Workflow {
	case workflows.TakeCutName, workflows.TakeBackupName: // asked apart: they are taken by hand too
		_, err = engine.EachClosed(ctx, s.engine, which, func(x engine.Closed) bool { f.newest = x; return false })
	case workflows.RunDrillName:
		read := 0
		f.streak, f.newest, err = engine.RunStreak(ctx, s.engine, which, func(ctx context.Context, x engine.Closed) error {
			var out activities.DrillOut
			if read++; read > maxResults || engine.Result(ctx, s.engine, x.Run, &out) != nil || out.Passed {
				return nil
			}
			return fail.Newf(fail.Unverified, "drill", out.ID, "it failed; see: drctl drill show %s", out.ID)
		})
	default:
		f.streak, f.newest, err = engine.RunStreak(ctx, s.engine, which, nil)
	}
	if err != nil {
		return err
	}
	f.runs, _, err = engine.RunStreak(ctx, s.engine, engine.Which{Prefix: f.WorkflowID + "-", Workflow: workflows.ScheduledName}, nil)
	return err
}

// waiting are the runs on a queue, the oldest first.
func (f engineFacts) waiting(queue string) []engine.Run {
	var out []engine.Run
	for _, r := range f.running {
		if r.Queue == queue {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(x, y engine.Run) int { return x.Started.Compare(y.Started) })
	return out
}

// jobsRunning names what runs besides archivers and the schedules' own runs.
func (f engineFacts) jobsRunning() []string {
	out := []string{}
	for _, r := range f.running {
		if kind := f.ids.Kind(r.ID); kind != "archive" && kind != "scheduled" {
			out = append(out, r.ID)
		}
	}
	return out
}
