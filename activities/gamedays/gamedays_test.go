package gamedays

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/testsuite"
	"google.golang.org/protobuf/types/known/timestamppb"

	"drctl/drills/gameday"
	"drctl/internal/fail"
	"drctl/internal/planting"
	"drctl/internal/platform"
	"drctl/internal/vault"
)

// place is a platform with vaults and one drill.
type place struct {
	Resolver
	set   vault.Set
	drill gameday.Definition
	lab   error
}

func (p place) GameDay(string) (gameday.Definition, error) { return p.drill, nil }
func (p place) Lab() error                                 { return p.lab }
func (p place) Group(string) (platform.Group, error) {
	return platform.Group{Name: "shop", Home: "west"}, nil
}

func (p place) Set(context.Context, string, string) (vault.Set, error) { return p.set, nil }

func newPlace(t *testing.T) (*Activities, place) {
	t.Helper()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err := vault.Init(t.Context(), vault.Options{Region: "west", Location: vault.Location{URL: "file://" + filepath.Join(t.TempDir(), "west")}, Key: key})
	if err != nil {
		t.Fatal(err)
	}

	p := place{set: vault.Set{Vaults: []*vault.Vault{v}, Durability: 1},
		drill: gameday.Definition{Name: "d", Group: "shop", Faults: []gameday.Fault{{ID: "1-exec", Do: gameday.Exec, Region: "east", Exec: []string{"/bin/true"}, Undo: []string{"/bin/true"}}}}}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))

	k := &planting.Keeper{Dir: filepath.Join(t.TempDir(), "planted"), Program: Program, Log: log,
		Tell: func(ctx context.Context, f planting.Fault) error { return planting.Tell(ctx, p.set, f) }}

	return &Activities{Platform: p, Faults: k, Queue: "drctl.east", Host: "a", Log: log}, p
}

// described is an engine that knows one run of a recovery.
type described struct {
	client.Client
	parent string
	closed bool
	err    error
}

func (d described) DescribeWorkflowExecution(context.Context, string, string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	x := &workflowpb.WorkflowExecutionInfo{StartTime: timestamppb.Now()}
	if d.parent != "" {
		x.ParentExecution = &commonpb.WorkflowExecution{WorkflowId: "drill", RunId: d.parent}
	}

	if d.closed {
		x.CloseTime = timestamppb.Now()
	}

	return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: x}, d.err
}

// A recovery that is not the drill's own goes before it.
func TestARecoveryThatIsNotTheDrillsOwn(t *testing.T) {
	for _, c := range []struct {
		name string
		c    described
		want fail.Code
	}{
		{"none", described{err: serviceerror.NewNotFound("none")}, ""},
		{"one that has ended", described{closed: true}, ""},
		{"the drill's own", described{parent: "mine"}, ""},
		{"somebody's", described{}, fail.Conflict},
		{"another drill's", described{parent: "other"}, fail.Conflict},
		{"nobody knows", described{err: errors.New("no answer")}, fail.Unavailable},
	} {
		err := notOurs(t.Context(), c.c, "recover/shop", "mine")
		if c.want == "" && err != nil || c.want != "" && !fail.Is(err, c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// A fault of which this host has no record was never planted, unless a vault knows better.
func TestRemoveAsksTheVaults(t *testing.T) {
	a, p := newPlace(t)
	env := (&testsuite.WorkflowTestSuite{}).NewTestActivityEnvironment()
	env.RegisterActivity(a.Remove)

	remove := func(id string) (out gameday.Planted, err error) {
		v, err := env.ExecuteActivity(a.Remove, RemoveIn{ID: id, Why: gameday.DrillOver, Group: "shop"})
		if err == nil {
			err = v.Get(&out)
		}

		return out, err
	}

	if out, err := remove("run-0"); err != nil || !out.Intended.IsZero() {
		t.Errorf("one that nobody knows: %+v, %v", out, err)
	}

	f := planting.Fault{ID: "run-0", RunID: "run", Drill: "d", Group: "shop", Host: "b", Intended: time.Now().UTC(), Until: time.Now().Add(time.Hour).UTC()}
	if err := planting.Tell(t.Context(), p.set, f); err != nil {
		t.Fatal(err)
	}

	if out, err := remove("run-0"); err == nil || !strings.Contains(err.Error(), "the worker of b may have planted it") {
		t.Errorf("one of another host: %+v, %v", out, err)
	}

	f.Removed = time.Now().UTC()
	if err := planting.Tell(t.Context(), p.set, f); err != nil {
		t.Fatal(err)
	}

	if out, err := remove("run-0"); err != nil || !out.Intended.IsZero() {
		t.Errorf("one that is gone: %+v, %v", out, err)
	}
}

// What passed the gates as a lab's is planted on a lab's servers alone, by the configuration of who plants it.
func TestALabsDrillIsPlantedInALabAlone(t *testing.T) {
	a, p := newPlace(t)
	p.lab = errors.New("the configuration names no lab")
	a.Platform = p
	env := (&testsuite.WorkflowTestSuite{}).NewTestActivityEnvironment()
	env.RegisterActivity(a.Plant)

	_, err := env.ExecuteActivity(a.Plant, PlantIn{Name: "d", Hash: p.drill.Hash(), Fault: "1-exec", ID: "run-0", Lab: true})
	if err == nil || !strings.Contains(err.Error(), "names no lab") {
		t.Error(err)
	}

	if all, err := a.Faults.All(); err != nil || len(all) != 0 {
		t.Errorf("on record: %+v, %v", all, err)
	}
}

// A person has said yes to the drill that was shown, and to no other.
func TestTheDrillThatWasShown(t *testing.T) {
	a, p := newPlace(t)
	env := (&testsuite.WorkflowTestSuite{}).NewTestActivityEnvironment()
	env.RegisterActivity(a.Begin)

	other := p.drill
	other.Faults = nil

	if _, err := env.ExecuteActivity(a.Begin, BeginIn{Name: "d", Hash: other.Hash()}); err == nil || !strings.Contains(err.Error(), "another drill of that name") {
		t.Error(err)
	}
}

// Keeper and verdict mean the same by a time that is up.
func TestTheTimeIsUp(t *testing.T) {
	if planting.TimeUp != gameday.TimeUp {
		t.Error("they say it in other words")
	}
}
