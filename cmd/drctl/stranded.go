package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"drctl/config"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/workflows"
)

// queues tells on which queue each id of the configuration runs: its schedules'
// runs under Scheduled, and what holds an id of its own.
func (s *session) queues(want []engine.Schedule) map[string]string {
	out := map[string]string{}
	for _, x := range want {
		out[x.WorkflowID] = x.TaskQueue
	}

	ids := s.ids()
	for _, name := range s.cfg.GroupNames() {
		home := s.cfg.Regions[s.cfg.Groups[name].Home].Queue
		out[ids.Cut(name)], out[ids.Backup(name)], out[ids.Check(name)] = home, home, home
	}

	for _, name := range s.cfg.DrillNames() {
		out[ids.Drill(name)] = s.cfg.Regions[s.cfg.Drills[name].Vault].Queue
	}

	return out
}

// nominal is the time that the engine appends to the ids of a schedule's runs.
var nominal = regexp.MustCompile(`-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`)

// endStranded ends the runs that wait for a worker on a queue that nobody
// serves, when the configuration has their work done on another queue now: a
// schedule skips its starts as long as its last run is there, and an id is
// taken as long as a run has it. One on the queue where it belongs goes on when
// the worker comes back.
func (s *session) endStranded(ctx context.Context, want []engine.Schedule) ([]engine.Change, error) {
	runs, err := engine.Running(ctx, s.engine, s.ids().Prefix())
	if err != nil {
		return nil, err
	}
	queues := s.queues(want)
	served := map[string]bool{}
	var changes []engine.Change

	var ended []string
	for _, r := range runs {
		switch s.ids().Kind(r.ID) {
		case "scheduled", "cut", "backup", "check", "drill":
		default: // archivers are judged by themselves, the rest is a person's
			continue
		}

		if queues[nominal.ReplaceAllString(r.ID, "")] == r.Queue {
			continue
		}

		if _, asked := served[r.Queue]; !asked {
			served[r.Queue] = engine.HasWorker(ctx, s.engine, r.Queue)
		}

		if served[r.Queue] {
			changes = append(changes, engine.Change{ID: r.ID, Action: "left",
				Note: fmt.Sprintf("runs on %s, which was served within the last minute; apply again if its workers are gone", r.Queue)})

			continue
		}
		ended = append(ended, r.ID)
		changes = append(changes, engine.Change{ID: r.ID, Action: "ended", Note: fmt.Sprintf("nobody serves %s", r.Queue)})
	}

	return changes, engine.EndAll(ctx, s.engine, ended, "nobody serves its queue, and the configuration has this done elsewhere")
}

// takeOver ends what a drctl that did not tell platforms apart runs under the
// ids that this platform had with it, so that nothing is done twice: two
// archivers would fight for one slot. In a namespace of the platform's own
// Temporal such a thing may be another platform's, so it has to be ordered.
func (s *session) takeOver(ctx context.Context, want []engine.Schedule, ordered bool) ([]engine.Change, error) {
	old := map[string]bool{}

	trim := func(id string) string { return strings.TrimPrefix(id, s.ids().Prefix()) }
	for id := range s.queues(want) {
		old[trim(id)] = true
	}

	for _, x := range want {
		old[trim(x.ID)] = true
	}

	for _, name := range s.cfg.GroupNames() {
		for _, shard := range s.cfg.Shards(name) {
			if s.cfg.Kind(shard).Traits().Log {
				old[workflows.IDs("").Archive(shard)] = true
			}
		}
	}

	schedules, err := engine.OldSchedules(ctx, s.engine)
	if err != nil {
		return nil, err
	}
	schedules = slices.DeleteFunc(schedules, func(id string) bool { return !old[id] })

	running, err := engine.Running(ctx, s.engine, "")
	if err != nil {
		return nil, err
	}

	var runs []string
	for _, r := range running {
		if old[nominal.ReplaceAllString(r.ID, "")] {
			runs = append(runs, r.ID)
		}
	}

	if len(schedules)+len(runs) == 0 {
		return nil, nil
	}

	if !ordered && s.cfg.Engine.Mode != config.Embedded {
		return nil, fail.New(fail.Conflict, "apply", "namespace "+s.cfg.Engine.Namespace,
			"if they are this platform's, repeat with: drctl apply --take-over; if they are another's, upgrade that one first, or give this one a namespace of its own (engine.namespace)",
			fmt.Errorf("schedules and runs of an older drctl are there, which did not record whose they are: %s", some(append(schedules, runs...))))
	}

	var changes []engine.Change
	for _, id := range schedules { // first, so that they start nothing any more
		was, err := engine.DeleteSchedule(ctx, s.engine, id)
		if err != nil {
			return changes, err
		}

		if was {
			changes = append(changes, engine.Change{ID: id, Action: "deleted", Note: "it is " + s.ids().Prefix() + id + " now"})
		}
	}

	for _, id := range runs {
		changes = append(changes, engine.Change{ID: id, Action: "ended", Note: "ids begin with the platform's name now"})
	}

	return changes, engine.EndAll(ctx, s.engine, runs, "ids begin with the platform's name now")
}

// some names the first few of a list.
func some(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}

	return strings.Join(names, ", ")
}
