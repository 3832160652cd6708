package configured

import (
	"slices"

	"drctl/config"
	"drctl/config/checks"
	"drctl/drills"
	"drctl/internal/report/evidence"
	"drctl/targets"
)

// Drill turns a configured restore drill into plain data. Invalid: it could not be run.
func Drill(cfg *config.Config, name string) (drills.Definition, error) {
	d := cfg.Drills[name]

	def := drills.Definition{Name: name, Group: d.Group, Cut: d.Cut, Window: d.Window, Seed: d.Seed, Vault: d.Vault, Every: d.Every,
		Scenario: d.Scenario, Hypothesis: d.Hypothesis, Participants: slices.Clone(d.Participants),
		Objectives: evidence.Objectives{RTO: d.Objectives.RTO, RPO: d.Objectives.RPO},
		Checks:     drills.Checks{Quick: d.Checks.Quick, Assertions: map[string][]targets.Assertion{}}}
	for target, as := range d.Checks.Assertions {
		for _, x := range as {
			on := target
			if x.Shard != "" && x.Shard != checks.All {
				on += "/" + x.Shard
			}
			def.Checks.Assertions[on] = append(def.Checks.Assertions[on], targets.Assertion{Name: x.Name, Query: x.Query, Want: x.Want})
		}
	}

	for _, o := range d.Checks.Objects {
		def.Checks.Objects = append(def.Checks.Objects, drills.ObjectCheck{Target: o.Target, From: o.From, Query: o.Query, AllowEmpty: o.AllowEmpty})
	}

	for _, x := range d.Checks.Sums {
		def.Checks.Sums = append(def.Checks.Sums, drills.Sum{Name: x.Name, Target: x.Target, Query: x.Query, Want: x.Want})
	}

	return def, def.Validate()
}
