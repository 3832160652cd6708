package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/progress"
	"drctl/internal/report/evidence"
)

// Text writes a summary for a terminal: the verdict and its reasons first,
// then the figures against the objectives, the stores and the checks that did
// not pass. The whole record is in the JSON.
func Text(w io.Writer, r evidence.Record, st progress.Style) error {
	r, err := clean(r)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	textVerdict(&b, r, st)
	textFigures(&b, r, st)

	if err := textStores(&b, r, st); err != nil {
		return err
	}

	if err := textChecks(&b, r, st); err != nil {
		return err
	}

	textEnd(&b, r, st)

	if _, err := b.WriteTo(w); err != nil {
		return fail.New(fail.Unavailable, "report: write", r.ID, "", err)
	}

	return nil
}

func textVerdict(b *bytes.Buffer, r evidence.Record, st progress.Style) {
	word := st.Good("✓ PASSED")
	if !r.Verdict.Passed {
		word = st.Bad("✗ FAILED")
	}

	if r.GameDay != nil {
		fmt.Fprintf(b, "%s  %s %s, group %s\n", word, r.Test.Type, r.Name, r.Scope.Group)
	} else {
		fmt.Fprintf(b, "%s  restore drill %s, group %s, from the vault of %s\n", word, r.Name, r.Scope.Group, r.Scope.Vault)
	}

	for _, f := range r.Verdict.Failures {
		fmt.Fprintf(b, "  %s %s\n", st.Bad("✗"), f)
	}

	for _, f := range r.Verdict.Warnings {
		fmt.Fprintf(b, "  %s %s\n", st.Warn("!"), f)
	}

	b.WriteString("\n")
}

func textFigures(b *bytes.Buffer, r evidence.Record, st progress.Style) {
	for _, x := range []bar{newBar("RTO", r.Measured.RTO, r.Objectives.RTO), newBar("RPO", r.Measured.RPO, r.Objectives.RPO)} {
		got := x.Got
		if x.Gap != "" {
			got = "not measured: " + x.Gap
		}

		fmt.Fprintf(b, "%s  %s (objective %s: %s)\n", st.Bold(x.Name), got, x.Want, state(x.State, st))
	}

	if r.GameDay == nil {
		fmt.Fprintf(b, "%s  %s, quiesced %s\n", st.Bold("Cut"), r.RecoveryPoint.CutID, stamp(r.RecoveryPoint.QuiescedAt))
	}

	var ph []string
	for _, p := range r.Measured.Phases {
		if d, ok := p.Took.Get(); ok {
			ph = append(ph, p.Name+" "+human.Duration(d))
		}
	}

	if len(ph) > 0 {
		fmt.Fprintf(b, "%s  %s\n", st.Bold("Phases"), strings.Join(ph, ", "))
	}

	b.WriteString("\n")
}

// state says in words what the colour says.
func state(s string, st progress.Style) string {
	switch s {
	case "met", "passed":
		return st.Good(s)
	case "missed", "failed":
		return st.Bad(s)
	case "warned", "not measured":
		return st.Warn(s)
	}

	return st.Dim(s)
}

func textStores(b *bytes.Buffer, r evidence.Record, st progress.Style) error {
	var rows [][]string
	for _, s := range r.Measured.Stores {
		p := storePoint(r, s.Shard)

		c := sizeCell(p.BytesMoved)
		if c.Gap != "" {
			c.Value = "-"
		}
		rows = append(rows, []string{s.Shard, p.Kind, stamp(s.RecoveredTo), human.Duration(s.Loss), c.Value})
	}

	if len(rows) == 0 {
		return nil
	}

	if err := st.Table(b, []string{"STORE", "KIND", "RECOVERED TO", "LOSS", "RESTORED"}, rows); err != nil {
		return err
	}

	b.WriteString("\n")

	return nil
}

func textChecks(b *bytes.Buffer, r evidence.Record, st progress.Style) error {
	t := count(r.Checks)
	fmt.Fprintf(b, "%s  %d passed, %d failed, %d warned, %d skipped\n", st.Bold("Checks"), t.Passed, t.Failed, t.Warned, t.Skipped)

	var rows [][]string
	for _, c := range sortedChecks(r.Checks) {
		if c.Verdict != "passed" {
			rows = append(rows, []string{c.Verdict, c.Name, c.Subject, c.Expected, c.Got})
		}
	}

	if len(rows) == 0 {
		return nil
	}

	return st.Table(b, []string{"VERDICT", "CHECK", "ON", "EXPECTED", "GOT"}, rows)
}

func textEnd(b *bytes.Buffer, r evidence.Record, st progress.Style) {
	if r.GameDay != nil {
		textGameDay(b, r, st)
		return
	}

	iso := "not proven"
	switch {
	case len(r.Isolation.ProductionTouched) > 0:
		iso = "TOUCHED: " + strings.Join(r.Isolation.ProductionTouched, ", ")
	case r.Isolation.Proven:
		iso = "no address or directory of it used"
	}

	if net, _, _ := strings.Cut(r.Isolation.Network, ":"); net != "" {
		iso += "; network " + net
	}

	fmt.Fprintf(b, "%s  %s\n", st.Bold("Production"), iso)

	removed := instantCell(r.CleanUp.RemovedAt)
	switch {
	case len(r.CleanUp.LeftOver) > 0:
		fmt.Fprintf(b, "%s  left over: %s\n", st.Bold("Sandbox"), strings.Join(r.CleanUp.LeftOver, ", "))
	case removed.Gap != "":
		fmt.Fprintf(b, "%s  not removed: %s\n", st.Bold("Sandbox"), removed.Gap)
	default:
		fmt.Fprintf(b, "%s  removed %s\n", st.Bold("Sandbox"), removed.Value)
	}

	fmt.Fprintf(b, "%s  %s %s\n", st.Bold("Evidence"), r.ID, st.Dim("sha256 "+r.ContentSHA256))
}

// textGameDay says what was planted, and what is left of it.
func textGameDay(b *bytes.Buffer, r evidence.Record, st progress.Style) {
	for _, f := range r.GameDay.Faults {
		fmt.Fprintf(b, "%s  %s: planted %s, taken away %s\n", st.Bold("Fault"), f.What, or(instantCell(f.Planted)), or(instantCell(f.Removed)))
	}

	for _, p := range r.GameDay.Proofs {
		fmt.Fprintf(b, "%s  %s\n", st.Bold("Silence"), p)
	}

	if d := spanCell(r.GameDay.Outage); d.Gap == "" {
		fmt.Fprintf(b, "%s  no write was possible for %s, by the recovery's own journal\n", st.Bold("Outage"), d.Value)
	}

	if len(r.CleanUp.LeftOver) > 0 {
		fmt.Fprintf(b, "%s  %s\n", st.Bold("Left over"), st.Bad(strings.Join(r.CleanUp.LeftOver, "; ")))
	}

	fmt.Fprintf(b, "%s  %s %s\n", st.Bold("Evidence"), r.ID, st.Dim("sha256 "+r.ContentSHA256))
}

// or is a cell's value, or why there is none.
func or(c cell) string {
	if c.Gap != "" {
		return "not: " + c.Gap
	}

	return c.Value
}
