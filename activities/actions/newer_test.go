package actions

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/testsuite"

	"drctl/activities/planned"
	"drctl/activities/section"
	"drctl/internal/engine"
	"drctl/internal/epoch"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/traffic"
	"drctl/internal/vault"
	"drctl/restore/inventory"
	"drctl/restore/machine"
	"drctl/restore/plan"
	"drctl/restore/runs"
	"drctl/targets"
)

// onlyVaults is a platform of which only vaults can be reached.
type onlyVaults struct {
	platform.OnlyVault
	set vault.Set
}

func (p onlyVaults) Set(context.Context, string, string) (vault.Set, error) { return p.set, nil }

func (p onlyVaults) Vault(_ context.Context, region string) (*vault.Vault, error) {
	for _, v := range p.set.Vaults {
		if v.Region() == region {
			return v, nil
		}
	}

	return nil, fail.Newf(fail.Unavailable, "vault", region, "it is away")
}

func (onlyVaults) Routes(context.Context, string) (traffic.Set, error) { return nil, nil }

func (onlyVaults) Host(targets.ShardID, string) (stop, start []string) { return nil, nil }

func (onlyVaults) Witnessed() bool { return false }

func (onlyVaults) Lease() time.Duration { return 0 }

func (onlyVaults) Epochs(context.Context, string) (*epoch.Log, error) {
	return nil, fail.Newf(fail.Unavailable, "epochs", "shop", "there is no witness")
}

func newVaults(t *testing.T, regions ...string) vault.Set {
	t.Helper()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	out := vault.Set{Durability: 1}
	id := ""

	for _, r := range regions {
		v, err := vault.Init(t.Context(), vault.Options{Region: r, Location: vault.Location{URL: "file://" + filepath.Join(t.TempDir(), r)}, Key: key, Set: id})
		if err != nil {
			t.Fatal(err)
		}
		id = v.SetID()
		out.Vaults = append(out.Vaults, v)
	}

	return out
}

// An old primary is not started again while a newer recovery may have promoted another
// server: whichever vault knows of that one, until its end says that it was taken back.
func TestAnOldPrimaryIsNotStartedAgainUnderANewerPromotion(t *testing.T) {
	set := newVaults(t, "west", "north")
	a := &Activities{Platform: onlyVaults{set: set}}
	d := plan.Definition{Group: "shop", Mode: plan.ModeSwitchover, From: "east", To: "west"}
	ctx := t.Context()

	promotion := func(v *vault.Vault, run string, epoch uint64) {
		t.Helper()

		if _, err := one(v).SaveReport(ctx, runs.PromotionKind("shop"), runs.EpochID(epoch), runs.Promotion{Epoch: epoch, Run: run, Mode: plan.ModeFailover, From: "east", To: "north"}); err != nil {
			t.Fatal(err)
		}
	}
	promotion(set.Vaults[0], "mine", 1)

	if err := a.newer(ctx, d, 1); err != nil {
		t.Fatalf("nothing newer: %v", err)
	}

	promotion(set.Vaults[1], "other", 2) // only the vault of the third region knows of it

	if err := a.newer(ctx, d, 1); !fail.Is(err, fail.Conflict) || !strings.Contains(err.Error(), "run other") {
		t.Fatalf("a newer promotion: %v", err)
	}

	ended := func(run string, verdict machine.Verdict) {
		t.Helper()

		if _, err := one(set.Vaults[1]).SaveReport(ctx, runs.EndKind("shop"), run, runs.End{Verdict: verdict}); err != nil {
			t.Fatal(err)
		}
	}
	ended("other", machine.TakenBack)

	if err := a.newer(ctx, d, 1); err != nil {
		t.Errorf("a newer one that was taken back: %v", err)
	}

	promotion(set.Vaults[1], "third", 3)
	ended("third", machine.Parted)

	if err := a.newer(ctx, d, 1); !fail.Is(err, fail.Conflict) {
		t.Errorf("a newer one that ended in between: %v", err)
	}

	gone := &Activities{Platform: onlyVaults{set: vault.Set{Vaults: set.Vaults[1:], Durability: 1}}}
	if err := gone.newer(ctx, d, 3); !fail.Is(err, fail.Unavailable) {
		t.Errorf("the vault that has the journal does not answer: %v", err)
	}
}

// What a run has done stands for who takes it up, where that is still true: the routes
// as they were before, and all once the section has begun. Silence is shown again.
func TestWhatStandsForWhoTakesARunUp(t *testing.T) {
	set := newVaults(t, "west")
	a := &Activities{Platform: onlyVaults{set: set}}
	ctx := t.Context()
	d := plan.Definition{Group: "shop", To: "west", Steps: []plan.StepDef{{ID: "routes", Do: plan.OpPrecheck}, {ID: "isolate-pool", Do: plan.OpReroute},
		{ID: "fence-orders/0", Do: plan.OpFence}, {ID: "promote-orders/0", Do: plan.OpPromote, Section: "takeover"}}}
	call := func(step string, take int) Call { return Call{Run: "r", Step: step, Take: take} }

	for _, s := range d.Steps[:3] {
		if err := a.keep(ctx, call(s.ID, 0), d, Done{Out: json.RawMessage(`"` + s.ID + `"`)}); err != nil {
			t.Fatal(err)
		}
	}

	stands := func(take int, want ...bool) {
		t.Helper()

		for i, s := range d.Steps[:3] {
			done, ok, err := a.already(ctx, call(s.ID, take), d, s)
			if err != nil || ok != want[i] || ok && string(done.Out) != `"`+s.ID+`"` {
				t.Errorf("%s, taken up %d times: %t, %+v, %v", s.ID, take, ok, done, err)
			}
		}
	}
	stands(0, false, false, false)
	stands(1, true, false, false)

	j := planned.Journal{Vault: set.Vaults[0], Group: "shop", Run: "r", Section: "takeover"}
	if err := section.NotBegun(ctx, j, "who could not begin it"); err != nil {
		t.Fatal(err)
	}

	stands(1, true, false, false)

	if err := j.Write(ctx, 2, section.Entry{Events: []section.Event{{Kind: section.Began}}}); err != nil {
		t.Fatal(err)
	}

	stands(1, true, true, false)
}

