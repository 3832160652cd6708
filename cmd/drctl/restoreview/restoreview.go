package restoreview

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"drctl/cmd/drctl/boxes"
	"drctl/internal/human"
	"drctl/internal/progress"
	"drctl/internal/ui"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/workflows"
)

// Plan prints a plan with its steps.
func Plan(w io.Writer, p plan.Run) error {
	what := "cut " + p.Cut.ID
	if p.Cut.ID == "" {
		what = "the state at " + p.Goal.At.UTC().Format(time.RFC3339)
	} else {
		what += " of " + p.Cut.QuiescedAt.Local().Format(time.DateTime) + " (" + human.Duration(time.Since(p.Cut.QuiescedAt)) + " ago)"
	}

	fmt.Fprintf(w, "restore %s to %s\nfrom the vault of %s into %s, %s to read\n", p.Goal.Group, what, p.Goal.Vault, p.Goal.Into, human.Bytes(p.Bytes()))

	var rows [][]string
	for _, s := range p.Steps {
		if s.Op != plan.OpRestore {
			continue
		}

		base, to := s.Base.ID, "sandbox"
		if s.Kind.Traits().Manifest {
			base = "manifest " + s.Point.Manifest[:min(12, len(s.Point.Manifest))]
		}

		if s.Into.Region != "" {
			to = strings.TrimSpace(s.Into.Region + " " + s.Into.Address + " " + s.Into.DataDir + s.Into.Bucket)
		}
		// Of a store with a log there are chunks, of a bucket objects.
		stream, pieces := human.Bytes(s.StreamBytes), fmt.Sprintf("%d chunks", s.Chunks)

		size := human.Bytes(s.BaseBytes)
		if s.Kind.Traits().Manifest {
			stream, pieces = "-", fmt.Sprintf("%d objects", s.Objects)
			if s.Objects == 0 {
				size, pieces = "not counted", "-"
			}
		}
		rows = append(rows, []string{s.Shard.String(), p.Goal.Vault, base, size, stream, pieces, s.Point.String(), to})
	}

	if err := progress.Table(w, []string{"SHARD", "VAULT", "BASE", "BASE BYTES", "STREAM BYTES", "IN", "TO POINT", "INTO"}, rows); err != nil {
		return err
	}

	for _, x := range p.Warnings {
		fmt.Fprintln(w, "warning: "+x)
	}

	fmt.Fprintf(w, "plan %s, SHA-256 %s\n", p.ID, p.Hash)

	return nil
}

// Outcome prints what came of a restore, and returns its exit status.
func Outcome(w io.Writer, asJSON bool, out workflows.RestoreOut) error {
	if asJSON {
		if err := ui.PrintJSON(w, out); err != nil {
			return err
		}
	} else {
		var rows [][]string
		for _, s := range out.Steps {
			res := "done"
			if !s.Before.IsZero() {
				res = "done before"
			}

			if slices.Contains(out.Unchecked, s.StepID) {
				res = "NOT VERIFIED"
			}

			if s.Tally().Failed > 0 { // which is known without the findings too
				res = "WRONG"
			}

			if s.Error != "" {
				res = "FAILED"
			}
			rows = append(rows, []string{s.StepID, res, human.Duration(s.Finished.Sub(s.Started)), human.Bytes(s.Outcome.Bytes), s.Address})
		}

		if err := progress.Table(w, []string{"STEP", "RESULT", "TOOK", "BYTES", "ADDRESS"}, rows); err != nil {
			return err
		}

		for _, s := range out.Steps {
			if s.Error != "" {
				fmt.Fprintf(w, "%s: %s\n", s.StepID, s.Error)
			}

			for _, x := range s.Findings {
				if x.Severity != targets.Passed {
					Findings(w, []targets.Finding{x})
				}
			}
		}

		for _, n := range out.NotRun {
			fmt.Fprintf(w, "%s did not run: %s\n", n.StepID, n.Why)
		}

		if out.Sandbox.ID != "" && out.LeftOver == "" {
			boxes.Left(w, out.Sandbox.Dir)
		}

		fmt.Fprintf(w, "took %s\n", human.Duration(out.Finished.Sub(out.Started)))

		if len(out.Unchecked) > 0 {
			fmt.Fprintf(w, "not verified: no check ran in %s\n", strings.Join(out.Unchecked, ", "))
		}
	}

	return Status(out)
}

// Status is the exit status of a restore: 4 when everything was done and
// a check found something wrong, 3 when part of it could not be done. 0 says
// that everything was restored to the point and that no check failed, not that
// there was one: servers that are left stopped are not checked.
func Status(out workflows.RestoreOut) error {
	restored := 0
	for _, s := range out.Steps {
		if s.Op == plan.OpRestore && s.Error == "" {
			restored++
		}
	}

	switch {
	case restored == 0:
		return ui.Exit{Code: 1, Message: "nothing was restored"}
	case len(out.Failed)+len(out.NotRun) > 0:
		msg := fmt.Sprintf("%d steps failed, %d did not run", len(out.Failed), len(out.NotRun))
		if n := len(out.Unverified); n > 0 {
			msg += fmt.Sprintf(", %d found something wrong", n)
		}

		return ui.Exit{Code: 3, Message: msg}
	case len(out.Unverified) > 0:
		return ui.Exit{Code: 4, Message: fmt.Sprintf("restored, but the checks of %s failed", strings.Join(out.Unverified, ", "))}
	}

	return nil
}

// Findings prints what failed or was left out first.
func Findings(w io.Writer, fs []targets.Finding) {
	for _, sev := range []targets.Severity{targets.Failed, targets.Warned, targets.Skipped, targets.Passed} {
		for _, f := range fs {
			if f.Severity != sev {
				continue
			}

			line := fmt.Sprintf("%-7s %s: %s", strings.ToUpper(string(sev)), f.Subject, f.Check)
			if f.Expected != "" || f.Got != "" {
				line += fmt.Sprintf(" (expected %s, got %s)", f.Expected, f.Got)
			}

			if f.Detail != "" {
				line += ": " + f.Detail
			}

			fmt.Fprintln(w, line)
		}
	}
}
