package machine_test

import (
	"fmt"
	"reflect"
	"testing"

	"drctl/restore/machine"
	"drctl/restore/plan"
)

// play takes events through a plan and returns what was said, shortly.
func play(t *testing.T, o plan.Outline, events ...machine.Event) (said []string, v machine.Verdict) {
	t.Helper()

	m, err := machine.New(o)
	if err != nil {
		t.Fatal(err)
	}
	var s machine.State

	for _, e := range append([]machine.Event{machine.Begin{}}, events...) {
		var cmds []machine.Command
		s, cmds = m.Next(s, e)

		for _, c := range cmds {
			switch c := c.(type) {
			case machine.Do:
				said = append(said, fmt.Sprintf("do %s %d", c.Step.ID, c.Attempt))
			case machine.Undo:
				said = append(said, fmt.Sprintf("undo %s %d", c.Step.ID, c.Attempt))
			case machine.Ask:
				said = append(said, fmt.Sprintf("ask %s %s", c.Step, c.Question))
			case machine.Wait:
				said = append(said, fmt.Sprintf("wait %s %d", c.Step, c.Timer))
			case machine.Skip:
				said = append(said, "skip "+c.Step)
			case machine.Halt:
				said = append(said, "halt "+c.Step)
			case machine.Finish:
				said = append(said, "finish")
			}
		}
	}

	return said, m.Verdict(s)
}

func node(id string, f func(*plan.Node), needs ...string) plan.Node {
	n := plan.Node{ID: id, Op: plan.OpReroute, Needs: needs, IfFails: plan.Abort}
	if f != nil {
		f(&n)
	}

	return n
}

