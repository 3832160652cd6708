package engine_test

import (
	"testing"
	"time"

	"drctl/internal/engine"
	"drctl/internal/engine/enginetest"
	"drctl/internal/fail"
)

// An operator's pause is his, with a reason or without, until he ends it.
func TestPauseSchedule(t *testing.T) {
	c := enginetest.Client(t, enginetest.Start(t, enginetest.Options(t)))
	ctx := t.Context()
	cut := engine.Schedule{ID: "small:cut/shop", Every: time.Minute, WorkflowName: "TakeCut", WorkflowID: "small:cut/shop", TaskQueue: queue}
	apply := func() engine.Change {
		t.Helper()

		changes, err := engine.ReconcileSchedules(ctx, c, "small", []engine.Schedule{cut}, true)
		if err != nil || len(changes) != 1 {
			t.Fatal(changes, err)
		}

		return changes[0]
	}
	apply()

	for _, reason := range []string{"", "maintenance"} {
		if err := engine.PauseSchedule(ctx, c, cut.ID, reason); err != nil {
			t.Fatal(err)
		}
		cut.Every += time.Minute

		if ch := apply(); !ch.Paused || ch.Action != "updated" {
			t.Errorf("reason %q: apply left %+v", reason, ch)
		}

		if err := engine.ResumeSchedule(ctx, c, cut.ID); err != nil {
			t.Fatal(err)
		}

		if ch := apply(); ch.Paused {
			t.Errorf("after the resume: %+v", ch)
		}
	}

	if err := engine.PauseSchedule(ctx, c, cut.ID, "paused by the configuration"); !fail.Is(err, fail.Invalid) {
		t.Errorf("a reason that apply takes for its own: %v", err)
	}

	if err := engine.PauseSchedule(ctx, c, "small:cut/nope", ""); !fail.Is(err, fail.NotFound) {
		t.Errorf("a schedule that is not there: %v", err)
	}

	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		list, err := engine.Schedules(ctx, c, "small")
		if err == nil && len(list) == 1 && list[0].ID == cut.ID && !list[0].Paused && !list[0].Next.IsZero() {
			break
		}

		if time.Now().After(end) {
			t.Fatalf("%+v %v", list, err)
		}
	}

	if list, err := engine.Schedules(ctx, c, "other"); err != nil || len(list) != 0 {
		t.Errorf("another platform's: %+v %v", list, err)
	}
}
