package actions

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/activities/claims"
	"drctl/internal/epoch"
	"drctl/internal/fail"
	"drctl/internal/silence"
	"drctl/internal/vault"
	"drctl/restore/plan"
	"drctl/targets"
)

// witnessed is a platform of two vaults and a witness in directories. Each process has a
// log of its own.
type witnessed struct {
	Resolver
	t     *testing.T
	dir   string
	key   vault.Key
	lease time.Duration
}

func newWitnessed(t *testing.T) *witnessed {
	t.Helper()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	return &witnessed{t: t, dir: t.TempDir(), key: key, lease: 2 * time.Second}
}

func (w *witnessed) Witnessed() bool      { return true }
func (w *witnessed) Lease() time.Duration { return w.lease }

func (w *witnessed) Epochs(ctx context.Context, group string) (*epoch.Log, error) {
	seal, err := epoch.NewSeal(w.key, "set")
	if err != nil {
		return nil, err
	}
	c := epoch.Config{Group: group, Codec: seal, By: "test", Patience: time.Minute}

	for _, n := range []string{"east", "west", "witness"} {
		s, err := vault.OpenStore(ctx, vault.Location{URL: "file://" + filepath.Join(w.dir, n)})
		if err != nil {
			return nil, err
		}
		c.Voters = append(c.Voters, epoch.Voter{Name: n, Store: s})
	}

	l, err := epoch.Open(c)
	if err == nil {
		w.t.Cleanup(l.Close)
	}

	return l, err
}

func definition(m plan.Mode) plan.Definition {
	return plan.Definition{Group: "shop", Mode: m, From: "east", To: "west", Steps: []plan.StepDef{{ID: "claim", Do: plan.OpClaim},
		{ID: "fence-orders/0", Do: plan.OpFence, On: targets.ShardID{Target: "orders", Shard: "0"}}}}
}

// part is the part of a process in the epochs of a run that has just begun.
func (w *witnessed) part(run string, m plan.Mode, began Begun) *claims.Part {
	w.t.Helper()
	a := &Activities{Platform: w, Log: slog.New(slog.DiscardHandler)}

	e, err := a.epochs(w.t.Context(), Call{Run: run, Epoch: began.Epoch, Behind: began.Behind}, definition(m))
	if err != nil {
		w.t.Fatal(err)
	}

	return e
}

// begins is what a run knows when it begins.
func (w *witnessed) begins() Begun {
	w.t.Helper()
	a := &Activities{Platform: w, Log: slog.New(slog.DiscardHandler)}
	id, n := a.newest(w.t.Context(), "shop")

	return Begun{Epoch: n + 1, Behind: id}
}

// TestTwoRunsOfOneGroup: both have begun, and one has the group. The other may promote
// nothing, and does not give back what it has not got.
func TestTwoRunsOfOneGroup(t *testing.T) {
	w := newWitnessed(t)
	ctx := t.Context()
	began := w.begins()
	second := Begun{Epoch: began.Epoch + 1, Behind: began.Behind} // the vaults gave it the next number

	one := w.part("one", plan.ModeSwitchover, began)
	if _, err := one.Claim(ctx); err != nil {
		t.Fatal(err)
	}

	two := w.part("two", plan.ModeSwitchover, second)
	if _, err := two.Claim(ctx); !fail.Is(err, fail.Conflict) {
		t.Errorf("a second run claims: %v", err)
	}

	if _, err := two.Held(ctx); !fail.Is(err, fail.Conflict) {
		t.Errorf("a second run promotes: %v", err)
	}

	if left, err := one.Held(ctx); err != nil || left <= 0 {
		t.Errorf("the first: %s, %v", left, err)
	}

	// Another process goes on with the first run.
	again := w.part("one", plan.ModeSwitchover, began)
	if _, err := again.Claim(ctx); err != nil {
		t.Errorf("claimed again: %v", err)
	}

	if left, err := w.part("one", plan.ModeSwitchover, began).Held(ctx); err != nil || left <= 0 {
		t.Errorf("in another process: %s, %v", left, err)
	}

	for range 2 {
		if err := again.Back(ctx); err != nil {
			t.Fatal(err)
		}
	}

	time.Sleep(w.lease / 10) // by then it is asked again

	if _, err := one.Held(ctx); !fail.Is(err, fail.Conflict) {
		t.Error("the run has given the group back, and may promote")
	}

	if st := w.begins(); st.Epoch != began.Epoch+2 {
		t.Errorf("after it was given back: %+v", st)
	}
}

// TestGivenBackTooLate: somebody else has the group since. The old side must not write again.
func TestGivenBackTooLate(t *testing.T) {
	w := newWitnessed(t)
	began := w.begins()

	one := w.part("one", plan.ModeSwitchover, began)
	if _, err := one.Claim(t.Context()); err != nil {
		t.Fatal(err)
	}

	if _, err := w.part("two", plan.ModeSwitchover, w.begins()).Claim(t.Context()); err != nil {
		t.Fatal(err)
	}

	if err := one.Back(t.Context()); !fail.Is(err, fail.Conflict) {
		t.Errorf("given back: %v", err)
	}

	// A run without a claim has nothing to give back.
	if err := w.part("three", plan.ModeSwitchover, w.begins()).Back(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestAFailoverWithoutItsLostVoter begins the sequence with the majority that is left.
// Where a person let the claim go it is not asked for, unless somebody else has claimed.
func TestAFailoverWithoutItsLostVoter(t *testing.T) {
	w := newWitnessed(t)
	if err := os.WriteFile(filepath.Join(w.dir, "east"), nil, 0o600); err != nil {
		t.Fatal(err)
	}

	began := w.begins()
	waived := w.part("waived", plan.ModeFailover, began)
	waived.Waived = true

	if left, err := waived.Held(t.Context()); err != nil || left <= 0 {
		t.Errorf("let go by a person: %s, %v", left, err)
	}

	if _, err := w.part("one", plan.ModeFailover, began).Take(t.Context()); err != nil {
		t.Fatal(err)
	}

	if _, err := waived.Held(t.Context()); !fail.Is(err, fail.Conflict) {
		t.Errorf("somebody else has claimed: %v", err)
	}
}

// TestGuardsProofs: what a claim says of guards counts for its server, and unchanged.
func TestGuardsProofs(t *testing.T) {
	d := definition(plan.ModeFailover)
	key := silence.Key("k")
	proof := func(instance string) silence.Proof {
		return silence.Sign(silence.Proof{Kind: silence.Guard, Group: "shop", Shard: d.Steps[1].On, Instance: instance, Epoch: 3, By: "test",
			Guard: &silence.GuardEvidence{Guard: "host1", Holder: "east", To: "west", Instances: []string{instance}, Lease: time.Second, Waited: 2 * time.Second}}, key)
	}

	for name, c := range map[string]struct {
		proofs []silence.Proof
		epoch  uint64
		say    string
	}{
		"good":              {[]silence.Proof{proof("orders/0@east")}, 3, ""},
		"none":              {nil, 3, "no guard has answered for orders/0@east"},
		"of another server": {[]silence.Proof{proof("orders/0@north")}, 3, "no guard has answered for orders/0@east"},
		"of another epoch":  {[]silence.Proof{proof("orders/0@east")}, 4, "made for epoch 3"},
	} {
		p, err := proven(d, d.Steps[1], claims.Claimed{Proofs: c.proofs}, c.epoch, key)
		if (err == nil) != (c.say == "") || err != nil && !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v", name, err)
		}

		if err == nil && p.Instance != "orders/0@east" {
			t.Errorf("%s: %+v", name, p)
		}
	}
}
