package main

import (
	"testing"
	"time"

	"drctl/internal/engine/enginetest"
	"drctl/workflows"
	"drctl/workflows/recovery"
)

// What a person starts where nobody serves holds its id until its limit, and no longer.
func TestEveryRunOfAPersonHasALimit(t *testing.T) {
	c := enginetest.Client(t, enginetest.Start(t, enginetest.Options(t)))

	for _, name := range []string{workflows.TakeCutName, workflows.TakeBackupName, workflows.RestoreName, workflows.RunDrillName, workflows.CheckName, workflows.RetainName, recovery.Name} {
		run, err := start(t.Context(), c, "limit/"+name, name, "nobody", false, map[string]string{})
		if err != nil {
			t.Fatal(err)
		}

		d, err := c.DescribeWorkflowExecution(t.Context(), run.GetID(), run.GetRunID())
		if err != nil {
			t.Fatal(err)
		}

		if got := d.GetExecutionConfig().GetWorkflowExecutionTimeout().AsDuration(); got < 24*time.Hour || got > 30*24*time.Hour {
			t.Errorf("%s may run for %s", name, got)
		}
	}
}
