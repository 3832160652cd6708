package workflows_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/workflow"

	"drctl/activities"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/targets"
	"drctl/workflows"
)

func archiveIn() workflows.ArchiveIn {
	return workflows.ArchiveIn{Shard: platform.Shard{Shard: id("orders/0"), Queue: queueOf("east")}}
}

func TestArchiveContinuesAsNew(t *testing.T) {
	w := newWorld()
	e := env(t, w)
	e.ExecuteWorkflow(workflows.Archive, archiveIn())

	var again *workflow.ContinueAsNewError
	if err := e.GetWorkflowError(); !errors.As(err, &again) || again.WorkflowType.Name != workflows.ArchiveName {
		t.Fatalf("%v", err)
	}

	if w.count("FollowShard orders/0") != 100 {
		t.Fatalf("%d rounds", len(w.calls))
	}
}

func TestArchiveSurvivesErrorsThatNoRetryMends(t *testing.T) {
	w := newWorld()
	n := 0
	w.hook = func(context.Context, string) error {
		if n++; n <= 3 {
			return fail.New(fail.Denied, "follow", "orders/0@east", "", errors.New("password authentication failed"))
		}

		return nil
	}
	e := env(t, w)
	e.ExecuteWorkflow(workflows.Archive, archiveIn())

	var again *workflow.ContinueAsNewError
	if err := e.GetWorkflowError(); !errors.As(err, &again) {
		t.Fatalf("it gave up: %v", err)
	}

	if n != 100 {
		t.Fatalf("%d calls: it does not go on after the error", n)
	}
	// It waits, so that a wrong password does not lock an account.
	if d := e.Now().Sub(t0); d < 90*time.Second {
		t.Fatalf("three failures took %v", d)
	}
}

func TestArchiveRetriesWhatARetryMends(t *testing.T) {
	w := newWorld()
	n := 0
	w.hook = func(context.Context, string) error {
		if n++; n%2 == 1 {
			return fail.New(fail.Unavailable, "follow", "orders/0", "", errors.New("connection refused"))
		}

		return nil
	}
	e := env(t, w)
	e.ExecuteWorkflow(workflows.Archive, archiveIn())

	var again *workflow.ContinueAsNewError
	if err := e.GetWorkflowError(); !errors.As(err, &again) || n != 200 {
		t.Fatalf("%v after %d calls", err, n)
	}
}

func TestArchiveCancelled(t *testing.T) {
	// While it follows, and while it waits after an error.
	w := newWorld()
	e := env(t, w)
	w.cancelAt(e, 3)
	e.ExecuteWorkflow(workflows.Archive, archiveIn())
	wantCanceled(t, e.GetWorkflowError())

	if len(w.calls) != 3 {
		t.Fatalf("%d calls", len(w.calls))
	}
	w = newWorld()
	w.fail["FollowShard"] = broken("orders/0")
	e = env(t, w)
	e.RegisterDelayedCallback(e.CancelWorkflow, 10*time.Second)
	e.ExecuteWorkflow(workflows.Archive, archiveIn())
	wantCanceled(t, e.GetWorkflowError())

	if len(w.calls) != 1 {
		t.Fatalf("%d calls", len(w.calls))
	}
}

// An interrupted log gets a base of that one shard, and following goes on.
func TestArchiveAsksForABase(t *testing.T) {
	w := newWorld()
	w.broken = 1
	e := env(t, w)
	e.ExecuteWorkflow(workflows.Archive, archiveIn())

	var again *workflow.ContinueAsNewError
	if err := e.GetWorkflowError(); !errors.As(err, &again) {
		t.Fatal(err)
	}

	if w.count("TakeBase") != 1 || w.count("TakeBase orders/0") != 1 || w.count("CopyVault orders/0 east>west") != 1 {
		t.Fatalf("calls %v", w.calls)
	}

	if w.asked[0] || !w.asked[1] || w.asked[len(w.asked)-1] || len(w.asked) != 100 {
		t.Fatalf("asked %v", w.asked)
	}
}

