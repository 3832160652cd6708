package plans_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"drctl/cmd/drctl/plans"
	"drctl/config"
	"drctl/internal/fail"
	"drctl/restore/plan"
)

// run runs one command on the example configuration.
func run(t *testing.T, asJSON bool, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	f := plans.Faces{Out: &out, JSON: &asJSON, Load: func() (*config.Config, error) { return example(t), nil }}

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

func example(t *testing.T) *config.Config {
	t.Helper()

	east, west := &config.Instance{Address: "e:1", Role: "primary"}, &config.Instance{Address: "w:1", Role: "standby"}
	shard := config.Shard{"east": east, "west": west}

	return &config.Config{Name: "shop", Regions: map[string]*config.Region{"east": {}, "west": {}},
		Targets: map[string]*config.Target{"orders": {Kind: "postgres", Shards: map[string]config.Shard{"0": shard, "1": shard}}, "carts": {Kind: "redis", Shards: map[string]config.Shard{"0": shard}}},
		Groups:  map[string]*config.Group{"shop": {Targets: []string{"orders", "carts"}, Home: "east"}}}
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

	for _, want := range []string{"switchover from east to west", "[switch]", "fence-orders/*", "2 people approve", "exec: stop-jobs", " 10s ", " 1m ", " 24h ", "POINT OF NO RETURN", "check-api", "There is no witness"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
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
