package main

import (
	"strings"

	"drctl/internal/engine"
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

// before are the ids that this platform had with a drctl that did not tell platforms
// apart.
func (s *session) before(want []engine.Schedule) map[string]bool {
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

	return old
}