// A vault that has the log and no base that leads to it gets the bases of
// another, once at a time, and following goes on meanwhile.
func TestArchiveCopiesBases(t *testing.T) {
	w := newWorld()
	w.copies = []activities.CopyIn{{Shard: id("orders/0"), From: "east", To: "west"}}
	e := env(t, w)
	e.ExecuteWorkflow(workflows.Archive, archiveIn())

	var again *workflow.ContinueAsNewError
	if err := e.GetWorkflowError(); !errors.As(err, &again) {
		t.Fatal(err)
	}

	if w.count("TakeBase") != 0 || w.count("CopyVault") != 1 || w.count("CopyVault orders/0 east>west") != 1 || w.count("FollowShard") != 100 {
		t.Fatalf("calls %v", w.calls)
	}

	if w.asked[0] || !w.asked[1] || w.asked[len(w.asked)-1] {
		t.Fatalf("asked %v", w.asked)
	}
}

// Archiving goes on in a new run although a copy does not end.
func TestArchiveDoesNotWaitForACopy(t *testing.T) {
	w := newWorld()
	w.copies = []activities.CopyIn{{Shard: id("orders/0"), From: "east", To: "west"}}

	end := make(chan struct{})
	defer close(end)
	w.hook = func(_ context.Context, call string) error {
		if call == "CopyVault orders/0 east>west" {
			<-end
		}

		return nil
	}
	e := env(t, w)
	e.ExecuteWorkflow(workflows.Archive, archiveIn())

	var again *workflow.ContinueAsNewError
	if err := e.GetWorkflowError(); !errors.As(err, &again) || w.count("FollowShard") != 100 {
		t.Fatalf("%v after %d rounds", err, w.count("FollowShard"))
	}
}

// A configuration that does not know the group, or an engine that starts no
// child, does not stop the archiving.
func TestArchiveGoesOnWithoutABase(t *testing.T) {
	w := newWorld()
	w.broken = 1
	w.fail["DescribeGroup"] = broken("shop")
	e := env(t, w)
	e.ExecuteWorkflow(workflows.Archive, archiveIn())

	var again *workflow.ContinueAsNewError
	if err := e.GetWorkflowError(); !errors.As(err, &again) || w.count("FollowShard") != 100 || w.count("TakeBase") != 0 {
		t.Fatalf("%v, %d rounds", err, w.count("FollowShard"))
	}
}

// While another backup of the group runs the base waits for it; it outlives
// the archiver that asked for it.
func TestArchiveWaitsForAnotherBackup(t *testing.T) {
	r := newRealEngine(t)
	w := newWorld()
	w.broken = 1 << 20 // no base ends it
	other := make(chan struct{})
	mine := make(chan struct{})
	end := make(chan struct{})
	w.hook = func(_ context.Context, call string) error {
		switch call {
		case "TakeBase orders/1":
			close(other)

			for w.count("FollowShard") < 4 {
				time.Sleep(10 * time.Millisecond)
			}
		case "TakeBase orders/0":
			close(mine)
			<-end
		case "FollowShard orders/0":
			time.Sleep(50 * time.Millisecond)
		}

		return nil
	}

	ctx, c := context.WithTimeout(t.Context(), 3*time.Minute)
	defer c()

	for _, q := range []string{"east", "east/archive"} {
		wk := r.worker(t, w, q)
		defer wk.Stop()
	}

	start := func(id, name string, in any) client.WorkflowRun {
		run, err := r.c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: id, TaskQueue: queueOf("east")}, name, in)
		if err != nil {
			t.Fatal(err)
		}

		return run
	}
	first := start(workflows.IDs("").Backup("shop"), workflows.TakeBackupName, workflows.TakeBackupIn{Group: group(), Shards: []targets.ShardID{id("orders/1")}})

	<-other
	arch := start(workflows.IDs("").Archive(id("orders/0")), workflows.ArchiveName, archiveIn())

	if err := first.Get(ctx, nil); err != nil {
		t.Fatal(err)
	}

	select {
	case <-mine:
	case <-ctx.Done():
		t.Fatalf("no base was taken after the other backup: %v", w.calls)
	}

	if err := r.c.CancelWorkflow(ctx, arch.GetID(), arch.GetRunID()); err != nil {
		t.Fatal(err)
	}

	wantCanceled(t, arch.Get(ctx, nil))
	close(end)

	var out workflows.BackupOut
	if err := r.c.GetWorkflow(ctx, workflows.IDs("").Backup("shop"), "").Get(ctx, &out); err != nil || len(out.Bases) != 1 || out.Bases[0].Error != "" {
		t.Fatalf("the backup ended with the archiver: %+v %v", out, err)
	}
}