// Behind a promotion an engine that took the run up takes nothing back that came before it: neither clients to
// the side that was left, nor the epoch, nor a directory.
func TestNothingIsTakenBackBehindAPromotion(t *testing.T) {
	set := newVaults(t, "west")
	a := &Activities{Platform: onlyVaults{set: set}}
	d := plan.Definition{Format: plan.ActionsFormat, Group: "shop", Mode: plan.ModeFailover, From: "east", To: "west", Steps: []plan.StepDef{
		{ID: "fence-orders/0", Do: plan.OpFence, Region: "west", Undo: &plan.Undo{}, IfFails: plan.Abort, Limit: time.Minute, With: plan.Args{Fence: &plan.Fence{By: []string{plan.ByStatement}}}},
		{ID: "promote-orders/0", Do: plan.OpPromote, Region: "west", Section: "takeover", NoReturn: true, IfFails: plan.Abort, Limit: time.Minute, Needs: []string{"fence-orders/0"}}}}

	ref, err := inventory.SaveDefinition(t.Context(), set, d)
	if err != nil {
		t.Fatal(err)
	}

	undo := func(run string, take int, events ...section.Event) error {
		t.Helper()

		j := planned.Journal{Vault: set.Vaults[0], Group: "shop", Run: run, Section: "takeover"}
		if err := j.Write(t.Context(), 1, section.Entry{Events: events}); err != nil {
			t.Fatal(err)
		}

		if take > 0 {
			if err := a.takenUp(t.Context(), d, BeginIn{Run: run, Take: take}, 1, true); err != nil {
				t.Fatal(err)
			}
		}

		var suite testsuite.WorkflowTestSuite
		env := suite.NewTestActivityEnvironment()

		env.RegisterActivity(a.Undo)
		_, err := env.ExecuteActivity(a.Undo, Call{Run: run, Plan: ref, Mode: plan.ModeFailover, Step: "fence-orders/0", Take: take})

		return engine.DecodeError(err)
	}
	began, cancelled := section.Event{Kind: section.Began}, section.Event{Kind: section.Cancelled}
	failed := section.Event{Kind: section.Ended, Step: "promote-orders/0", Error: "its answer was lost"}

	if err := undo("own", 0, began); err != nil {
		t.Errorf("its own engine: %v", err)
	}

	if err := undo("untouched", 1); err != nil {
		t.Errorf("a section that did not begin: %v", err)
	}

	if err := undo("cancelled", 1, cancelled); err != nil {
		t.Errorf("a section that was taken back: %v", err)
	}

	for run, events := range map[string][]section.Event{"promoting": {began}, "asking": {began, failed}, "promoted": {began, {Kind: section.Ended, Step: "promote-orders/0"}}} {
		if err := undo(run, 1, events...); !fail.Is(err, fail.Conflict) || !strings.Contains(err.Error(), "may have promoted") {
			t.Errorf("%s: %v", run, err)
		}
	}
}

// Who has been taken up by another engine does nothing more; of two that take one up, one
// is late; and nothing is taken up that a newer recovery has overtaken.
func TestARunIsOneEngines(t *testing.T) {
	set := newVaults(t, "west")
	a := &Activities{Platform: onlyVaults{set: set}}
	ctx := t.Context()
	d := plan.Definition{Group: "shop", To: "west"}

	if err := a.superseded(ctx, Call{Run: "r"}, d, true); err != nil {
		t.Fatal(err)
	}

	in := BeginIn{Run: "r", By: "ann", Take: 1, Token: "first"}
	for range 2 { // its own attempt, repeated
		if err := a.takenUp(ctx, d, in, 1, true); err != nil {
			t.Fatal(err)
		}
	}

	for _, sure := range []bool{true, false} {
		if err := a.superseded(ctx, Call{Run: "r"}, d, sure); !fail.Is(err, fail.Conflict) {
			t.Errorf("the engine before goes on: %v", err)
		}
	}

	if err := a.superseded(ctx, Call{Run: "r", Take: 1}, d, true); err != nil {
		t.Errorf("the engine that took it up: %v", err)
	}
	in.Token = "second"

	if err := a.takenUp(ctx, d, in, 1, true); !fail.Is(err, fail.Conflict) {
		t.Errorf("taken up twice: %v", err)
	}

	if err := a.takenUp(ctx, d, BeginIn{Run: "r", Take: 2}, 3, false); !fail.Is(err, fail.Conflict) || !strings.Contains(err.Error(), "epoch 2") {
		t.Errorf("overtaken: %v", err)
	}
}
