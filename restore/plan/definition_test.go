package plan_test

import (
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
	"time"

	"drctl/restore/machine"
	"drctl/restore/plan"
	"drctl/targets"
)

// TestHashOfARestoreStays: what a restore's definition was before there were plans
// between regions, it still is; a drill of it still counts.
func TestHashOfARestoreStays(t *testing.T) {
	was := `{"format":1,"group":"shop","mode":"restore","into":"instances","steps":[` +
		`{"id":"restore-orders/0","do":"restore","on":{"target":"orders","shard":"0"},"kind":"postgres","into":{"region":"west","address":"h:5432","data_dir":"/d"},"limit_ns":86400000000000},` +
		`{"id":"verify-orders/0","do":"verify","on":{"target":"orders","shard":"0"},"kind":"postgres","needs":["restore-orders/0"],"limit_ns":86400000000000}]}`
	id := targets.ShardID{Target: "orders", Shard: "0"}
	d := plan.Definition{Format: 1, Group: "shop", Mode: plan.ModeRestore, Into: plan.Instances, Steps: []plan.StepDef{
		{ID: "restore-orders/0", Do: plan.OpRestore, On: id, Kind: targets.Postgres, Into: plan.Destination{Region: "west", Address: "h:5432", DataDir: "/d"}, Limit: 24 * time.Hour},
		{ID: "verify-orders/0", Do: plan.OpVerify, On: id, Kind: targets.Postgres, Needs: []string{"restore-orders/0"}, Limit: 24 * time.Hour}}}

	h := sha256.Sum256([]byte(was))
	if want := hex.EncodeToString(h[:]); d.Hash() != want {
		t.Errorf("the hash is %s, it was %s", d.Hash(), want)
	}

	if err := d.Check(); err != nil {
		t.Error(err)
	}
}

func TestCheckRefuses(t *testing.T) {
	good := func() plan.StepDef {
		return plan.StepDef{ID: "x", Do: plan.OpExec, With: plan.Args{Exec: &plan.Exec{Command: []string{"true"}}}, Limit: time.Second}
	}
	if err := good().Check(); err != nil {
		t.Fatal(err)
	}

	for name, spoil := range map[string]func(*plan.StepDef){
		"of another action":   func(s *plan.StepDef) { s.Do = plan.OpPromote },
		"is not known":        func(s *plan.StepDef) { s.Do = "explode" },
		"needs arguments":     func(s *plan.StepDef) { s.With = plan.Args{} },
		"no name":             func(s *plan.StepDef) { s.With.Exec.Command = nil },
		"way back of its own": func(s *plan.StepDef) { s.Undo = &plan.Undo{} },
		"id is empty":         func(s *plan.StepDef) { s.ID = "a*" },
		"limit is negative":   func(s *plan.StepDef) { s.Limit = -1 },
		"if_fails":            func(s *plan.StepDef) { s.IfFails = "shrug" },
		"behaviour":           func(s *plan.StepDef) { s.Modes = map[plan.Mode]plan.Behaviour{plan.ModeDrill: "maybe"} },
		"mode":                func(s *plan.StepDef) { s.Modes = map[plan.Mode]plan.Behaviour{"war": plan.Skip} },
		"retries":             func(s *plan.StepDef) { s.Retry.Attempts = 1e6 },
		"need":                func(s *plan.StepDef) { s.Needs = []string{"*a"} },
		"section":             func(s *plan.StepDef) { s.Section = "a/b" },
		"region":              func(s *plan.StepDef) { s.Region = "../west" },
		"no URL of a server":  func(s *plan.StepDef) { s.Do, s.With = plan.OpHTTP, plan.Args{HTTP: &plan.HTTP{URL: "file:///etc"}} },
		"names the hook": func(s *plan.StepDef) {
			s.Do, s.With = plan.OpFence, plan.Args{Fence: &plan.Fence{By: []string{plan.ByHook}}}
		},
		"no proof": func(s *plan.StepDef) { s.Do, s.With = plan.OpFence, plan.Args{Fence: &plan.Fence{}} },
		"none of hold": func(s *plan.StepDef) {
			s.Do, s.With = plan.OpReroute, plan.Args{Reroute: &plan.Reroute{Route: "r", Move: "away"}}
		},
	} {
		s := good()
		spoil(&s)

		if err := s.Check(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSections: outside, one node stands for a section; inside, only what its
// steps need of each other is left.
func TestSections(t *testing.T) {
	o := plan.Outline{Window: 3, Steps: []plan.Node{
		{ID: "approve"},
		{ID: "fence-a", Needs: []string{"approve"}, Section: "switch", Undo: true, IfFails: plan.Abort, Limit: 1},
		{ID: "fence-b", Needs: []string{"approve"}, Section: "switch", Undo: true, Limit: 1},
		{ID: "promote-a", Needs: []string{"fence-*"}, Section: "switch", NoReturn: true, Limit: 1},
		{ID: "verify-a", Needs: []string{"promote-*", "approve"}},
		{ID: "notify", Needs: []string{"verify-*"}}}}

	want := []plan.Node{{ID: "approve"},
		{ID: "switch", Op: plan.OpSection, Section: "switch", Needs: []string{"approve"}, Undo: true, NoReturn: true, IfFails: plan.Abort, Limit: 3},
		{ID: "verify-a", Needs: []string{"switch", "approve"}}, {ID: "notify", Needs: []string{"verify-*"}}}
	if got := o.Folded(); !reflect.DeepEqual(got.Steps, want) || got.Window != 3 {
		t.Errorf("folded:\n%+v\nnot\n%+v", got.Steps, want)
	}

	in := o.Within("switch")
	if len(in.Steps) != 3 || in.Steps[0].Needs != nil || !reflect.DeepEqual(in.Steps[2].Needs, []string{"fence-*"}) || in.Steps[0].Section != "" {
		t.Errorf("within: %+v", in.Steps)
	}

	for _, o := range []plan.Outline{o, o.Folded(), in} {
		if _, err := machine.New(o); err != nil {
			t.Error(err)
		}
	}
}

func TestPause(t *testing.T) {
	r := plan.Retry{Attempts: 9, Backoff: time.Second, Longest: 5 * time.Second}
	for failed, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 4: 5 * time.Second, 99: 5 * time.Second} {
		if got := r.Pause(failed); got != want {
			t.Errorf("after %d: %s, not %s", failed, got, want)
		}
	}
}
