package history_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/restore/forecast"
	"drctl/restore/history"
	"drctl/restore/inventory"
	"drctl/restore/machine"
	"drctl/restore/plan"
	"drctl/restore/runs"
)

var now = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

func ago(days int) time.Time { return now.AddDate(0, 0, -days) }

const lasts = 90 * 24 * time.Hour

// world has vaults in two regions.
type world struct {
	*testing.T
	set   vault.Set
	roots map[string]string
	epoch uint64
}

func newWorld(t *testing.T) *world {
	t.Helper()

	w := &world{T: t, set: vault.Set{Durability: 1}, roots: map[string]string{}}

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	for _, region := range []string{"west", "east"} {
		w.roots[region] = filepath.Join(t.TempDir(), region)

		v, err := vault.Init(t.Context(), vault.Options{Region: region, Set: "6f327b85-4a6c-446e-b2c5-9e1f4b163b8e", Location: vault.Location{URL: "file://" + w.roots[region]}, Key: key})
		if err != nil {
			t.Fatal(err)
		}
		w.set.Vaults = append(w.set.Vaults, v)
	}

	return w
}

// definition is a plan with a limit, by which plans differ.
func definition(limit time.Duration) plan.Definition {
	return plan.Definition{Format: plan.ActionsFormat, Group: "shop", Mode: plan.ModeFailover, Into: plan.Instances, From: "east", To: "west", Choice: plan.Newest,
		Steps: []plan.StepDef{{ID: "tell", Do: plan.OpNotify, Limit: limit, IfFails: plan.GoOn, With: plan.Args{Notify: &plan.Notify{Text: "it is done"}}}}}
}

func (w *world) save(kind, id string, x any) {
	w.Helper()

	if _, err := w.set.SaveReport(w.Context(), kind, id, x); err != nil {
		w.Fatal(err)
	}
}

type m = map[string]any

// run keeps a run that began so many days ago; an empty verdict is one that nobody knows to have ended.
func (w *world) run(d plan.Definition, days int, verdict machine.Verdict, verify machine.Status) string {
	w.Helper()

	if _, err := inventory.SaveDefinition(w.Context(), w.set, d); err != nil {
		w.Fatal(err)
	}

	w.epoch++
	at := ago(days)
	id := at.Format("20060102T150405") + fmt.Sprintf("-000-run%d", w.epoch)
	w.save(runs.PromotionKind("shop"), runs.EpochID(w.epoch), runs.Promotion{Epoch: w.epoch, Run: id, By: "ann", Mode: d.Mode, From: d.From, To: d.To, Plan: d.Hash(), At: at})

	if verdict != "" {
		w.save(runs.EndKind("shop"), id, m{"verdict": verdict, "started": at, "finished": at.Add(time.Minute), "steps": []m{
			{"id": "takeover", "op": "section", "status": "done", "inside": []m{{"id": "promote-orders/0", "status": "done", "took_ns": 2 * time.Second}, {"id": "release-pool", "status": "failed", "took_ns": time.Second}}},
			{"id": "approve", "op": "approve", "status": "done", "started": at, "finished": at.Add(30 * time.Second)},
			{"id": "verify-orders/0", "op": "verify", "status": verify, "started": at, "finished": at.Add(5 * time.Second)}}})
	}

	return id
}

type known struct {
	forecast.Verification
	history.Recent
	err error
}

func (w *world) ask(d plan.Definition, not ...string) known {
	w.Helper()

	r := history.Read(w.Context(), w.set, "shop", now, lasts)

	return known{r.Verified(history.Ask{Plan: d.Hash(), To: d.To, Mode: d.Mode, Not: strings.Join(not, "")}), r, r.Err()}
}

