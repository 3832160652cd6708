package recovery

import (
	"strings"
	"testing"

	"drctl/restore/choices"
	"drctl/restore/plan"
)

// TestSubject: an approval is of one run, one plan, one step and what the checks have said.
func TestSubject(t *testing.T) {
	is := func(change func(*run)) string {
		r := run{in: In{Run: "r1", Group: "shop", From: "east", To: "west", Plan: plan.Ref{SHA256: "p"}}, behind: "3/x",
			out: Out{Epoch: 4, Steps: []Step{{ID: "ready-orders/0", Op: plan.OpPrecheck, Said: "0 bytes behind"}, {ID: "tell", Op: plan.OpNotify}}}}
		change(&r)
		s := r.subject("approve")

		return s.State + s.Plan
	}

	same := is(func(*run) {})
	if is(func(r *run) { r.out.Steps[1].Said = "told" }) != same {
		t.Error("what comes later is part of it")
	}

	for name, change := range map[string]func(*run){
		"run":    func(r *run) { r.in.Run = "r2" },
		"plan":   func(r *run) { r.in.Plan.SHA256 = "q" },
		"to":     func(r *run) { r.in.To = "north" },
		"epoch":  func(r *run) { r.out.Epoch++ },
		"behind": func(r *run) { r.behind = "4/y" },
		"take":   func(r *run) { r.in.Take++ },
		"check":  func(r *run) { r.out.Steps[0].Said = "16 MiB behind" },
	} {
		if is(change) == same {
			t.Errorf("%s: an approval would hold for another", name)
		}
	}
}

// TestWhatWasForeseenIsSigned: who approves signs what was shown when the run began. What a run learns
// later, or one of which nothing was foreseen, changes no words.
func TestWhatWasForeseenIsSigned(t *testing.T) {
	r := run{in: In{Run: "r1", Group: "shop", From: "east", To: "west"}}
	before := r.subject("approve")

	r.out.Choices = &choices.Table{Choices: []choices.Choice{{Choice: plan.Newest}}}
	if got := r.subject("approve"); got != before {
		t.Errorf("signatures are void: %q", got.Words)
	}

	r.in.Choices = &choices.Table{Default: plan.Newest, Choices: []choices.Choice{{Choice: plan.Newest, RTO: choices.Time{Why: "never run"}}}}
	if got := r.subject("approve"); !strings.Contains(got.Words, "newest (default) loses at most unknown, log: unknown, takes unknown: never run.") || !strings.HasPrefix(got.Words, before.Words) {
		t.Errorf("%q", got.Words)
	}
}
