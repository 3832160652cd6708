package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drctl/activities"
	"drctl/config"
	"drctl/drills"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/targets"
	"drctl/workflows"
)

func (a *app) applyCmd() *cobra.Command {
	return &cobra.Command{
		Use: "apply", Short: "Make schedules and archivers what the configuration says", Args: cobra.NoArgs,
		Long: `Creates, updates and removes schedules and archivers so that they are what the
configuration says, and prints what it changed. A schedule that an operator has
paused stays paused.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.online(cmd.Context())
			if err != nil {
				return err
			}
			defer s.close()
			changes, err := s.apply(cmd.Context())
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
}

// apply reconciles schedules and archivers.
func (s *session) apply(ctx context.Context) ([]engine.Change, error) {
	want, err := s.schedules()
	if err != nil {
		return nil, err
	}
	changes, err := engine.ReconcileSchedules(ctx, s.engine, want, true)
	if err != nil {
		return changes, err
	}
	more, err := s.archivers(ctx)
	return append(changes, more...), err
}

func (s *session) schedules() ([]engine.Schedule, error) {
	var out []engine.Schedule
	for _, name := range s.cfg.GroupNames() {
		g, err := s.p.Group(name)
		if err != nil {
			return nil, err
		}
		pol, err := s.cfg.Policy(name)
		if err != nil {
			return nil, err
		}
		home := s.cfg.Regions[g.Home].Queue
		add := func(id string, every time.Duration, workflow string, arg any) {
			if every > 0 {
				out = append(out, engine.Schedule{ID: id, Every: every, Jitter: min(pol.Jitter, every/2), WorkflowName: workflow, WorkflowID: id,
					TaskQueue: home, Args: []any{arg}})
			}
		}
		add(workflows.CutID(name), pol.Cut.Every, workflows.TakeCutName, workflows.TakeCutIn{Group: g})
		add(workflows.BackupID(name), pol.Base.Every, workflows.TakeBackupName, workflows.TakeBackupIn{Group: g})
		add("check/"+name, pol.Check.Every, workflows.CheckName, workflows.CheckAllIn{Group: g, ReadData: pol.Check.ReadData})
		add(workflows.RetainID(name), 24*time.Hour, workflows.RetainName, workflows.CheckAllIn{Group: g})
	}
	for _, name := range s.cfg.DrillNames() {
		d := s.cfg.Drills[name]
		if d.Every <= 0 {
			continue
		}
		def, err := definition(s.cfg, name)
		if err != nil {
			return nil, err
		}
		def.Trigger = "schedule"
		queue := s.cfg.Regions[d.Vault].Queue
		out = append(out, engine.Schedule{ID: workflows.DrillID(name), Every: d.Every, Jitter: min(d.Jitter, d.Every/2), WorkflowName: workflows.RunDrillName,
			WorkflowID: workflows.DrillID(name), TaskQueue: queue,
			Args: []any{workflows.RunDrillIn{Drill: def, Queue: queue, By: "the schedule " + workflows.DrillID(name)}}})
	}
	return out, nil
}

// archivers starts one archiver for every shard that has a log and stops those
// of shards that are gone.
func (s *session) archivers(ctx context.Context) ([]engine.Change, error) {
	running, err := engine.Running(ctx, s.engine, "archive/")
	if err != nil {
		return nil, err
	}
	var changes []engine.Change
	want := map[string]bool{}
	for _, name := range s.cfg.GroupNames() {
		g, err := s.p.Group(name)
		if err != nil {
			return changes, err
		}
		for _, sh := range g.Shards {
			if sh.Kind == targets.S3 {
				continue
			}
			id := workflows.ArchiveID(sh.Shard)
			want[id] = true
			action := "kept"
			// Starting is the check: a list may be older than the engine's truth.
			_, err := start(ctx, s.engine, id, workflows.ArchiveName, sh.Queue, false, workflows.ArchiveIn{Shard: sh})
			switch {
			case err == nil:
				action = "created"
			case !fail.Is(err, fail.Conflict):
				return changes, err
			}
			changes = append(changes, engine.Change{ID: id, Action: action})
		}
	}
	for _, r := range running {
		if !want[r.ID] && strings.HasPrefix(r.ID, "archive/") {
			if err := s.engine.CancelWorkflow(ctx, r.ID, ""); err != nil {
				return changes, fail.New(fail.Unavailable, "apply: stop archiver", r.ID, "", err)
			}
			changes = append(changes, engine.Change{ID: r.ID, Action: "deleted"})
		}
	}
	return changes, nil
}

// definition turns a configured drill into plain data.
func definition(cfg *config.Config, name string) (drills.Definition, error) {
	d, ok := cfg.Drills[name]
	if !ok {
		return drills.Definition{}, fail.New(fail.NotFound, "drill", name, fmt.Sprintf("the configuration has: %v", cfg.DrillNames()), errors.New("there is no drill of this name"))
	}
	def := drills.Definition{Name: name, Group: d.Group, Cut: d.Cut, Window: d.Window, Seed: d.Seed, Vault: d.Vault, Every: d.Every,
		Scenario: d.Scenario, Hypothesis: d.Hypothesis, Participants: slices.Clone(d.Participants),
		Objectives: drills.Objectives{RTO: d.Objectives.RTO, RPO: d.Objectives.RPO},
		Checks:     drills.Checks{Quick: d.Checks.Quick, Assertions: map[string][]targets.Assertion{}}}
	for target, as := range d.Checks.Assertions {
		for _, x := range as {
			on := target
			if x.Shard != "" && x.Shard != config.All {
				on += "/" + x.Shard
			}
			def.Checks.Assertions[on] = append(def.Checks.Assertions[on], targets.Assertion{Name: x.Name, Query: x.Query, Want: x.Want})
		}
	}
	for _, o := range d.Checks.Objects {
		def.Checks.Objects = append(def.Checks.Objects, drills.ObjectCheck{Target: o.Target, From: o.From, Query: o.Query})
	}
	for _, x := range d.Checks.Sums {
		def.Checks.Sums = append(def.Checks.Sums, drills.Sum{Name: x.Name, Target: x.Target, Query: x.Query, Want: x.Want})
	}
	return def, def.Validate()
}

var _ = activities.Group{}