// TestVerified: what makes a plan verified, and what takes that away.
func TestVerified(t *testing.T) {
	d, edited := definition(time.Minute), definition(time.Hour)

	for name, c := range map[string]struct {
		runs     func(w *world)
		verified bool
		why      string
	}{
		"nothing ran":               {func(*world) {}, false, "no drill of it has passed"},
		"it ran well":               {func(w *world) { w.run(d, 3, machine.Reached, machine.Done) }, true, "passed"},
		"it ran well too long ago":  {func(w *world) { w.run(d, 91, machine.Reached, machine.Done) }, false, "too long ago"},
		"it was edited":             {func(w *world) { w.run(edited, 3, machine.Reached, machine.Done) }, false, "edited"},
		"it was taken back":         {func(w *world) { w.run(d, 3, machine.TakenBack, "") }, false, "taken back"},
		"a check failed":            {func(w *world) { w.run(d, 3, machine.Reached, machine.Failed) }, false, "verify-orders/0"},
		"a check was left out":      {func(w *world) { w.run(d, 3, machine.Reached, machine.Skipped) }, false, "verify-orders/0"},
		"nothing was checked":       {func(w *world) { w.unchecked(d, 3) }, false, "nothing was checked"},
		"a step was passed over":    {func(w *world) { w.waived(d, 3, "reroute", "ann: the balancer is new") }, false, "passed over by ann"},
		"a person has vouched":      {func(w *world) { w.waived(d, 3, "fence", "ann: it has burned down") }, true, "passed"},
		"a step of another mode":    {func(w *world) { w.waived(d, 3, "exec", machine.OtherMode) }, true, "passed"},
		"nobody knows of its end":   {func(w *world) { w.run(d, 9, machine.Reached, machine.Done); w.run(d, 3, "", "") }, false, "no vault knows that it ended"},
		"the newest ended badly":    {func(w *world) { w.run(d, 9, machine.Reached, machine.Done); w.run(d, 3, machine.Parted, "") }, false, "parted"},
		"the newest ended well":     {func(w *world) { w.run(d, 9, machine.Parted, ""); w.run(d, 3, machine.Reached, machine.Done) }, true, "passed"},
		"another plan ended badly":  {func(w *world) { w.run(d, 9, machine.Reached, machine.Done); w.run(edited, 3, machine.Parted, "") }, true, "passed"},
		"a drill passed":            {func(w *world) { w.drill(d, 3, true) }, true, "drill"},
		"a newer drill of it fails": {func(w *world) { w.run(d, 9, machine.Reached, machine.Done); w.drill(d, 3, false) }, false, "the proxy was not moved"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.runs(w)

			got := w.ask(d)
			if got.err != nil || got.Verification.Verified != c.verified || !strings.Contains(got.Why, c.why) {
				t.Errorf("%+v", got)
			}
		})
	}
}

func (w *world) drill(d plan.Definition, days int, passed bool) {
	w.Helper()

	x := history.Drill{ID: fmt.Sprintf("game-%d", days), Plan: d.Hash(), Mode: d.Mode, From: d.From, To: d.To, By: "bob", Started: ago(days), Finished: ago(days).Add(time.Minute), Passed: passed}
	if !passed {
		x.Why = "the proxy was not moved"
	}

	for range 2 { // it may be repeated
		if err := history.SaveDrill(w.Context(), w.set, "shop", x); err != nil {
			w.Fatal(err)
		}
	}
}

// TestTheRunThatAsksDoesNotCount: a plan does not vouch for itself, and its run is no failure yet.
func TestTheRunThatAsksDoesNotCount(t *testing.T) {
	w, d := newWorld(t), definition(time.Minute)
	w.run(d, 9, machine.Reached, machine.Done)
	id := w.run(d, 0, "", "")

	open := func(context.Context, string, string) (vault.Set, error) { return w.set, nil }

	if said, err := history.Precheck(t.Context(), open, d, id, 0); err != nil || !strings.Contains(said, "passed") {
		t.Errorf("%q, %v", said, err)
	}

	if _, err := history.Precheck(t.Context(), open, definition(time.Hour), id, 0); !fail.Is(err, fail.Unverified) || !strings.Contains(err.Error(), "edited") {
		t.Errorf("another plan: %v", err)
	}

	if got := w.ask(d, id); !got.Verification.Verified || got.Region() != "west" {
		t.Errorf("%+v", got)
	}
}

// TestSilentVault: the vault of the region that takes over has to tell; another may be gone.
func TestSilentVault(t *testing.T) {
	w, d := newWorld(t), definition(time.Minute)
	w.run(d, 3, machine.Reached, machine.Done)

	both := w.set.Vaults
	w.set.Vaults = both[:1]

	if got := w.ask(d); !got.Verification.Verified {
		t.Errorf("the vault of west alone: %+v", got)
	}

	w.set.Vaults = both[1:]

	if got := w.ask(d); got.Verification.Verified || !strings.Contains(got.Why, "the vault of west") {
		t.Errorf("the vault of east alone: %+v", got)
	}

	w.set.Vaults = both
	w.spoil("west", runs.EndKind("shop"), "")

	if got := w.ask(d); got.Verification.Verified || !fail.Is(got.err, fail.Corrupt) {
		t.Errorf("a record that cannot be read: %+v", got)
	}
}

