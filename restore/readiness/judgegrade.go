package readiness

import (
	"fmt"
	"strings"

	"drctl/internal/human"
	"drctl/targets"
)

// brokenNamed is how many broken global transactions are named one by one.
const brokenNamed = 5

// judgeGrade says why the newest cut is of a lesser grade than the policy's modes
// can give, and which global transactions are broken in production.
func judgeGrade(mode targets.Modes, cut targets.Cut) (out []Problem) {
	if p := cut.Proof; p == nil || p.Grade != targets.Proven {
		if why := lesser(mode, cut); why != "" {
			grade := targets.Locked
			if p != nil {
				grade = p.Grade
			}

			out = append(out, Problem{Code: "cut-grade", Severity: Warning, Subject: cut.Group,
				What: fmt.Sprintf("the newest cut is %s and not %s", grade, targets.Proven), Why: why, Next: "see: drctl cut show " + cut.ID})
		}
	}

	if cut.Proof == nil {
		return out
	}

	for _, b := range cut.Proof.Broken[:min(brokenNamed, len(cut.Proof.Broken))] {
		out = append(out, Problem{Code: "global-broken", Severity: Warning, Subject: b.ID, Since: b.Since,
			What: fmt.Sprintf("the global transaction %q is half done", b.ID), Detail: parts(b),
			Next: "finish it or undo it by hand; cuts no longer wait for it"})
	}

	if more := cut.Proof.BrokenCount - brokenNamed; more > 0 {
		out = append(out, Problem{Code: "global-broken", Severity: Warning, Subject: cut.Group,
			What: fmt.Sprintf("%s more are half done", human.Plural(more, "global transaction")), Next: "see: drctl cut show " + cut.ID + " --proof"})
	}

	return out
}

// lesser says why a cut is not proven; "" where the policy wants no more.
func lesser(mode targets.Modes, cut targets.Cut) string {
	if !mode.FromLogs() {
		return ""
	}

	return strings.Join(cut.Why, "; ")
}

// parts says how much of a global transaction is done, and where.
func parts(b targets.BrokenGlobal) string {
	var on []string
	for _, s := range b.Shards {
		on = append(on, s.String())
	}

	if b.Want > 0 {
		return fmt.Sprintf("%d of %d parts, on %s", b.Done, b.Want, strings.Join(on, ", "))
	}

	return fmt.Sprintf("%s, on %s", human.Plural(b.Done, "part"), strings.Join(on, ", "))
}
