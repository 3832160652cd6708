package answer

import (
	"drctl/drills"
	"drctl/drills/simulate"
	"drctl/internal/approval"
	"drctl/internal/engine"
	"drctl/internal/engine/looked"
	"drctl/internal/moment"
	"drctl/internal/planting"
	"drctl/internal/sandbox"
	"drctl/internal/ui"
	"drctl/internal/upkeep"
	"drctl/restore/failover"
	"drctl/restore/history"
	"drctl/restore/inventory"
	"drctl/restore/losses"
	"drctl/restore/plan"
	"drctl/restore/readiness"
	"drctl/restore/readiness/alone"
	"drctl/restore/runs"
	"drctl/targets"
	"drctl/targets/reconciliation"
	"drctl/workflows"
	"drctl/workflows/recovery"
)

// JSON is the version of everything that is printed with --json. Fields are added
// without a new version; it rises when one goes or comes to mean something else.
const JSON = 1

// Answer is one shape that a command prints with --json.
type Answer struct {
	// Command is its path below drctl, "cut list".
	Command string
	// When says when it is this one; "" is always, or else.
	When string
	// Value is a value of the type that is printed. It is nil when the shape is
	// described elsewhere, which Where names.
	Value any
	Where string
}

// Failed is what stderr has when a command ends with an error.
var Failed = ui.Failure{}

// All are the answers of all commands, in the order of their names. A command that
// is not there prints no JSON.
func All() []Answer {
	changes, started := []engine.Change{}, Started{}

	return []Answer{
		{Command: "apply", Value: changes},
		{Command: "backup list", Value: []targets.Artifact{}},
		{Command: "backup now", Value: workflows.BackupOut{}},
		{Command: "backup now", When: "with `--wait=false`", Value: started},
		{Command: "backup prune", Value: []upkeep.Retention{}},
		{Command: "backup rm", Value: Removed{}},
		{Command: "backup show", Value: targets.Artifact{}},
		{Command: "backup verify", Value: []upkeep.Check{}},
		{Command: "config schema", Where: "a JSON Schema of the configuration"},
		{Command: "config show", Where: "the configuration, as `config schema` describes it, secrets redacted"},
		{Command: "config validate", Value: Validated{}},
		{Command: "config validate", When: "with `--connect`, when the file is valid", Value: Preflight{}},
		{Command: "cut at", Value: targets.Cut{}},
		{Command: "cut list", Value: CutList{}},
		{Command: "cut list", When: "with `--window`", Value: CutWindow{}},
		{Command: "cut now", Value: targets.Cut{}},
		{Command: "cut now", When: "with `--wait=false`", Value: started},
		{Command: "cut prove", Value: moment.Report{}},
		{Command: "cut show", Value: targets.Cut{}},
		{Command: "cut show", When: "of an abandoned cut", Value: inventory.AbandonedCut{}},
		{Command: "detection acknowledge", Value: []Detection{}},
		{Command: "detection off", Value: []Detection{}},
		{Command: "detection on", Value: []Detection{}},
		{Command: "detection show", Value: []Detection{}},
		{Command: "drill abort", Value: []planting.Fault{}},
		{Command: "drill approve", Value: approval.Approval{}},
		{Command: "drill leftovers", Value: []planting.Fault{}},
		{Command: "drill list", Value: []Drill{}},
		{Command: "drill run", Value: drills.Outcome{}},
		{Command: "drill show", Where: "the record, as [evidence.schema.json](evidence.schema.json) describes it"},
		{Command: "drill simulate", Value: simulate.Summary{}},
		{Command: "drill simulate", When: "with `--schedules 1`", Value: simulate.Result{}},
		{Command: "failback reconcile", Value: []reconciliation.Result{}},
		{Command: "failback run", Value: recovery.Out{}},
		{Command: "failover run", Value: recovery.Out{}},
		{Command: "plan diff", Value: []failover.Difference{}},
		{Command: "plan forecast", Value: Foreseen{}},
		{Command: "plan history", Value: []history.Plan{}},
		{Command: "plan lint", Value: []failover.Problem{}},
		{Command: "plan show", Value: PlanShown{}},
		{Command: "recovery answer", Value: recovery.Out{}},
		{Command: "recovery approve", Value: recovery.Out{}},
		{Command: "recovery loss", Value: losses.Statement{}},
		{Command: "recovery loss", When: "with `--list`", Value: []string{}},
		{Command: "recovery resume", Value: recovery.Out{}},
		{Command: "recovery review", Value: runs.Glass{}},
		{Command: "recovery reviews", Value: []runs.Glass{}},
		{Command: "recovery show", Value: recovery.Out{}},
		{Command: "restore plan", Value: plan.Run{}},
		{Command: "restore run", Value: workflows.RestoreOut{}},
		{Command: "runs attach", Value: started},
		{Command: "runs cancel", Value: started},
		{Command: "runs list", Value: []engine.Run{}},
		{Command: "runs show", Value: looked.Run{}},
		{Command: "sandbox list", Value: []Sandbox{}},
		{Command: "sandbox rm", Value: SandboxesRemoved{}},
		{Command: "sandbox show", Value: []sandbox.Access{}},
		{Command: "schedule list", Value: []engine.ScheduleState{}},
		{Command: "schedule pause", Value: changes},
		{Command: "schedule resume", Value: changes},
		{Command: "status", Value: []readiness.Status{}},
		{Command: "status", When: "with `--vault-url`", Value: alone.Held{}},
		{Command: "switchover run", Value: recovery.Out{}},
		{Command: "up", Value: Up{}},
		{Command: "vault init", Value: []VaultMade{}},
		{Command: "vault merge", Value: Merged{}},
		{Command: "vault repair", Value: []Repaired{}},
		{Command: "version", Value: Version{}},
		{Command: "worker", Where: "one line, `{\"address\": ...}` when it serves, or `{\"error\": {...}}`"},
	}
}
