package workflows_test

import (
	"encoding/json"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/workflows"
)

func scheduled(t *testing.T, w *world, workflow string, arg any) error {
	t.Helper()

	input, err := json.Marshal(arg)
	if err != nil {
		t.Fatal(err)
	}
	e := env(t, w)
	e.ExecuteWorkflow(workflows.Scheduled, workflows.ScheduledIn{ID: "fixed", Workflow: workflow, Queue: queueOf("east"), Input: input, Wait: time.Hour})

	return e.GetWorkflowError()
}

// Nobody reads the outcome of a scheduled run: what a person would have been
// told fails it, and its error names what is concerned.
func TestScheduledFailsWithWhatAPersonWouldBeTold(t *testing.T) {
	w := newWorld()
	if err := scheduled(t, w, workflows.TakeBackupName, workflows.TakeBackupIn{Group: group()}); err != nil || w.count("TakeBase") != 4 {
		t.Fatalf("a good backup: %v %v", err, w.calls)
	}
	w = newWorld()
	w.fail["TakeBase orders/1"] = broken("orders/1@east")
	w.fail["CopyVault carts/0 east>west"] = broken("vault of west")
	wantCode(t, scheduled(t, w, workflows.TakeBackupName, workflows.TakeBackupIn{Group: group()}), fail.Unavailable, "orders/1: ", "carts/0: copy to west", "planted")
	w = newWorld()
	w.fail["SnapshotObjects media/0"] = broken("media/0@east")
	wantCode(t, scheduled(t, w, workflows.TakeBackupName, workflows.TakeBackupIn{Group: group()}), fail.Unavailable, "media/0: ", "planted")
	w = newWorld()
	w.fail["ShareCuts"] = broken("vault of west")
	wantCode(t, scheduled(t, w, workflows.TakeBackupName, workflows.TakeBackupIn{Group: group()}), fail.Unavailable, "cuts: ", "planted")

	w = newWorld()
	if err := scheduled(t, w, workflows.CheckName, workflows.CheckAllIn{Group: group()}); err != nil || w.count("CheckVault") != 2 {
		t.Fatalf("a good check: %v %v", err, w.calls)
	}
	w = newWorld()
	w.findings["check west"] = []targets.Finding{{Check: "vault: encrypted objects", Subject: "west: streams/x", Severity: targets.Failed}, {Severity: targets.Passed}}
	wantCode(t, scheduled(t, w, workflows.CheckName, workflows.CheckAllIn{Group: group()}), fail.Unverified, "vault of west: 1 of 7 checks failed", "streams/x")

	w = newWorld()
	wantCode(t, scheduled(t, w, workflows.RunDrillName, drillIn()), fail.Unverified, "drill show report")

	w = newWorld()
	if err := scheduled(t, w, workflows.RetainName, workflows.CheckAllIn{Group: group()}); err != nil {
		t.Fatal(err)
	}
	w.fail["Retain west"] = broken("vault of west")
	wantCode(t, scheduled(t, w, workflows.RetainName, workflows.CheckAllIn{Group: group()}), fail.Corrupt, "vault of west")
}
