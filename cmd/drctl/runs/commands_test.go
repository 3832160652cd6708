package runs_test

import (
	"strings"
	"testing"
	"time"

	"drctl/cmd/drctl/runs"
	"drctl/internal/engine"
	"drctl/internal/engine/looked"
)

func TestARunIsShownWithWhatItWaitsFor(t *testing.T) {
	t.Parallel()

	now := time.Date(2026, 3, 14, 2, 0, 0, 0, time.UTC)
	r := looked.Run{Run: engine.Run{ID: "shop/backup/shop", RunID: "r1", Workflow: "Backup", Queue: "drctl.east", Started: now.Add(-time.Minute)}, State: "running", Events: 12, Limit: now.Add(time.Hour),
		Pending: []engine.Pending{
			{Activity: "TakeBase", State: "scheduled", Attempt: 1, Queue: "drctl.east.base", Scheduled: now.Add(-40 * time.Second)},
			{Activity: "Seal", State: "scheduled", Attempt: 3, Queue: "drctl.east", Scheduled: now.Add(-time.Minute), LastFailure: "the vault is\x1b[2J full", NextAttempt: now.Add(5 * time.Second), Worker: "w@h"},
		}}

	var out strings.Builder
	if err := runs.Write(&out, r, now); err != nil {
		t.Fatal(err)
	}

	for _, want := range []string{"running", "12 events", "03:00:00", "no worker has it", "40 s", "the attempt before failed: the vault is", "tried again in 5 s"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}

	if strings.Contains(out.String(), "\x1b") {
		t.Error("what a server said moves the cursor")
	}

	r.State, r.Pending, r.Ended, r.Error = "failed", nil, now, "corrupt: a byte is wrong"

	out.Reset()

	if err := runs.Write(&out, r, now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}

	if !strings.Contains(out.String(), "failed") || !strings.Contains(out.String(), "a byte is wrong") || strings.Contains(out.String(), "1 h") {
		t.Error(out.String())
	}
}
