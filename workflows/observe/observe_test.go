package observe

import (
	"testing"

	"drctl/restore/readiness"
	"drctl/workflows"
)

// Every workflow that a schedule may start is of a kind: what it came to is judged by that.
func TestWhatSchedulesStartIsOfAKind(t *testing.T) {
	for name, want := range map[string]readiness.RunKind{workflows.TakeCutName: readiness.CutRuns, workflows.TakeBackupName: readiness.BaseRuns, workflows.CheckName: readiness.CheckRuns,
		workflows.RetainName: readiness.RetentionRuns, workflows.RunDrillName: readiness.DrillRuns, workflows.GameDayName: readiness.DrillRuns} {
		if runKinds[name] != want {
			t.Errorf("%s is of the kind %q, want %q", name, runKinds[name], want)
		}
	}
}
