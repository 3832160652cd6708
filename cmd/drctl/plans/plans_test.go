package plans_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"drctl/cmd/drctl/answer"
	"drctl/cmd/drctl/plans"
	"drctl/config"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/vault"
	"drctl/restore/choices"
	"drctl/restore/forecast"
	"drctl/restore/history"
	"drctl/restore/plan"
	"drctl/targets"
)

// promised is the objective of the example.
var promised time.Duration

// vaults are those that the commands find.
var vaults vault.Set

// run runs one command on the example configuration.
func run(t *testing.T, asJSON bool, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	f := plans.Faces{Out: &out, JSON: &asJSON, Load: func() (*config.Config, error) { return example(t), nil },
		Vaults: func(context.Context, string) (vault.Set, error) {
			if len(vaults.Vaults) == 0 {
				return vaults, errors.New("no vault is there")
			}

			return vaults, nil
		},
		Foresee: func(_ context.Context, _ *config.Config, a choices.Ask) choices.Table {
			asked = a
			return nobodyAnswers(t, a)
		}}

	c := f.Command()
	if args[0] == "simulate" {
		c, args = f.Simulate(), args[1:]
	}
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetArgs(args)
	c.SetContext(context.Background())
	err := c.Execute()

	return out.String(), err
}

// asked is what was to be foreseen last.
var asked choices.Ask

// nobody is a platform of which nothing answers.
type nobody struct{ platform.Resolver }

func (nobody) Group(string) (platform.Group, error) {
	return platform.Group{Policy: platform.Policy{Vaults: []string{"west"}}}, nil
}

func (nobody) Instance(context.Context, targets.ShardID, string) (targets.Instance, error) {
	return targets.Instance{}, errors.New("it is on fire")
}

func (nobody) Vault(context.Context, string) (*vault.Vault, error) {
	return nil, errors.New("it is under water")
}

func nobodyAnswers(t *testing.T, a choices.Ask) choices.Table {
	return choices.Sources{Platform: nobody{}}.Foresee(t.Context(), a)
}

// TestBothWays: the plan of a failover comes with both ways. Where nobody answers all is unknown, with the
// reason; and what was foreseen is no part of the plan.
func TestBothWays(t *testing.T) {
	out, err := run(t, false, "show", "--mode", "failover")
	if err != nil {
		t.Fatal(err)
	}

	for _, want := range []string{"newest (default, this plan)  unknown", "orders/0: its standby does not say where it stands: it is on fire", "the vault of west is left out: it is under water",
		"default: newest: the configuration has no recovery.shop.choice", "proven cannot run: "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}

	if out, err := run(t, false, "show"); err != nil || strings.Contains(out, "Two ways") {
		t.Errorf("a switchover has one way: %v\n%s", err, out)
	}

	kept, err := run(t, true, "show", "--mode", "failover")

	var is answer.PlanShown
	if uerr := json.Unmarshal([]byte(kept), &is); err != nil || uerr != nil || is.Choices == nil || len(is.Choices.Choices) != 2 {
		t.Fatalf("%v, %v\n%s", err, uerr, kept)
	}

	for _, c := range is.Choices.Choices {
		if c.RPO.Within != nil || c.RPO.Bytes != nil || c.RTO.P50 != nil || c.RPO.Why == "" || c.RTO.Why == "" {
			t.Errorf("%+v", c)
		}
	}

	if out, err := run(t, false, "diff", "--mode", "failover", write(t, kept)); err != nil {
		t.Errorf("what was foreseen is a part of the plan: %v\n%s", err, out)
	}

	if len(asked.Plans) != 2 || asked.Plans[0].Definition.Hash() == asked.Plans[1].Definition.Hash() || asked.Taken != plan.Newest {
		t.Errorf("%+v", asked)
	}
}

func example(t *testing.T) *config.Config {
	t.Helper()

	east, west := &config.Instance{Address: "e:1", Role: "primary"}, &config.Instance{Address: "w:1", Role: "standby"}
	shard := config.Shard{"east": east, "west": west}

	return &config.Config{Name: "shop", Regions: map[string]*config.Region{"east": {}, "west": {}},
		Targets:  map[string]*config.Target{"orders": {Kind: "postgres", Shards: map[string]config.Shard{"0": shard, "1": shard}}, "carts": {Kind: "redis", Shards: map[string]config.Shard{"0": shard}}},
		Groups:   map[string]*config.Group{"shop": {Targets: []string{"orders", "carts"}, Home: "east", Policy: "standard"}},
		Policies: map[string]*config.Policy{"standard": {Objectives: config.Objectives{RTO: promised}}}}
}