// spoil damages every record of a kind in a vault whose name has a part.
func (w *world) spoil(region, kind, part string) {
	w.Helper()

	found, err := filepath.Glob(filepath.Join(w.roots[region], "reports", kind, "*"+part+"*"))
	if err != nil || len(found) == 0 {
		w.Fatalf("nothing to spoil of %s: %v", kind, err)
	}

	for _, f := range found {
		if err := os.WriteFile(f, []byte("damaged"), 0o600); err != nil {
			w.Fatal(err)
		}
	}
}

// TestWhatIsTooOldIsNotRead: the records of years do not slow the question down, and cannot stop it.
func TestWhatIsTooOldIsNotRead(t *testing.T) {
	w, d := newWorld(t), definition(time.Minute)
	for i := range 5 {
		w.run(d, 400-i, machine.Reached, machine.Done)
	}

	for _, region := range []string{"west", "east"} {
		for n := range 4 { // but the last of them, which says that the rest is older
			w.spoil(region, runs.PromotionKind("shop"), runs.EpochID(uint64(n+1)))
		}

		w.spoil(region, runs.EndKind("shop"), "")
	}

	w.run(d, 3, machine.Reached, machine.Done)

	if got := w.ask(d); got.err != nil || !got.Verification.Verified || len(got.Samples()) != 3 {
		t.Errorf("%+v", got)
	}
}

// TestPlans lists what was used, and what each edit changed.
func TestPlans(t *testing.T) {
	w, d, edited := newWorld(t), definition(time.Minute), definition(time.Hour)
	w.run(d, 30, machine.Reached, machine.Done)
	w.run(d, 20, machine.TakenBack, "")
	w.drill(edited, 5, true)

	if _, err := inventory.SaveDefinition(t.Context(), w.set, edited); err != nil {
		t.Fatal(err)
	}

	all, err := history.Plans(t.Context(), w.set, "shop", "", lasts, now)
	if err != nil || len(all) != 2 {
		t.Fatalf("%v %+v", err, all)
	}

	newer, older := all[0], all[1]
	if newer.Hash != edited.Hash() || !newer.Verification.Verified || newer.Before != d.Hash() || len(newer.Changes) != 1 || newer.Changes[0].Field != "limit_ns" {
		t.Errorf("%+v", newer)
	}

	if older.Hash != d.Hash() || older.Verification.Verified || !older.First.Equal(ago(30)) || !older.Last.Equal(ago(20)) || len(older.Entries) != 2 ||
		older.Entries[1].Took != time.Minute || older.Before != "" || strings.Join(older.By, " ") != "ann" {
		t.Errorf("%+v", older)
	}

	if all, err := history.Plans(t.Context(), w.set, "shop", plan.ModeSwitchover, lasts, now); err != nil || len(all) != 0 {
		t.Errorf("of another mode: %v %+v", err, all)
	}

	if b, err := json.Marshal(all); err != nil || !strings.Contains(string(b), `"changes"`) {
		t.Errorf("%v %s", err, b)
	}
}

