package workflows_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/workflows"
)

func TestTakeBackup(t *testing.T) {
	w := newWorld()
	e := env(t, w)
	e.ExecuteWorkflow(workflows.TakeBackup, workflows.TakeBackupIn{Group: group()})

	var out workflows.BackupOut
	if err := e.GetWorkflowResult(&out); err != nil {
		t.Fatal(err)
	}

	if len(out.Bases) != 4 || w.count("TakeBase media") != 0 {
		t.Fatalf("%d bases: an object store has none, everything else has one: %v", len(out.Bases), w.calls)
	}

	for _, b := range out.Bases {
		if b.Error != "" || b.Base.ID == "" || len(b.CopiedTo) != 1 || b.CopiedTo[0] != "west" {
			t.Errorf("%+v", b)
		}

		if w.index(t, "TakeBase "+b.Shard.String()) > w.index(t, "CopyVault "+b.Shard.String()+" east>west") {
			t.Errorf("%s was copied before it was taken", b.Shard)
		}
	}

	if out.Bases[0].Base.ID == out.Bases[1].Base.ID {
		t.Error("two bases have one id")
	}

	if len(out.Objects) != 1 || out.Objects[0].Shard != id("media/0") || out.Objects[0].Position.Manifest == "" || out.Objects[0].Stats.Objects == 0 {
		t.Errorf("the object store has no snapshot: %+v", out.Objects)
	}

	if w.index(t, "SnapshotObjects media/0") > w.index(t, "CopyVault media/0 east>west") || strings.Join(out.Objects[0].StoredIn, ",") != "east,west" {
		t.Errorf("the vault that lagged is not brought up: %+v", out.Objects[0])
	}

	if w.index(t, "ShareCuts shop") != len(w.calls)-1 {
		t.Errorf("cuts are shared before what they need is copied: %v", w.calls)
	}
}

// The first snapshot of a large bucket takes as long as it takes: it must not
// end with what a cut allows.
func TestTakeBackupGivesObjectsTheirTime(t *testing.T) {
	w := newWorld()
	var limit time.Duration
	w.hook = func(ctx context.Context, call string) error {
		if call == "SnapshotObjects media/0" {
			info := activity.GetInfo(ctx)
			limit = info.Deadline.Sub(info.StartedTime)
		}

		return nil
	}
	e := env(t, w)
	g := group()
	g.Policy.SealWithin = time.Second
	e.ExecuteWorkflow(workflows.TakeBackup, workflows.TakeBackupIn{Group: g, Shards: []targets.ShardID{id("media/0")}})

	if err := e.GetWorkflowError(); err != nil || w.count("TakeBase") != 0 || limit < 23*time.Hour {
		t.Fatalf("%v %v, limit %v", err, w.calls, limit)
	}
}

func TestTakeBackupObjectsFail(t *testing.T) {
	w := newWorld()
	w.fail["SnapshotObjects media/0"] = broken("media/0@east")
	e := env(t, w)
	e.ExecuteWorkflow(workflows.TakeBackup, workflows.TakeBackupIn{Group: group()})

	var out workflows.BackupOut
	if err := e.GetWorkflowResult(&out); err != nil || len(out.Bases) != 4 || len(out.Objects) != 1 || !strings.Contains(out.Objects[0].Error, "media/0@east") {
		t.Fatalf("%v %+v", err, out)
	}
}

func TestTakeBackupOfSomeShards(t *testing.T) {
	w := newWorld()
	e := env(t, w)
	e.ExecuteWorkflow(workflows.TakeBackup, workflows.TakeBackupIn{Group: group(), Shards: []targets.ShardID{id("orders/2"), id("carts/0")}})

	if err := e.GetWorkflowError(); err != nil || w.count("TakeBase") != 2 || w.count("TakeBase orders/2") != 1 || w.count("TakeBase carts/0") != 1 {
		t.Fatalf("%v %v", err, w.calls)
	}
}

