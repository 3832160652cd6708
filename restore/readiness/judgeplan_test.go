package readiness

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/platform"
	"drctl/internal/vault"
	"drctl/restore/forecast"
	"drctl/restore/history"
	"drctl/restore/plan"
	"drctl/restore/readiness/problem"
)

// TestAnUnverifiedPlanIsAProblem, once somebody has thought of one.
func TestAnUnverifiedPlanIsAProblem(t *testing.T) {
	k, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err := vault.Init(t.Context(), vault.Options{Region: "west", Location: vault.Location{URL: "file://" + filepath.Join(t.TempDir(), "west")}, Key: k})
	if err != nil {
		t.Fatal(err)
	}
	set := vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}
	d := plan.Definition{Format: plan.ActionsFormat, Group: "shop", Mode: plan.ModeFailover, From: "east", To: "west", Steps: []plan.StepDef{{ID: "tell", Do: plan.OpNotify}}}

	wanted := false
	s := Sources{Failover: func(string, string) Failover { return Failover{Plan: d, Wanted: wanted, VerifiedFor: 24 * time.Hour} }}
	g := platform.Group{Name: "shop"}

	judged := func() string {
		f := Facts{now: time.Now(), plan: s.askPlan(t.Context(), g, []vaultFacts{{region: "west", v: v, policy: true}})}
		return strings.Join(problem.Texts(f.judgePlan(), f.now), "\n")
	}

	if got := judged(); got != "" {
		t.Errorf("nobody has thought of one: %q", got)
	}

	wanted = true

	if got := judged(); !strings.Contains(got, "the failover of shop from east to west is not verified: no drill of it has passed") || !strings.Contains(got, "drctl plan history --group shop --mode failover") {
		t.Errorf("nothing ran: %q", got)
	}

	at := time.Now().Add(-time.Hour)
	x := history.Drill{ID: "game", Plan: d.Hash(), Mode: d.Mode, From: d.From, To: d.To, Started: at, Finished: at.Add(time.Minute), Passed: true, Steps: []forecast.Sample{{Step: "tell", Took: time.Minute}}}

	if err := history.SaveDrill(t.Context(), set, "shop", x); err != nil {
		t.Fatal(err)
	}

	if got := judged(); got != "" {
		t.Errorf("it passed: %q", got)
	}

	if g.Policy.RTO = 30 * time.Second; !strings.Contains(judged(), "out of reach") {
		t.Errorf("it takes too long: %q", judged())
	}
	g.Policy.RTO = 0

	d.Steps[0].Limit = time.Minute
	wanted = false // somebody has: there was a drill

	if got := judged(); !strings.Contains(got, "it was edited since drill game passed") {
		t.Errorf("it was edited: %q", got)
	}
}
