package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/workflow"

	"drctl/internal/engine"
	"drctl/internal/engine/enginetest"
	"drctl/internal/fail"
	"drctl/workflows"
)

// apply is drctl apply with the configuration as it is now.
func (p *twoRegions) apply(t *testing.T, primary string, flags ...string) (string, error) {
	t.Helper()
	return command(t.Context(), p.config(t, primary), append([]string{"apply"}, flags...)...)
}

func (p *twoRegions) mustApply(t *testing.T, primary string, flags ...string) string {
	t.Helper()

	out, err := p.apply(t, primary, flags...)
	if err != nil {
		t.Fatal(err)
	}

	return out
}

// schedules lists the engine's schedules, sorted.
func (p *twoRegions) schedules(t *testing.T, c client.Client) (ids []string) {
	t.Helper()

	list, err := c.ScheduleClient().List(t.Context(), client.ScheduleListOptions{})
	if err != nil {
		t.Fatal(err)
	}

	for list.HasNext() {
		e, err := list.Next()
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, e.ID)
	}

	slices.Sort(ids)

	return ids
}

// runs lists what runs and whether its queue is as expected, sorted.
func (p *twoRegions) runs(t *testing.T, c client.Client, prefix string) (runs []string) {
	t.Helper()

	rs, err := engine.Running(t.Context(), c, "")
	if err != nil {
		t.Fatal(err)
	}

	for _, r := range rs {
		if strings.Contains(r.ID, prefix) {
			runs = append(runs, r.ID+" on "+r.Queue)
		}
	}

	slices.Sort(runs)

	return runs
}

// eventuallyEqual waits for the engine's lists, which are behind.
func eventuallyEqual(t *testing.T, what string, get func() []string, want ...string) {
	t.Helper()

	var got []string
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if got = get(); slices.Equal(got, want) {
			return
		}
	}

	t.Fatalf("%s are\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
}

// Production and staging share a namespace: what the one applies leaves the
// other's alone, and their workers serve different queues.
func TestTwoPlatformsInOneNamespace(t *testing.T) {
	p := newTwoRegions(t)
	c := enginetest.Client(t, p.engine)
	of := func(platform string, kinds ...string) (out []string) {
		for _, k := range kinds {
			out = append(out, platform+":"+k+"/shop")
		}

		return out
	}
	p.platform = "production"
	p.mustApply(t, "east")
	p.platform = "staging"
	p.mustApply(t, "east")
	archivers := []string{"production:archive/orders/0 on drctl.production.east", "staging:archive/orders/0 on drctl.staging.east"}
	eventuallyEqual(t, "schedules", func() []string { return p.schedules(t, c) },
		append(of("production", "backup", "check", "cut", "retain"), of("staging", "backup", "check", "cut", "retain")...)...)
	eventuallyEqual(t, "archivers", func() []string { return p.runs(t, c, "archive/") }, archivers...)

	// Staging's go away, one by one and whole; production's stay, and are as they were.
	p.policy = "{cut: {every: 0s}, check: {every: 0s}}"

	p.target = "carts"
	if out := p.mustApply(t, "east"); strings.Contains(out, "production") {
		t.Errorf("apply of staging touched production:\n%s", out)
	}

	eventuallyEqual(t, "schedules", func() []string { return p.schedules(t, c) },
		append(of("production", "backup", "check", "cut", "retain"), of("staging", "backup", "retain")...)...)
	archivers[1] = "staging:archive/carts/0 on drctl.staging.east"
	eventuallyEqual(t, "archivers", func() []string { return p.runs(t, c, "archive/") }, archivers...)

	p.platform, p.target, p.policy = "production", "orders", "{stream: {vaults: [east, west], durability: 2}}"
	for line := range strings.Lines(p.mustApply(t, "east")) {
		if !strings.HasSuffix(line, ": kept\n") {
			t.Errorf("production was not left as it was: %s", line)
		}
	}
}

