package main

import (
	"testing"

	"drctl/internal/engine"
	"drctl/workflows/standing"
)

// A group has one observer, on the queue of its home region, as long as it is configured.
func TestApplyKeepsOneObserverOfAGroup(t *testing.T) {
	p := newTwoRegions(t)
	const id = "small:observe/shop"
	p.home = "east"

	for _, want := range []string{"created", "kept"} {
		if changes, err := p.session(t, "east").observers(t.Context()); err != nil || len(changes) != 1 || changes[0] != (engine.Change{ID: id, Action: want}) {
			t.Fatalf("%+v %v, want %s", changes, err, want)
		}
	}

	p.home = "west"
	s := p.session(t, "east")

	if changes, err := s.observers(t.Context()); err != nil || len(changes) != 1 || changes[0].Action != "updated" {
		t.Fatalf("its home moved: %+v %v", changes, err)
	}

	d, err := s.engine.DescribeWorkflowExecution(t.Context(), id, "")
	if err != nil || d.GetWorkflowExecutionInfo().GetTaskQueue() != "drctl.small.west" {
		t.Fatalf("it runs on %s: %v", d.GetWorkflowExecutionInfo().GetTaskQueue(), err)
	}

	if changes, err := standing.Observers(t.Context(), s.engine, s.ids(), nil); err != nil || len(changes) != 1 || changes[0].Action != "deleted" {
		t.Fatalf("the group is gone: %+v %v", changes, err)
	}
}
