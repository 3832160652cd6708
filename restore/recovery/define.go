package recovery

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"drctl/internal/fail"
	"drctl/restore/plan"
	"drctl/targets"
)

// stepLimit bounds one step whatever its size: a restore that needs longer is
// stuck, and beats are watched besides.
const stepLimit = 24 * time.Hour

// Member is a shard that a definition covers.
type Member struct {
	Shard targets.ShardID
	Kind  targets.Kind
}

// Define derives the recovery plan of a goal: restore every shard, target by
// target in the configured order, and verify each. It knows nothing of bases and
// positions, so that the same goal has the same definition every day. It fails
// with invalid for a goal that contradicts itself or lacks a destination.
func Define(goal plan.Goal, mode plan.Mode, members []Member) (plan.Definition, error) {
	if goal.Into != plan.Sandbox && goal.Into != plan.Instances {
		return plan.Definition{}, fail.Newf(fail.Invalid, opPlan, goal.Group, "a goal restores into %q or %q, not %q", plan.Sandbox, plan.Instances, goal.Into)
	}

	def := plan.Definition{Format: plan.DefinitionFormat, Group: goal.Group, Mode: mode, Into: goal.Into, Delta: goal.Delta}
	ordered := inOrder(members, goal.Order)
	var errs []error
	var needs []string // the restores of the target that comes before, by one name; without an order nothing waits

	for i, m := range ordered {
		if i > 0 && rank(m, goal.Order) > rank(ordered[i-1], goal.Order) {
			needs = []string{"restore-" + ordered[i-1].Shard.Target + "/*"}
		}

		var into plan.Destination
		if goal.Into == plan.Instances {
			var ok bool
			if into, ok = goal.Destinations[m.Shard.String()]; !ok {
				errs = append(errs, fail.New(fail.Invalid, opPlan, m.Shard.String(),
					"name one under recovery.destinations in the configuration", errors.New("no destination is configured for this shard")))
			}
		}
		def.Steps = append(def.Steps, plan.StepDef{ID: restoreID(m.Shard), Do: plan.OpRestore, On: m.Shard, Kind: m.Kind,
			Needs: slices.Clone(needs), Into: into, Limit: stepLimit})
	}

	for i, m := range ordered {
		def.Steps = append(def.Steps, plan.StepDef{ID: "verify-" + m.Shard.String(), Do: plan.OpVerify, On: m.Shard, Kind: m.Kind,
			Needs: []string{restoreID(m.Shard)}, Into: def.Steps[i].Into, Limit: stepLimit})
	}

	return def, errors.Join(errs...)
}

func restoreID(s targets.ShardID) string { return "restore-" + s.String() }

// rank is the place of a target in the configured order; those that are not
// listed come last, together.
func rank(m Member, byTarget []string) int {
	if i := slices.Index(byTarget, m.Shard.Target); i >= 0 {
		return i
	}

	return len(byTarget)
}

func inOrder(members []Member, byTarget []string) []Member {
	out := slices.Clone(members)
	slices.SortFunc(out, func(a, b Member) int {
		return cmp.Or(rank(a, byTarget)-rank(b, byTarget), a.Shard.Compare(b.Shard))
	})

	return out
}
