package regional

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"drctl/activities/atmoment"
	"drctl/activities/halfdone"
	"drctl/internal/ui"
	"drctl/restore/machine"
	"drctl/restore/plan"
	"drctl/workflows/recovery"
)

// A statement that was given beforehand answers for fences that no program could do, and
// once; never for one whose program has failed, nor for another step.
func TestVouched(t *testing.T) {
	s := &shown{faces: Faces{By: func() string { return "ann" }}, said: map[string]string{}}
	ask := func(id string, op plan.Op, why string) recovery.Step {
		return recovery.Step{ID: id, Op: op, Status: machine.Asking, Question: machine.AskFailed, Attempt: 3, Error: why}
	}
	out := recovery.Out{Steps: []recovery.Step{
		ask("fence-a", plan.OpFence, "recovery plan: fence-a: "+plan.NoHook+" a@east"),
		ask("fence-b", plan.OpFence, "recovery plan: fence-b: /bin/off: exit status 1: could not"),
		ask("feed-a", plan.OpFeed, plan.NoHook),
		{ID: "fence-c", Op: plan.OpFence, Status: machine.Running, Error: plan.NoHook},
	}}

	if got := s.vouched(out, ""); len(got) > 0 {
		t.Errorf("without a statement: %+v", got)
	}

	got := s.vouched(out, "seen")
	if len(got) != 1 || got[0] != (recovery.Reply{Step: "fence-a", Answer: machine.SayVouch, By: "ann", Reason: "seen"}) {
		t.Errorf("%+v", got)
	}

	if got := s.vouched(out, "seen"); len(got) > 0 {
		t.Errorf("a second time: %+v", got)
	}
}

// A person is told the answers that would be taken, and where to give them.
func TestQuestions(t *testing.T) {
	x := recovery.Step{ID: "s", Status: machine.Asking, Question: machine.AskFailed, Error: "broken"}

	for op, want := range map[plan.Op][]string{
		plan.OpFence: {"retry", "vouch", "give-up"}, plan.OpFeed: {"retry", "skip", "give-up"}, plan.OpSection: {"retry", "give-up"},
	} {
		if x.Op = op; !slices.Equal(answers(x), want) {
			t.Errorf("%s: %v", op, answers(x))
		}
	}

	for want, s := range map[string]*shown{
		"drctl recovery answer --group shop s": {},
		"type: s ":                             {own: true, typed: true},
		"interrupt it":                         {own: true},
	} {
		if got := s.line(x, "shop"); !strings.Contains(got, want) || !strings.Contains(got, "broken") {
			t.Errorf("%q", got)
		}
	}
}

// Nobody is told that all is well while anything is half done, or may be.
func TestWhatIsLeftIsSaid(t *testing.T) {
	done := []recovery.Step{{ID: "tell", Status: machine.Done}}

	for want, out := range map[string]recovery.Out{
		"":                            {Steps: done, HalfDone: &halfdone.Halves{}, Moment: &atmoment.Bound{}},
		"tell":                        {Steps: []recovery.Step{{ID: "tell", Status: machine.Failed}}},
		"2 transactions in doubt":     {Steps: []recovery.Step{{ID: "takeover", Status: machine.Done, InDoubt: []string{"a", "b"}}}},
		"1 half done global":          {Steps: done, HalfDone: &halfdone.Halves{List: []halfdone.Half{{ID: "x"}}}},
		"is not known of 1 shard":     {Steps: done, HalfDone: &halfdone.Halves{Unknown: []string{"orders/0: no log"}}},
		"3 global transactions half ": {Steps: done, Moment: &atmoment.Bound{BrokenCount: 3}},
	} {
		f := Faces{Out: io.Discard, JSON: new(bool)}
		out.Verdict = machine.Reached

		err := f.tell(out)
		if exit := (ui.Exit{}); want == "" && err != nil || want != "" && (!errors.As(err, &exit) || exit.Code != 3 || !strings.Contains(exit.Message, want)) {
			t.Errorf("%q: %v", want, err)
		}
	}
}