// What a drctl that did not tell platforms apart left is ended before its
// successor starts, but in a namespace that may be shared only when somebody
// says whose it is; what cannot be this platform's is never touched.
func TestApplyTakesOverFromAnOlderDrctl(t *testing.T) {
	for _, embedded := range []bool{false, true} {
		p := newTwoRegions(t)
		p.embedded = embedded

		c := enginetest.Client(t, p.engine)
		for _, id := range []string{"cut/shop", "retain/shop", "cut/other"} {
			if _, err := c.ScheduleClient().Create(t.Context(), client.ScheduleOptions{ID: id, Memo: map[string]any{"drctl.owner": "drctl"},
				Spec:   client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: time.Hour}}},
				Action: &client.ScheduleWorkflowAction{ID: "scheduled/" + id, Workflow: workflows.ScheduledName, TaskQueue: "drctl.west"}}); err != nil {
				t.Fatal(err)
			}
		}

		for _, id := range []string{"archive/orders/0", "scheduled/cut/shop-2026-03-14T01:59:26Z", "backup/shop", "archive/other/0", "restore/20260314T015926Z"} {
			if _, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: "drctl.east"}, workflows.ArchiveName); err != nil {
				t.Fatal(err)
			}
		}
		all := func() []string { return p.runs(t, c, "") }
		eventuallyEqual(t, "runs", all, "archive/orders/0 on drctl.east", "archive/other/0 on drctl.east", "backup/shop on drctl.east",
			"restore/20260314T015926Z on drctl.east", "scheduled/cut/shop-2026-03-14T01:59:26Z on drctl.east")
		eventuallyEqual(t, "schedules", func() []string { return p.schedules(t, c) }, "cut/other", "cut/shop", "retain/shop")

		if !embedded {
			_, err := p.apply(t, "east")
			if !fail.Is(err, fail.Conflict) || !strings.Contains(err.Error(), "archive/orders/0") || !strings.Contains(err.Error(), "--take-over") || strings.Contains(err.Error(), "archive/other") {
				t.Fatalf("apply beside an older drctl's: %v", err)
			}

			if s, r := p.schedules(t, c), all(); len(s) != 3 || len(r) != 5 {
				t.Fatalf("the refused apply changed something: %v %v", s, r)
			}

			p.mustApply(t, "east", "--take-over")
		} else {
			p.mustApply(t, "east")
		}

		eventuallyEqual(t, "runs", all, "archive/other/0 on drctl.east", "restore/20260314T015926Z on drctl.east", "small:archive/orders/0 on drctl.small.east", "small:observe/shop on drctl.small.west")
		eventuallyEqual(t, "schedules", func() []string { return p.schedules(t, c) },
			"cut/other", "small:backup/shop", "small:check/shop", "small:cut/shop", "small:retain/shop")
	}
}

// The home region is lost while a schedule's run waits for its worker: with
// another home the schedule runs again, and ids that runs held there are free.
func TestApplyEndsRunsThatWaitInALostRegion(t *testing.T) {
	p := newTwoRegions(t)
	c := enginetest.Client(t, p.engine)
	p.home, p.policy = "east", "{cut: {every: 2s}}"
	p.mustApply(t, "east")
	eventuallyEqual(t, "scheduled cuts", func() []string {
		var out []string
		for _, r := range p.runs(t, c, "scheduled/cut/shop-") {
			out = append(out, r[strings.LastIndex(r, " "):])
		}

		return out
	}, " drctl.small.east")

	for _, id := range []string{"small:backup/shop", "small:recover/shop"} {
		if _, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: "drctl.small.east"}, workflows.TakeBackupName); err != nil {
			t.Fatal(err)
		}
	}

	eventuallyEqual(t, "backups", func() []string { return p.runs(t, c, "backup/") }, "small:backup/shop on drctl.small.east")

	// Applied again, the region's worker may just be away: its work waits for it.
	if out := p.mustApply(t, "east"); strings.Contains(out, "ended") {
		t.Errorf("what waits where it belongs was ended:\n%s", out)
	}

	w := engine.NewWorker(c, "drctl.small.west", engine.WorkerOptions{})
	w.RegisterWorkflowWithOptions(workflows.Scheduled, workflow.RegisterOptions{Name: workflows.ScheduledName})
	ran := make(chan string, 100)
	w.RegisterWorkflowWithOptions(func(ctx workflow.Context, _ workflows.TakeCutIn) error {
		ran <- workflow.GetInfo(ctx).WorkflowExecution.ID
		return nil
	}, workflow.RegisterOptions{Name: workflows.TakeCutName})

	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	p.home = "west"

	out := p.mustApply(t, "west")
	if !strings.Contains(out, "small:backup/shop: ended (nobody serves drctl.small.east)") {
		t.Errorf("apply says:\n%s", out)
	}

	select {
	case id := <-ran:
		if id != "small:cut/shop" {
			t.Errorf("%s ran", id)
		}
	case <-time.After(3 * time.Minute):
		t.Error("the schedule is jammed")
	}

	eventuallyEqual(t, "runs in the east", func() []string {
		return slices.DeleteFunc(p.runs(t, c, ""), func(r string) bool { return !strings.HasSuffix(r, ".east") })
	}, "small:recover/shop on drctl.small.east") // a person's, who can end it
}