func TestTakeBackupOneShardFails(t *testing.T) {
	w := newWorld()
	w.fail["TakeBase orders/1"] = broken("orders/1@east")
	w.fail["CopyVault carts/0 east>west"] = broken("vault of west")
	e := env(t, w)
	e.ExecuteWorkflow(workflows.TakeBackup, workflows.TakeBackupIn{Group: group()})

	var out workflows.BackupOut
	if err := e.GetWorkflowResult(&out); err != nil {
		t.Fatal(err)
	}

	for _, b := range out.Bases {
		switch s := b.Shard.String(); s {
		case "orders/1":
			if !strings.Contains(b.Error, "orders/1@east") || b.Base.ID != "" || w.count("CopyVault orders/1") != 0 {
				t.Errorf("%+v", b)
			}
		case "carts/0":
			if b.Error != "" || b.Vault != "east" || !strings.Contains(b.Behind, "copy to west") || !strings.Contains(b.Behind, "planted") || b.Base.ID == "" {
				t.Errorf("%+v", b)
			}
		default:
			if b.Error != "" || len(b.CopiedTo) != 1 {
				t.Errorf("%s suffers from the others: %+v", s, b)
			}
		}
	}
}

// together reports whether two activities have run at once.
func (w *world) together() bool {
	w.mu.Lock()
	defer w.mu.Unlock()

	return w.most > 1
}

func TestTakeBackupKeepsItsWindow(t *testing.T) {
	for _, window := range []int{1, 2, 3} {
		w := newWorld()
		w.hook = func(_ context.Context, call string) error {
			// However late the next one begins, with two at once there are two in the end.
			for end := time.Now().Add(time.Minute); window == 2 && strings.HasPrefix(call, "TakeBase") && !w.together() && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}

			time.Sleep(15 * time.Millisecond)

			return nil
		}
		e := env(t, w)
		e.ExecuteWorkflow(workflows.TakeBackup, workflows.TakeBackupIn{Group: group(), Window: window})

		if err := e.GetWorkflowError(); err != nil || w.count("TakeBase") != 4 {
			t.Fatal(err, w.calls)
		}

		if w.most > window || window == 2 && w.most < 2 {
			t.Errorf("window %d: %d at once", window, w.most)
		}
	}
}

func TestTakeBackupCancelled(t *testing.T) {
	for n := 1; n <= 3; n++ {
		w := newWorld()
		e := env(t, w)
		w.cancelAt(e, n)
		e.ExecuteWorkflow(workflows.TakeBackup, workflows.TakeBackupIn{Group: group(), Window: 1})
		wantCanceled(t, e.GetWorkflowError())

		if w.count("TakeBase") > n {
			t.Errorf("cancelled at call %d: %v", n, w.calls)
		}
	}
}

func TestCheck(t *testing.T) {
	w := newWorld()
	e := env(t, w)
	e.ExecuteWorkflow(workflows.Check, workflows.CheckAllIn{Group: group(), ReadData: "1/7"})

	if err := e.GetWorkflowError(); err != nil || w.count("CheckVault") != 2 {
		t.Fatal(err, w.calls)
	}
	w = newWorld()
	e = env(t, w)
	e.ExecuteWorkflow(workflows.Check, workflows.CheckAllIn{Group: group(), Regions: []string{"west"}})

	if err := e.GetWorkflowError(); err != nil || len(w.calls) != 1 || w.calls[0] != "CheckVault west" {
		t.Fatal(err, w.calls)
	}
}

func TestCheckOfAVaultThatIsGone(t *testing.T) {
	for _, run := range []struct {
		activity string
		workflow any
	}{{"CheckVault", workflows.Check}, {"Retain", workflows.Retain}} {
		w := newWorld()
		w.fail[run.activity+" east"] = fail.New(fail.Denied, "vault: open", "vault of east", "", errors.New("wrong key"))
		e := env(t, w)
		e.ExecuteWorkflow(run.workflow, workflows.CheckAllIn{Group: group()})
		wantCode(t, e.GetWorkflowError(), fail.Denied, "vault of east", "wrong key")

		if w.count(run.activity+" west") != 1 {
			t.Errorf("%s: the other vault suffers: %v", run.activity, w.calls)
		}
	}
}

func TestCheckAndRetainCancelled(t *testing.T) {
	for _, run := range []any{workflows.Check, workflows.Retain} {
		w := newWorld()
		e := env(t, w)
		w.cancelAt(e, 1)
		e.ExecuteWorkflow(run, workflows.CheckAllIn{Group: group()})
		wantCanceled(t, e.GetWorkflowError())
	}
	w := newWorld()
	e := env(t, w)
	w.cancelAt(e, 1)
	e.ExecuteWorkflow(workflows.Retain, workflows.CheckAllIn{Group: group()})

	if len(w.calls) != 1 {
		t.Errorf("a cancelled retention goes on to the next vault: %v", w.calls)
	}
}