// TestWays: what happens on the ways that matter, word by word.
func TestWays(t *testing.T) {
	undo := func(n *plan.Node) { n.Undo = true }
	final := func(n *plan.Node) { n.NoReturn = true }
	line := plan.Outline{Steps: []plan.Node{node("hold", undo), node("fence", undo, "hold"), node("promote", final, "fence"), node("release", nil, "promote")}}
	ok := func(s string) machine.Event { return machine.Ended{Step: s} }
	bad := func(s string) machine.Event { return machine.Ended{Step: s, Failed: true} }
	by := func(step string, a machine.Answer) machine.Event {
		return machine.Answered{Step: step, Answer: a, By: "ann", Reason: "so"}
	}

	for name, x := range map[string]struct {
		o       plan.Outline
		events  []machine.Event
		want    []string
		verdict machine.Verdict
	}{
		"all goes well": {line, []machine.Event{ok("hold"), ok("fence"), ok("promote"), ok("release")},
			[]string{"do hold 1", "do fence 1", "do promote 1", "do release 1", "finish"}, machine.Reached},
		"a failure before the point of no return undoes the failed step and those before it": {line,
			[]machine.Event{ok("hold"), bad("fence"), machine.Undid{Step: "fence"}, machine.Undid{Step: "hold"}},
			[]string{"do hold 1", "do fence 1", "skip promote", "skip release", "undo fence 1", "undo hold 1", "finish"}, machine.TakenBack},
		"a failure at the point of no return asks, and undoes nothing": {line,
			[]machine.Event{ok("hold"), ok("fence"), bad("promote"), by("promote", machine.SayRetry), ok("promote"), ok("release")},
			[]string{"do hold 1", "do fence 1", "do promote 1", "ask promote failed", "do promote 1", "do release 1", "finish"}, machine.Reached},
		"nobody skips a promotion": {plan.Outline{Steps: []plan.Node{node("promote", func(n *plan.Node) { n.Op, n.NoReturn = plan.OpPromote, true })}},
			[]machine.Event{bad("promote"), by("promote", machine.SaySkip), by("promote", machine.SayGiveUp)},
			[]string{"do promote 1", "ask promote failed", "finish"}, machine.Parted},
		"a promotion that surely did nothing leaves the way back open": {line,
			[]machine.Event{ok("hold"), ok("fence"), machine.Ended{Step: "promote", Failed: true, Untouched: true}, machine.Undid{Step: "fence"}, machine.Undid{Step: "hold"}},
			[]string{"do hold 1", "do fence 1", "do promote 1", "skip release", "undo fence 1", "undo hold 1", "finish"}, machine.TakenBack},
		"a cancellation behind the point of no return stops nothing": {line,
			[]machine.Event{ok("hold"), ok("fence"), machine.Cancelled{}, ok("promote"), ok("release")},
			[]string{"do hold 1", "do fence 1", "do promote 1", "do release 1", "finish"}, machine.Reached},
		"and counts again when that did nothing": {line,
			[]machine.Event{ok("hold"), ok("fence"), machine.Cancelled{}, machine.Ended{Step: "promote", Failed: true, Untouched: true}, machine.Undid{Step: "fence"}, machine.Undid{Step: "hold"}},
			[]string{"do hold 1", "do fence 1", "do promote 1", "skip release", "undo fence 1", "undo hold 1", "finish"}, machine.TakenBack},
		"a cancellation before it undoes": {line, []machine.Event{ok("hold"), machine.Cancelled{}, ok("fence"), machine.Undid{Step: "fence", Failed: true}, by("fence", machine.SayGiveUp), machine.Undid{Step: "hold"}},
			[]string{"do hold 1", "do fence 1", "halt fence", "skip promote", "skip release", "undo fence 1", "ask fence undo", "undo hold 1", "finish"}, machine.Parted},
		"a step that is waived beforehand counts in its turn": {line, []machine.Event{by("release", machine.SaySkip), ok("hold"), ok("fence"), ok("promote")},
			[]string{"do hold 1", "do fence 1", "do promote 1", "finish"}, machine.Reached},
		"what needs a waived step waits for what that waited for": {plan.Outline{Steps: []plan.Node{node("a", nil), node("b", nil, "a"), node("c", nil, "b")}},
			[]machine.Event{by("b", machine.SaySkip), ok("a"), ok("c")}, []string{"do a 1", "do c 1", "finish"}, machine.Reached},
		"an attempt is repeated after a pause": {plan.Outline{Steps: []plan.Node{node("a", func(n *plan.Node) { n.Retry.Attempts = 2 })}},
			[]machine.Event{bad("a"), machine.Elapsed{Timer: 9}, machine.Elapsed{Timer: 1}, ok("a")}, []string{"do a 1", "wait a 1", "do a 2", "finish"}, machine.Reached},
		"two people are two people": {plan.Outline{Steps: []plan.Node{node("ok", func(n *plan.Node) { n.Op, n.People, n.Limit = plan.OpApprove, 2, 1 })}},
			[]machine.Event{by("ok", machine.SayYes), by("ok", machine.SayYes), machine.Answered{Step: "ok", Answer: machine.SayYes, By: "bob"}},
			[]string{"ask ok approve", "wait ok 1", "finish"}, machine.Reached},
		"who is late has not agreed": {plan.Outline{Steps: []plan.Node{node("hold", undo), node("ok", func(n *plan.Node) { n.Op, n.Limit = plan.OpApprove, 1 }, "hold")}},
			[]machine.Event{ok("hold"), machine.Elapsed{Timer: 1}, by("ok", machine.SayYes), machine.Undid{Step: "hold"}},
			[]string{"do hold 1", "ask ok approve", "wait ok 1", "undo hold 1", "finish"}, machine.TakenBack},
		"a person vouches where the plan lets them": {plan.Outline{Steps: []plan.Node{node("fence", func(n *plan.Node) { n.Op, n.IfFails, n.Vouch = plan.OpFence, plan.AskPeople, true })}},
			[]machine.Event{bad("fence"), by("fence", machine.SayVouch)}, []string{"do fence 1", "ask fence failed", "finish"}, machine.Reached},
		"what is not critical fails alone": {plan.Outline{Steps: []plan.Node{node("tell", func(n *plan.Node) { n.IfFails = plan.GoOn }), node("next", nil, "tell")}},
			[]machine.Event{bad("tell"), ok("next")}, []string{"do tell 1", "do next 1", "finish"}, machine.Reached},
		"what is not of the mode is passed": {plan.Outline{Steps: []plan.Node{node("a", func(n *plan.Node) { n.Behaviour = plan.Skip }), node("b", func(n *plan.Node) { n.Behaviour = plan.Ask }, "a")}},
			[]machine.Event{by("b", machine.SayYes), ok("b")}, []string{"ask b run", "do b 1", "finish"}, machine.Reached},
	} {
		said, v := play(t, x.o, x.events...)
		if !reflect.DeepEqual(said, x.want) || v != x.verdict {
			t.Errorf("%s:\n%q %s, not\n%q %s", name, said, v, x.want, x.verdict)
		}
	}
}
