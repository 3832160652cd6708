package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/configured"
	"drctl/cmd/drctl/gamedays"
	"drctl/config"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/workflows"
	"drctl/workflows/recovery"
	"drctl/workflows/standing"
)

func (a *app) applyCmd() *cobra.Command {
	var takeOver bool
	c := &cobra.Command{
		Use: "apply", Short: "Make schedules and archivers what the configuration says", Args: cobra.NoArgs,
		Long: `Creates, updates and removes schedules and archivers so that they are what the
configuration says, and prints what it changed. A schedule that an operator has
paused stays paused. Runs that wait for a worker of a region that nobody serves
any more are ended when the configuration has their work done elsewhere now.

Only the platform's own are touched, which begin with its name: platforms may
share a namespace. What a drctl older than that left under ids without a name
is taken over in an embedded engine; in a namespace of your own Temporal only
with --take-over, because it cannot be told whose it is.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.online(cmd.Context())
			if err != nil {
				return err
			}
			defer s.close()
			changes, err := s.apply(cmd.Context(), takeOver)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(changes)
			}
			for _, c := range changes {
				fmt.Fprintln(a.out, c)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&takeOver, "take-over", false, "end what an older drctl, which did not record whose it was, runs for this platform")

	return c
}

// apply reconciles schedules, archivers and observers.
func (s *session) apply(ctx context.Context, takeOver bool) ([]engine.Change, error) {
	want, err := s.schedules()
	if err != nil {
		return nil, err
	}

	ordered := takeOver || s.cfg.Engine.Mode == config.Embedded // which nobody shares

	changes, err := standing.TakeOver(ctx, s.engine, s.ids(), s.before(want), s.cfg.Engine.Namespace, ordered)
	if err != nil {
		return changes, err
	}
	more, err := engine.ReconcileSchedules(ctx, s.engine, s.cfg.Name, want, true)

	changes = append(changes, more...)
	if err != nil {
		return changes, err
	}
	more, err = standing.EndStranded(ctx, s.engine, s.ids(), s.queues(want))

	changes = append(changes, more...)
	if err != nil {
		return changes, err
	}
	more, err = s.archivers(ctx)

	changes = append(changes, more...)
	if err != nil {
		return changes, err
	}
	more, err = s.observers(ctx)

	return append(changes, more...), err
}

// schedules are those of the configuration.
func (s *session) schedules() ([]engine.Schedule, error) {
	var out []engine.Schedule
	for _, name := range s.cfg.GroupNames() {
		ss, err := s.groupSchedules(name)
		if err != nil {
			return nil, err
		}
		out = append(out, ss...)
	}

	for _, name := range s.cfg.DrillNames() {
		d := s.cfg.Drills[name]
		if d.Every <= 0 {
			continue
		}

		queue, id := s.cfg.Regions[d.Vault].Queue, s.ids().Drill(name)

		what, in, err := s.drilled(name, "the schedule "+id)
		if err != nil {
			return nil, err
		}

		x, err := s.schedule(id, d.Every, 0, min(d.Jitter, d.Every/2), workflows.ScheduledIn{ID: id, Workflow: what, Queue: queue, Limit: limitOf(d.Every)}, in)
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}

	return out, nil
}

// drilled is the workflow of a scheduled drill with what it is told.
func (s *session) drilled(name, by string) (workflow string, in any, err error) {
	if s.cfg.Drills[name].GameDay != nil {
		_, day, err := gamedays.Input(s.p, name, by, "schedule")
		return workflows.GameDayName, day, err
	}

	def, err := configured.Drill(s.cfg, name)
	def.Trigger = "schedule"

	return workflows.RunDrillName, workflows.RunDrillIn{Drill: def, Queue: s.cfg.Regions[def.Vault].Queue, Sandboxes: s.p.SandboxQueue(def.Vault), By: by, KeepFailed: s.cfg.Sandbox.Keep}, err
}

// groupSchedules are those of a group: its cuts, bases, checks and retention.
func (s *session) groupSchedules(name string) (out []engine.Schedule, err error) {
	g, err := s.p.Group(name)
	if err != nil {
		return nil, err
	}

	pol, err := s.cfg.Policy(name)
	if err != nil {
		return nil, err
	}
	add := func(id string, every, offset time.Duration, run workflows.ScheduledIn, arg any) error {
		if every <= 0 {
			return nil
		}

		run.Queue = g.Queue(g.Home)
		if run.Limit == 0 {
			run.Limit = limitOf(every)
		}
		x, err := s.schedule(id, every, offset, min(pol.Jitter, every/2), run, arg)
		out = append(out, x)

		return err
	}
	// Runs fall on multiples of the intervals, so base, check and retention
	// meet again and again unless each has a part of their common measure
	// for itself. What still finds its id busy waits; a cut does not: the
	// next is as good.
	part := (measure(pol.Base.Every, pol.Check.Every, retainEvery) / 4).Truncate(time.Second)
	ids := s.ids()
	cut, backup, check := ids.Cut(name), ids.Backup(name), ids.Check(name)
	err = errors.Join(
		add(cut, pol.Cut.Every, 0, workflows.ScheduledIn{ID: cut, Workflow: workflows.TakeCutName,
			Limit: cutLimit + pol.Cut.SealWithin}, workflows.TakeCutIn{Group: g}),
		add(backup, pol.Base.Every, 0, workflows.ScheduledIn{ID: backup, Workflow: workflows.TakeBackupName,
			Wait: pol.Base.Every / 2}, workflows.TakeBackupIn{Group: g}),
		add(check, pol.Check.Every, part, workflows.ScheduledIn{ID: check, Workflow: workflows.CheckName,
			Wait: pol.Check.Every / 2}, workflows.CheckAllIn{Group: g, ReadData: pol.Check.ReadData}),
		add(ids.Retain(name), retainEvery, 2*part, workflows.ScheduledIn{ID: backup, Workflow: workflows.RetainName,
			Wait: retainEvery / 2}, workflows.CheckAllIn{Group: g}),
	)

	return out, err
}

// A run has a time limit, because one whose queue nobody serves would hold its
// id and its schedule for ever. It is far above what the work may take: at the
// limit the engine ends the run without its clean-up.
const (
	// cutLimit is for a cut without its sealing, all attempts and pauses of its
	// activities together.
	cutLimit = 30 * time.Minute
	// Other work is given four intervals within these bounds.
	leastLimit, mostLimit = 3 * 24 * time.Hour, 7 * 24 * time.Hour
	// What recovers may have to lay down very much, or wait for people.
	recoveryLimit = 30 * 24 * time.Hour
)

// limitByHand is how long a run may take that a person has started.
func limitByHand(workflow string) time.Duration {
	switch workflow {
	case workflows.TakeCutName:
		return 24 * time.Hour // seal_within is the policy's
	case workflows.RestoreName, recovery.Name:
		return recoveryLimit
	}

	return mostLimit
}

func limitOf(every time.Duration) time.Duration {
	return min(max(4*every, leastLimit), mostLimit)
}

// retainEvery is how often retention runs. What it removes is decided by age
// in hours and days, so more often would change nothing.
const retainEvery = 24 * time.Hour

// measure is the longest time of which all the intervals are multiples; those
// that are 0 do not count.
func measure(intervals ...time.Duration) time.Duration {
	m := time.Duration(0)
	for _, x := range intervals {
		for x > 0 {
			m, x = x, m%x
		}
	}

	return m
}

// schedule makes a schedule of run with the argument.
func (s *session) schedule(id string, every, offset, jitter time.Duration, run workflows.ScheduledIn, arg any) (engine.Schedule, error) {
	input, err := json.Marshal(arg)
	if err != nil {
		return engine.Schedule{}, fail.New(fail.Internal, "apply", id, "", err)
	}
	run.Input = input

	return engine.Schedule{ID: id, Every: every, Offset: offset, Jitter: jitter, WorkflowName: workflows.ScheduledName, WorkflowID: s.ids().Scheduled(id),
		TaskQueue: run.Queue, Args: []any{run}, RunTimeout: run.Wait + run.Limit + time.Minute}, nil
}

// archivers sees to the archivers of all shards.
func (s *session) archivers(ctx context.Context) ([]engine.Change, error) {
	groups, err := s.groups()
	if err != nil {
		return nil, err
	}

	return standing.Archivers(ctx, s.engine, s.ids(), groups)
}

// observers sees to the observers of all groups.
func (s *session) observers(ctx context.Context) ([]engine.Change, error) {
	groups, err := s.groups()
	if err != nil {
		return nil, err
	}

	return standing.Observers(ctx, s.engine, s.ids(), groups)
}

// groups are those of the configuration.
func (s *session) groups() (out []platform.Group, err error) {
	for _, name := range s.cfg.GroupNames() {
		g, err := s.p.Group(name)
		if err != nil {
			return nil, err
		}
		out = append(out, g)
	}

	return out, nil
}