func write(t *testing.T, text string) string {
	t.Helper()

	path := filepath.Join(t.TempDir(), "f.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	return path
}

const extra = `{"routes": [{"name": "pool", "for": ["orders", "carts"], "holds": true}],
 "services": [{"name": "api", "tier": "application", "needs": ["orders"], "check": {"url": "https://api/health"}}],
 "policy": {"people": 2},
 "overlay": {"add": [{"id": "jobs", "do": "exec", "with": {"exec": {"command": ["stop-jobs"]}}, "limit_ns": 60000000000, "if_fails": "abort", "needs": ["approve"], "before": ["hold-*"]}]}}`

func TestShow(t *testing.T) {
	x := write(t, extra)

	out, err := run(t, false, "show", "--extra", x)
	if err != nil {
		t.Fatal(err)
	}

	for _, want := range []string{"switchover from east to west", "[switch]", "fence-orders/*", "2 people approve", "exec: stop-jobs", " 10s ", " 1m ", " 24h ", "POINT OF NO RETURN", "check-api", "There is no witness", "UNVERIFIED, as far as is known"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	// It is the plan that runs, with its rule for what is in doubt.
	if out, err := run(t, false, "show", "--mode", "failover"); err != nil || !strings.Contains(out, "resolve: "+plan.ResolveByGroup) {
		t.Errorf("%v %s", err, out)
	}

	svg := filepath.Join(t.TempDir(), "p.svg")

	if _, err := run(t, false, "show", "--extra", x, "--svg", svg); err != nil {
		t.Fatal(err)
	}

	if b, err := os.ReadFile(svg); err != nil || !bytes.Contains(b, []byte("promote-orders/*")) {
		t.Errorf("%v: %.200s", err, b)
	}

	if out, err := run(t, false, "show", "--mode", "failback"); err != nil || !strings.Contains(out, "from west to east") {
		t.Errorf("a failback goes home: %v %.100s", err, out)
	}

	for _, args := range [][]string{{"--mode", "war"}, {"--group", "ghost"}, {"--to", "east"}, {"--extra", write(t, `{"router": 1}`)}, {"--mode", "failover", "--choice", "proven"}} {
		if _, err := run(t, false, append([]string{"show"}, args...)...); !fail.Is(err, fail.Invalid) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// TestLintAndDiff: a plan that was edited by hand is compared and judged.
func TestLintAndDiff(t *testing.T) {
	x := write(t, extra)

	kept, err := run(t, true, "show", "--extra", x)
	if err != nil {
		t.Fatal(err)
	}

	if out, err := run(t, false, "lint", "--extra", x, write(t, kept)); err != nil || !strings.Contains(out, "nothing found") {
		t.Errorf("%v %s", err, out)
	}

	if out, err := run(t, true, "diff", "--extra", x, write(t, kept)); err != nil || strings.TrimSpace(out) != "[]" {
		t.Errorf("%v %s", err, out)
	}
	var d plan.Definition

	if err := json.Unmarshal([]byte(kept), &d); err != nil {
		t.Fatal(err)
	}

	for i := range d.Steps {
		d.Steps[i].Needs = slices.DeleteFunc(d.Steps[i].Needs, func(n string) bool { return strings.HasPrefix(n, "fence-") || strings.HasPrefix(n, "drain-") })
	}

	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	bad := write(t, string(b))

	if out, err := run(t, false, "lint", "--extra", x, bad); !fail.Is(err, fail.Unverified) || !strings.Contains(out, "without proof of silence") {
		t.Errorf("%v %s", err, out)
	}

	if out, err := run(t, false, "diff", write(t, kept), bad); !fail.Is(err, fail.Unverified) || !strings.Contains(out, "promote-orders/1") {
		t.Errorf("%v %s", err, out)
	}
}

func TestSimulate(t *testing.T) {
	x := write(t, extra)

	if out, err := run(t, false, "simulate", "--extra", x, "--schedules", "200"); err != nil || !strings.Contains(out, "VIOLATED 0") {
		t.Errorf("%v %s", err, out)
	}

	out, err := run(t, true, "simulate", "--mode", "failover", "--schedules", "300", "--plant", "no-proof")
	if !fail.Is(err, fail.Unverified) || !strings.Contains(out, "without proof of silence") {
		t.Errorf("%v %s", err, out)
	}

	if out, err := run(t, false, "simulate", "--extra", x, "--seed", "0", "--schedules", "1"); err != nil || !strings.Contains(out, "seed 0: reached") {
		t.Errorf("%v %s", err, out)
	}

	if _, err := run(t, false, "simulate", "--plant", "weeds"); !fail.Is(err, fail.Invalid) {
		t.Error(err)
	}
}

// TestTheExampleOfThePage: what the page shows can be used, and lint has nothing against it.
func TestTheExampleOfThePage(t *testing.T) {
	page, err := os.ReadFile("../../../docs/recovery-plans.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```json\n")
	text, _, _ := strings.Cut(rest, "```")

	if out, err := run(t, false, "lint", "--extra", write(t, text)); err != nil || !strings.Contains(out, "nothing found") {
		t.Errorf("%v\n%s", err, out)
	}
}

// shown is a plan that does not run unless it has been shown to work.
const shown = `{"policy": {"people": 1}, "overlay": {"add": [{"id": "shown", "do": "precheck", "with": {"precheck": {"check": "plan", "within_ns": 7776000000000000}},
 "limit_ns": 60000000000, "if_fails": "abort", "region": "west", "before": ["approve"]}]}}`

// TestPast: what was drilled is told of the plan, and an edit makes another one.
func TestPast(t *testing.T) {
	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err := vault.Init(t.Context(), vault.Options{Region: "west", Location: vault.Location{URL: "file://" + filepath.Join(t.TempDir(), "west")}, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	vaults = vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}

	t.Cleanup(func() { vaults = vault.Set{} })

	if out, err := run(t, false, "history"); err != nil || !strings.Contains(out, "no plan of shop has run") {
		t.Errorf("%v %s", err, out)
	}

	d, _, err := plans.Wanted{Mode: "switchover"}.Plan(example(t), nil)
	if err != nil {
		t.Fatal(err)
	}

	began := time.Now().Add(-time.Hour)
	x := history.Drill{ID: "game", Plan: d.Hash(), Mode: d.Mode, From: d.From, To: d.To, By: "bob", Started: began, Finished: began.Add(time.Minute), Passed: true}

	for _, s := range d.Steps {
		x.Steps = append(x.Steps, forecast.Sample{Step: s.ID, Do: s.Do, Took: time.Second})
	}

	if err := history.SaveDrill(t.Context(), vaults, "shop", x); err != nil {
		t.Fatal(err)
	}

	until := began.Add(90 * 24 * time.Hour).UTC().Format(time.DateOnly)

	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"show"}, "verified until " + until + ": drill game passed"},
		{[]string{"show", "--extra", write(t, extra)}, "UNVERIFIED: it was edited since drill game passed"},
		{[]string{"history"}, "verified until " + until},
		{[]string{"history"}, "by bob"},
		{[]string{"lint", "--extra", write(t, shown)}, "nothing found"},
		{[]string{"forecast"}, "decides"},
	} {
		if out, err := run(t, false, c.args...); err != nil || !strings.Contains(out, c.want) {
			t.Errorf("%v: %v, no %q in\n%s", c.args, err, c.want, out)
		}
	}

	// Of one second each, the chain that decides has some steps: it takes longer than the objective.
	promised = 2 * time.Second
	t.Cleanup(func() { promised = 0 })

	if out, err := run(t, false, "forecast"); !fail.Is(err, fail.Unverified) || !strings.Contains(out, "out of reach") {
		t.Errorf("%v %s", err, out)
	}

	if out, err := run(t, true, "forecast"); !fail.Is(err, fail.Unverified) || !strings.Contains(out, fmt.Sprintf(`"objective_ns": %d`, promised)) {
		t.Errorf("%v %s", err, out)
	}

	if out, err := run(t, true, "history", "--mode", "failover"); err != nil || strings.TrimSpace(out) != "[]" {
		t.Errorf("%v %s", err, out)
	}

	if _, err := run(t, true, "history", "--mode", "war"); !fail.Is(err, fail.Invalid) {
		t.Error(err)
	}
}
