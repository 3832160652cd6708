package engine_test

import (
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/client"

	"drctl/internal/engine"
	"drctl/internal/engine/enginetest"
	"drctl/internal/fail"
)

func TestReconcileSchedules(t *testing.T) {
	c := enginetest.Client(t, enginetest.Start(t, enginetest.Options(t)))
	ctx := t.Context()
	cut := engine.Schedule{ID: "cut/shop", Every: time.Minute, Jitter: time.Second, WorkflowName: "TakeCut",
		WorkflowID: "cut/shop", TaskQueue: queue, Args: []any{map[string]any{"group": "shop"}}}
	base := engine.Schedule{ID: "backup/shop", Cron: "0 3 * * *", WorkflowName: "TakeBackup", WorkflowID: "backup/shop", TaskQueue: queue}
	do := func(want string, prune bool, s ...engine.Schedule) {
		t.Helper()

		got, err := engine.ReconcileSchedules(ctx, c, "small", s, prune)
		if err != nil {
			t.Fatal(err)
		}

		var parts []string
		for _, ch := range got {
			parts = append(parts, ch.String())
		}

		if s := strings.Join(parts, ", "); s != want {
			t.Fatalf("got  %s\nwant %s", s, want)
		}
	}
	do("cut/shop: created, backup/shop: created", true, cut, base)
	do("cut/shop: kept, backup/shop: kept", false, cut, base)

	d, err := c.ScheduleClient().GetHandle(ctx, cut.ID).Describe(ctx)
	if err != nil {
		t.Fatal(err)
	}

	if w := d.Schedule.Policy.CatchupWindow; w != 30*time.Second {
		t.Errorf("catch-up window %s", w)
	}

	// An operator's pause survives a change of the definition; the definition changes.
	h := c.ScheduleClient().GetHandle(ctx, cut.ID)
	if err := h.Pause(ctx, client.SchedulePauseOptions{Note: "maintenance"}); err != nil {
		t.Fatal(err)
	}
	cut.Every, cut.Args = 2*time.Minute, []any{map[string]any{"group": "other"}}
	do("cut/shop: updated (paused: maintenance), backup/shop: kept", false, cut, base)

	if d, err = h.Describe(ctx); err != nil || !d.Schedule.State.Paused || d.Schedule.Spec.Intervals[0].Every != 2*time.Minute ||
		d.Schedule.Policy.CatchupWindow != time.Minute {
		t.Fatalf("after the update: %+v, %v", d, err)
	}

	do("cut/shop: kept (paused: maintenance), backup/shop: kept", false, cut, base)

	// The configuration's own pause comes and goes with the configuration.
	base.Paused = true
	do("backup/shop: updated (paused: paused by the configuration)", false, base)
	base.Paused = false
	do("backup/shop: updated", false, base)
	base.Hash = "another driver"
	do("backup/shop: updated", false, base)

	// Only drctl's own schedules are pruned.
	if _, err := c.ScheduleClient().Create(ctx, client.ScheduleOptions{ID: "foreign",
		Spec:   client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: time.Hour}}},
		Action: &client.ScheduleWorkflowAction{ID: "x", Workflow: "X", TaskQueue: queue}}); err != nil {
		t.Fatal(err)
	}

	waitFor(t, "pruned", func() bool { // the list of schedules is behind
		got, err := engine.ReconcileSchedules(ctx, c, "small", []engine.Schedule{base}, true)
		if err != nil {
			t.Fatal(err)
		}

		return len(got) == 2 && got[1].String() == "cut/shop: deleted"
	})

	if _, err := c.ScheduleClient().GetHandle(ctx, "foreign").Describe(ctx); err != nil {
		t.Errorf("a schedule that is not drctl's: %v", err)
	}
}

// A run whose queue nobody serves ends at its limit, and the next one starts.
func TestScheduledRunsEndAtTheirLimit(t *testing.T) {
	c := enginetest.Client(t, enginetest.Start(t, enginetest.Options(t)))

	s := engine.Schedule{ID: "cut/shop", Every: time.Second, WorkflowName: "TakeCut", WorkflowID: "scheduled/cut/shop", TaskQueue: "nobody", RunTimeout: 2 * time.Second}
	if _, err := engine.ReconcileSchedules(t.Context(), c, "small", []engine.Schedule{s}, true); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	waitFor(t, "a second run", func() bool {
		rs, err := engine.Running(t.Context(), c, "scheduled/")
		if err != nil {
			t.Fatal(err)
		}

		for _, r := range rs {
			seen[r.ID] = true
		}

		return len(seen) > 1
	})
}

func TestScheduleMistakes(t *testing.T) {
	good := engine.Schedule{ID: "x", Every: time.Minute, WorkflowName: "W", WorkflowID: "w", TaskQueue: "q"}
	for name, change := range map[string]func(*engine.Schedule){
		"no interval":      func(s *engine.Schedule) { s.Every = 0 },
		"both":             func(s *engine.Schedule) { s.Cron = "* * * * *" },
		"late catch-up":    func(s *engine.Schedule) { s.CatchupWindow = time.Minute },
		"small catch-up":   func(s *engine.Schedule) { s.CatchupWindow = time.Second },
		"offset too large": func(s *engine.Schedule) { s.Offset = time.Minute },
		"jitter too large": func(s *engine.Schedule) { s.Jitter = time.Hour },
		"overlap":          func(s *engine.Schedule) { s.Overlap = "sometimes" },
		"negative limit":   func(s *engine.Schedule) { s.RunTimeout = -1 },
		"no queue":         func(s *engine.Schedule) { s.TaskQueue = "" },
	} {
		s := good
		change(&s)

		if _, err := engine.ReconcileSchedules(t.Context(), nil, "small", []engine.Schedule{s}, false); !fail.Is(err, fail.Invalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}

	if _, err := engine.ReconcileSchedules(t.Context(), nil, "small", []engine.Schedule{good, good}, false); !fail.Is(err, fail.Invalid) {
		t.Errorf("twice: got %v", err)
	}
}
