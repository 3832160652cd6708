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
	warn := func(code, what, why, next string) {
		out = append(out, Problem{Code: code, Severity: Warning, Subject: cut.Group, What: what, Why: why, Next: next})
	}

	if len(cut.Why) > 0 && mode.FromLogs() && cut.Grade() != targets.Proven {
		warn("cut-grade", fmt.Sprintf("the newest cut is %s and not %s", cut.Grade(), targets.Proven), strings.Join(cut.Why, "; "), "see: drctl cut show "+cut.ID)
	}

	if doubt := cut.Gate.Doubt(); doubt != "" {
		warn("gate-use", doubt, "", "see docs/gate.md")
	}

	if cut.Proof == nil {
		return out
	}

	for _, b := range cut.Proof.Broken[:min(brokenNamed, len(cut.Proof.Broken))] {
		out = append(out, Problem{Code: "global-broken", Severity: Warning, Subject: b.ID, Since: b.Since,
			What: fmt.Sprintf("the global transaction %q is half done", b.ID), Detail: b.Parts(),
			Next: "finish it or undo it by hand, in a transaction that is tagged as its last part (docs/tagging.md); cuts name it until then, and do not wait for it"})
	}

	if more := cut.Proof.BrokenCount - brokenNamed; more > 0 {
		warn("global-broken", fmt.Sprintf("%s more are half done", human.Plural(more, "global transaction")), "", "see: drctl cut show "+cut.ID+" --json")
	}

	return out
}
