package drills

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/progress"
	"drctl/internal/report/evidence"
	"drctl/targets"
)

// Judge says whether a drill passed. It is pure. It fails for every failed
// check, step or objective; for an objective that could not be measured; and
// for a drill in which no check passed, because it has shown nothing. A
// measurement equal to its objective meets it. The steps give the reasons of
// those that got.Incomplete names.
func Judge(findings []targets.Finding, steps []evidence.Step, want Objectives, got Measured) Verdict {
	v := Verdict{Failures: []string{}, Warnings: []string{}}
	passed := 0
	for _, f := range findings {
		switch f.Severity {
		case targets.Passed:
			passed++
		case targets.Warned, targets.Skipped:
			v.Warnings = append(v.Warnings, sentence(f))
		default: // failed, and whatever a newer driver may say
			v.Failures = append(v.Failures, sentence(f))
		}
	}
	// What went wrong comes before what followed from it: the first failure is
	// what a command ends with.
	v.Failures = append(v.Failures, unfinished(got.Incomplete, steps)...)
	if passed == 0 {
		v.Failures = append(v.Failures, fmt.Sprintf("no check passed (%d ran): a drill that confirmed nothing is no evidence", len(findings)))
	}
	v.Failures = append(v.Failures, objective("RTO", want.RTO, got.RTO)...)
	v.Failures = append(v.Failures, objective("RPO", want.RPO, got.RPO)...)
	if want.RTO == 0 && want.RPO == 0 {
		v.Warnings = append(v.Warnings, "no objective is set for RTO or RPO")
	}
	v.Passed = len(v.Failures) == 0
	return v
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
		return []string{fmt.Sprintf("%s objective %s could not be judged: %s", name, progress.Duration(want), got.Reason())}
	case d > want:
		return []string{fmt.Sprintf("%s objective missed: %s measured, %s allowed", name, progress.Duration(d), progress.Duration(want))}
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
func VerdictError(subject string, v Verdict) error {
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