// TestParted: what did not bring two regions together again leaves them apart since before it.
func TestParted(t *testing.T) {
	there, home := definition(time.Minute), definition(time.Minute)
	home.Mode, home.From, home.To = plan.ModeFailback, "west", "east"
	back, planned := definition(time.Minute), home
	back.From, back.To = "west", "east"
	planned.Mode = plan.ModeSwitchover

	for name, c := range map[string]struct {
		runs func(w *world)
		want time.Time
	}{
		"nothing ran":                    {func(*world) {}, time.Time{}},
		"a failover":                     {func(w *world) { w.run(there, 9, machine.Reached, machine.Done) }, ago(9)},
		"a failback that was broken off": {func(w *world) { w.run(there, 9, machine.Reached, machine.Done); w.run(home, 3, machine.Parted, "") }, ago(9)},
		"one whose end nobody knows":     {func(w *world) { w.run(there, 9, machine.Reached, machine.Done); w.run(home, 3, "", "") }, ago(9)},
		"one that was taken back":        {func(w *world) { w.run(there, 9, machine.Reached, machine.Done); w.run(home, 3, machine.TakenBack, "") }, ago(9)},
		"a failover each way": {func(w *world) {
			w.run(there, 9, machine.Reached, machine.Done)
			w.run(back, 3, machine.Reached, machine.Done)
		}, ago(9)},
		"a failback": {func(w *world) {
			w.run(there, 9, machine.Reached, machine.Done)
			w.run(home, 3, machine.Reached, machine.Done)
		}, ago(3)},
		"a failback, and a failover": {func(w *world) {
			w.run(there, 9, machine.Reached, machine.Done)
			w.run(home, 5, machine.Reached, machine.Done)
			w.run(there, 2, machine.Reached, machine.Done)
		}, ago(2)},
		"a planned way back, and a failover": {func(w *world) {
			w.run(there, 9, machine.Reached, machine.Done)
			w.run(planned, 5, machine.Reached, machine.Done)
			w.run(there, 2, machine.Reached, machine.Done)
		}, ago(2)},
		"a failback that reconciled nothing": {func(w *world) {
			w.run(there, 9, machine.Reached, machine.Done)
			w.reconciled(home, 3, machine.Done, "ann: later")
		}, ago(9)},
		"a failback that reconciled not all": {func(w *world) {
			w.run(there, 9, machine.Reached, machine.Done)
			w.reconciled(home, 3, machine.Failed, "")
		}, ago(9)},
		"a failback that reconciled it": {func(w *world) {
			w.run(there, 9, machine.Reached, machine.Done)
			w.reconciled(home, 3, machine.Done, "")
		}, ago(3)},
		"that, and another one broken off": {func(w *world) {
			w.run(there, 9, machine.Reached, machine.Done)
			w.reconciled(home, 5, machine.Done, "")
			w.run(there, 4, machine.Reached, machine.Done)
			w.run(home, 1, machine.Parted, "")
		}, ago(4)},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.runs(w)

			if got := history.Read(t.Context(), w.set, "shop", now, 0).Parted("east", "west", ""); !got.Equal(c.want) {
				t.Errorf("%s, not %s", got, c.want)
			}
		})
	}
}

// unchecked keeps a run of a plan without checks.
func (w *world) unchecked(d plan.Definition, days int) {
	w.Helper()
	id := w.run(d, days, "", "")
	w.save(runs.EndKind("shop"), id, m{"verdict": machine.Reached, "started": ago(days), "finished": ago(days).Add(time.Minute), "steps": []m{{"id": "tell", "op": "notify", "status": "done"}}})
}

// waived keeps a run with a step that counts as done.
func (w *world) waived(d plan.Definition, days int, op, why string) {
	w.Helper()
	id := w.run(d, days, "", "")
	w.save(runs.EndKind("shop"), id, m{"verdict": machine.Reached, "started": ago(days), "finished": ago(days).Add(time.Minute),
		"steps": []m{{"id": "it", "op": op, "status": "done", "waived": why}, {"id": "verify-orders/0", "op": "verify", "status": "done"}}})
}

// reconciled keeps a run with a step that brings buckets together.
func (w *world) reconciled(d plan.Definition, days int, status machine.Status, waived string) {
	w.Helper()
	id := w.run(d, days, "", "")
	w.save(runs.EndKind("shop"), id, m{"verdict": machine.Reached, "started": ago(days), "finished": ago(days).Add(time.Minute),
		"steps": []m{{"id": "return-media/0", "op": "reconcile", "status": status, "waived": waived}, {"id": "verify-orders/0", "op": "verify", "status": "done"}}})
}

// TestDrillsThatSayNothing are refused.
func TestDrillsThatSayNothing(t *testing.T) {
	w := newWorld(t)

	for _, d := range []history.Drill{{}, {ID: "d", Plan: "abc", Started: now, Finished: now}, {ID: "d", Plan: definition(1).Hash(), Started: now, Finished: ago(1)}} {
		if err := history.SaveDrill(context.Background(), w.set, "shop", d); !fail.Is(err, fail.Invalid) {
			t.Errorf("%+v: %v", d, err)
		}
	}
}
