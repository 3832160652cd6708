package main

import (
	"testing"

	"drctl/cmd/drctl/answer"
	"drctl/internal/engine"
	enginerun "drctl/internal/engine/looked"
)

// TestSchedulesAndRuns pauses, resumes, follows and cancels by hand what a platform
// has in its engine.
func TestSchedulesAndRuns(t *testing.T) {
	w := sharedLab(t)
	w.running(t)

	paused := func(id string) bool {
		for _, s := range decode[[]engine.ScheduleState](t, w.must(t, "schedule", "list", "--json")) {
			if s.ID == id {
				return s.Paused
			}
		}

		t.Fatalf("there is no schedule %s", id)

		return false
	}

	cuts := decode[[]engine.Change](t, w.must(t, "schedule", "pause", "cut/shop", "--reason", "a test", "--json"))
	if len(cuts) != 1 || !cuts[0].Paused || !paused(cuts[0].ID) {
		t.Fatalf("%+v", cuts)
	}

	w.expect(t, 0, []string{"PAUSED", "a test"}, "schedule", "list")
	w.expect(t, 2, []string{`did you mean`}, "schedule", "pause", cuts[0].ID+"x")
	w.expect(t, 2, []string{"--all"}, "schedule", "resume")
	w.must(t, "apply")

	if !paused(cuts[0].ID) {
		t.Error("apply has resumed it")
	}

	w.expect(t, 0, []string{"resumed"}, "schedule", "resume", "cut/shop")

	if paused(cuts[0].ID) {
		t.Error("resumed, and paused")
	}

	// One that is left to the engine is found there and can be followed to its end.
	begun := decode[answer.Started](t, w.must(t, "backup", "now", "--wait=false", "--json", "--full"))
	w.expect(t, 0, []string{begun.WorkflowID}, "runs", "list")
	w.expect(t, 0, []string{begun.WorkflowID, "running", "in its history"}, "runs", "show", begun.WorkflowID)
	w.expect(t, 0, []string{"has ended"}, "runs", "attach", begun.WorkflowID)
	w.expect(t, 2, []string{"there is no run"}, "runs", "show", "no/such")

	if r := decode[enginerun.Run](t, w.must(t, "runs", "show", begun.WorkflowID, "--json")); r.State != "completed" || r.RunID != begun.RunID || r.Ended.IsZero() {
		t.Errorf("followed to its end, and shown as %+v", r)
	}

	w.expect(t, 2, []string{"there is no run"}, "runs", "attach", "no/such")

	begun = decode[answer.Started](t, w.must(t, "backup", "now", "--wait=false", "--json", "--full"))
	w.expect(t, 0, []string{"cancelling", begun.WorkflowID}, "runs", "cancel", begun.WorkflowID)

	for _, r := range decode[[]engine.Run](t, w.must(t, "runs", "list", "--json")) {
		if r.RunID == begun.RunID {
			t.Errorf("cancelled, and runs: %+v", r)
		}
	}
}
