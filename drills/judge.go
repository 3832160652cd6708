package drills

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/report/evidence"
	"drctl/targets"
)

// Judge says whether a drill passed. It is pure. It fails for every failed check,
// step, precheck or objective. It fails for an objective that could not be
// measured, a check that could not be run (unless the drill is quick), a restored
// store of which no check confirmed anything, and a sandbox that could not be
// removed. A measurement equal to its objective meets it.
func Judge(f Facts, got evidence.Measured) evidence.Verdict {
	v := evidence.Verdict{Failures: []string{}, Warnings: []string{}}
	for _, x := range f.Findings {
		switch {
		case x.Severity == targets.Passed:
		case x.Severity == targets.Warned, x.Severity == targets.Skipped && f.Def.Checks.Quick:
			v.Warnings = append(v.Warnings, sentence(x))
		default: // failed, not run, and whatever a newer driver may say
			v.Failures = append(v.Failures, sentence(x))
		}
	}
	// What went wrong comes before what followed from it: the first failure is
	// what a command ends with.
	for _, g := range f.Prechecks {
		if !g.Passed {
			v.Failures = append(v.Failures, fmt.Sprintf("gate %q did not pass: %s", g.Name, g.Detail))
		}
	}
	v.Failures = append(v.Failures, unfinished(got.Incomplete, f.Steps)...)
	v.Failures = append(v.Failures, unproven(f)...)
	v.Failures = append(v.Failures, objective("RTO", f.Def.Objectives.RTO, got.RTO)...)

	v.Failures = append(v.Failures, objective("RPO", f.Def.Objectives.RPO, got.RPO)...)
	if f.Def.Objectives == (evidence.Objectives{}) {
		v.Warnings = append(v.Warnings, "no objective is set for RTO or RPO")
	}

	if left := f.CleanUp.LeftOver; len(left) > 0 {
		say := "left over: " + strings.Join(left, ", ")
		if slices.ContainsFunc(f.Steps, func(s evidence.Step) bool { return s.Phase == CleanUp && s.Outcome == evidence.StepFailed }) {
			v.Failures = append(v.Failures, say) // nobody asked for it
		} else {
			v.Warnings = append(v.Warnings, say)
		}
	}
	v.Passed = len(v.Failures) == 0

	return v
}

// unproven names the restored stores of which no check confirmed anything. A
// check that expected nothing only informs, and a store that was not restored is
// told elsewhere.
func unproven(f Facts) (out []string) {
	confirmed := func(x targets.Finding) bool { return x.Severity == targets.Passed && x.Expected != "" }

	if len(f.Checked) == 0 {
		return []string{fmt.Sprintf("no check passed (%d ran): a drill that confirmed nothing is no evidence", len(f.Findings))}
	}

	for _, id := range slices.Sorted(maps.Keys(f.Checked)) {
		if fs := f.Checked[id]; !slices.ContainsFunc(fs, confirmed) {
			out = append(out, fmt.Sprintf("no check of %s passed (%d ran): a store of which nothing was confirmed is not proven", id, len(fs)))
		}
	}

	return out
}

// unfinished says why steps did not come to their end: a line for each that
// failed, and one for all that did not run for the same reason.
func unfinished(ids []string, steps []evidence.Step) []string {
	var failed, reasons []string

	notRun := map[string][]string{}
	for _, id := range ids {
		i := slices.IndexFunc(steps, func(s evidence.Step) bool { return s.ID == id })
		switch {
		case i < 0:
			failed = append(failed, "step "+id+" failed or did not run")
		case steps[i].Outcome == evidence.StepNotRun:
			why := cmp.Or(steps[i].NotRunReason, "no reason was recorded")
			if notRun[why] == nil {
				reasons = append(reasons, why)
			}
			notRun[why] = append(notRun[why], id)
		default:
			failed = append(failed, "step "+id+" failed: "+cmp.Or(steps[i].Error, "no reason was recorded"))
		}
	}

	for _, why := range reasons {
		word := "step "
		if len(notRun[why]) > 1 {
			word = "steps "
		}
		failed = append(failed, word+strings.Join(notRun[why], ", ")+" did not run: "+why)
	}

	return failed
}

func objective(name string, want time.Duration, got evidence.Span) []string {
	d, ok := got.Get()
	switch {
	case want <= 0:
		return nil
	case !ok:
		return []string{fmt.Sprintf("%s objective %s could not be judged: %s", name, human.Duration(want), got.Reason())}
	case d > want:
		return []string{fmt.Sprintf("%s objective missed: %s measured, %s allowed", name, human.Duration(d), human.Duration(want))}
	}

	return nil
}

func sentence(f targets.Finding) string {
	s := fmt.Sprintf("check %q on %s: %s", f.Check, f.Subject, f.Severity)
	if f.Expected != "" || f.Got != "" {
		s += fmt.Sprintf(": expected %s, got %s", orNothing(f.Expected), orNothing(f.Got))
	}

	if f.Detail != "" {
		s += ": " + f.Detail
	}

	return s
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}

	return s
}

// VerdictError turns a verdict that is not passed into an error of code
// unverified, which ends a command with status 4; nil when it passed.
func VerdictError(subject string, v evidence.Verdict) error {
	if v.Passed {
		return nil
	}

	first := "it failed"
	if len(v.Failures) > 0 {
		first = v.Failures[0]
	}

	if n := len(v.Failures); n > 1 {
		first += fmt.Sprintf(" (and %d more)", n-1)
	}

	return fail.New(fail.Unverified, "drill", subject, "the report lists every failure", fmt.Errorf("%s", first))
}
