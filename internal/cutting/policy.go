package cutting

import (
	"strings"

	"drctl/internal/moment"
	"drctl/internal/platform"
	"drctl/targets"
)

// PolicyOf is what a group's policy wants of a moment.
func PolicyOf(p platform.Policy) moment.Policy {
	out := moment.Policy{Limit: p.HalfDone, GIDs: p.GIDs}

	if !p.Mode.Has(targets.ModeAuto) {
		for m := range strings.SplitSeq(string(p.Mode), "+") {
			if !targets.Modes(m).Has(targets.ModeLocks) {
				out.Modes = append(out.Modes, m)
			}
		}

		if len(out.Modes) == 0 {
			// The platform does not say what belongs together. That some of it is prepared or tagged shows
			// nothing of the rest: a moment is not proven by it.
			out.Modes = []string{targets.ModeLocks}
		}
	}

	// What is locked is not read out of the logs.
	out.Grades = []targets.Grade{targets.Proven}
	if p.Accept == "" || p.Accept == string(targets.Ordered) {
		out.Grades = append(out.Grades, targets.Ordered)
	}

	return out
}
