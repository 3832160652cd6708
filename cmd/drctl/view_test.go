package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"go.temporal.io/sdk/client"

	"drctl/internal/engine"
	"drctl/internal/progress"
)

// What is no longer pending is shown as it ended, and not before that is known.
func TestViewShowsHowActivitiesEnded(t *testing.T) {
	var out bytes.Buffer
	ends := map[string]error{}
	v := &view{seen: map[string]engine.Pending{}, d: progress.New(&out, progress.Options{}), outcome: func(_ context.Context, p engine.Pending) (bool, error) {
		err, known := ends[p.ID]
		return known, err
	}}
	pending := func(id, shard string) engine.Pending {
		d, err := json.Marshal(engine.Beat{Shard: shard, Phase: "copy", Done: 1 << 20, Total: 4 << 20})
		if err != nil {
			t.Fatal(err)
		}

		return engine.Pending{ID: id, Activity: "TakeBase", State: "started", Attempt: 1, Details: d}
	}
	v.update(t.Context(), []engine.Pending{pending("1", "orders/0"), pending("2", "orders/1"), pending("3", "orders/2")})
	ends["1"], ends["2"] = nil, errors.New("disk full")

	v.update(t.Context(), []engine.Pending{pending("3", "orders/2")})
	v.update(t.Context(), nil) // how the third ended is not in the history yet

	if _, open := v.seen["orders/2"]; !open || len(v.seen) != 1 {
		t.Errorf("open: %v", v.seen)
	}
	ends["3"] = context.Canceled

	v.finish(t.Context())

	for _, want := range []string{"done: orders/0", "failed: orders/1: copy: 1 MiB of 4 MiB", "disk full", "failed: orders/2", "canceled"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not said:\n%s", want, &out)
		}
	}
}

// Rows of a run that the command only waits for say so.
func TestViewOfAnotherRun(t *testing.T) {
	var out bytes.Buffer
	v := &view{seen: map[string]engine.Pending{}, prefix: "other cut: ", d: progress.New(&out, progress.Options{}), outcome: func(context.Context, engine.Pending) (bool, error) {
		return true, errors.New("no base yet")
	}}
	v.update(t.Context(), []engine.Pending{{ID: "1", Activity: "SealCut", State: "started", Attempt: 1}})
	v.finish(t.Context())

	if !strings.Contains(out.String(), "failed: other cut: SealCut") {
		t.Errorf("it looks like the command's own:\n%s", &out)
	}
}

type fakeRun struct{ client.WorkflowRun }

func (fakeRun) GetID() string    { return "cut/shop" }
func (fakeRun) GetRunID() string { return "run-1" }

func TestStartedInJSON(t *testing.T) {
	var out bytes.Buffer
	a := newApp(&out, &out)

	a.json = true
	if err := a.started(fakeRun{}, "drctl cut list"); err != nil {
		t.Fatal(err)
	}

	var got map[string]string
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got["workflow_id"] != "cut/shop" || got["run_id"] != "run-1" {
		t.Errorf("%s: %v", &out, err)
	}
}
