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
	if len(cut.Why) > 0 && mode.FromLogs() && cut.Grade() != targets.Proven {
		out = append(out, Problem{Code: "cut-grade", Severity: Warning, Subject: cut.Group,
			What: fmt.Sprintf("the newest cut is %s and not %s", cut.Grade(), targets.Proven), Why: strings.Join(cut.Why, "; "), Next: "see: drctl cut show " + cut.ID})
	}

	if doubt := cut.Gate.Doubt(); doubt != "" {
		out = append(out, Problem{Code: "gate-use", Severity: Warning, Subject: cut.Group, What: doubt, Next: "see docs/gate.md"})
	}

	if cut.Proof == nil {
		return out
	}

	for _, b := range cut.Proof.Broken[:min(brokenNamed, len(cut.Proof.Broken))] {
		out = append(out, Problem{Code: "global-broken", Severity: Warning, Subject: b.ID, Since: b.Since,
			What: fmt.Sprintf("the global transaction %q is half done", b.ID), Detail: parts(b),
			Next: "finish it or undo it by hand, in a transaction that is tagged as its last part (docs/tagging.md); cuts name it until then, and do not wait for it"})
	}

	if more := cut.Proof.BrokenCount - brokenNamed; more > 0 {
		out = append(out, Problem{Code: "global-broken", Severity: Warning, Subject: cut.Group,
			What: fmt.Sprintf("%s more are half done", human.Plural(more, "global transaction")), Next: "see: drctl cut show " + cut.ID + " --json"})
	}

	return out
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

	return fmt.Sprintf("%d parts, on %s", b.Done, strings.Join(on, ", "))
}
