package cutview

import (
	"fmt"
	"io"
	"strings"
	"time"

	"drctl/internal/human"
	"drctl/internal/moment/window"
	"drctl/internal/progress"
	"drctl/targets"
)

// Grade is how much is known of a cut's consistency, and by what: "proven (tagged)".
func Grade(c targets.Cut) string {
	if c.Proof == nil {
		return string(targets.Locked) + " (" + string(c.Mode) + ")"
	}

	if len(c.Proof.Modes) == 0 || c.Proof.Grade == targets.Ordered {
		return string(c.Proof.Grade)
	}

	return fmt.Sprintf("%s (%s)", c.Proof.Grade, strings.Join(c.Proof.Modes, ", "))
}

// Proven is the grade of a cut that was proven anew, and that it is partial if it is.
func Proven(c targets.Cut) string {
	if c.Partial() {
		return fmt.Sprintf("%s, but partial: it lacks %s", Grade(c), human.Plural(len(c.Without), "shard"))
	}

	return Grade(c)
}

// Sealed is the line for a cut that has just been sealed.
func Sealed(c targets.Cut) string {
	line := fmt.Sprintf("sealed %s in %s: %s", c.ID, strings.Join(c.SealedIn, " and "), Grade(c))

	if p := c.Proof; p != nil {
		line += fmt.Sprintf(", as of %s, nothing was committed for %s around it", p.At.Local().Format("15:04:05.000"), human.Duration(p.Gap))
		if c.Stall == 0 {
			return line + "; nobody waited for it"
		}

		return line + fmt.Sprintf("; writers behind the gate waited for %s at most", human.Duration(c.Stall))
	}

	return line + fmt.Sprintf("; writers stalled for %s at most, attempt %d", human.Duration(c.Stall), c.Attempts)
}

// Columns head what Row prints.
var Columns = []string{"CUT", "AS OF", "GRADE", "NAME", "GAP", "STALL", "SEALED AFTER", "SEALED IN"}

// Row is a cut in a table.
func Row(c targets.Cut) []string {
	gap, stall := "-", "none"
	if c.Proof != nil {
		gap = human.Duration(c.Proof.Gap)
	}

	if c.Stall > 0 {
		stall = human.Duration(c.Stall)
	}

	name := c.Name
	if c.Partial() {
		name = strings.TrimSpace(name + fmt.Sprintf(" (lacks %s)", human.Plural(len(c.Without), "shard")))
	}

	if name == "" {
		name = "-"
	}

	return []string{c.ID, c.QuiescedAt.Local().Format(time.DateTime), Grade(c), human.Clean(name), gap, stall,
		human.Duration(c.SealedAt.Sub(c.QuiescedAt)), strings.Join(c.SealedIn, ",")}
}

// named is how many broken global transactions are named.
const named = 5

// Warnings prints what a cut lacks, and why it is of no better grade.
func Warnings(w io.Writer, c targets.Cut) {
	for _, a := range c.Without {
		fmt.Fprintf(w, "warning: %s is not in the cut: %s\n", a.Shard, a.Why)
	}

	for _, why := range c.Why {
		fmt.Fprintf(w, "no better grade: %s\n", human.Clean(why))
	}

	if p := c.Proof; p != nil {
		for _, b := range p.Broken[:min(named, len(p.Broken))] {
			fmt.Fprintf(w, "broken global transaction %q: %s done since %s, on %v\n", b.ID, human.Plural(b.Done, "part"), b.Since.Local().Format(time.DateTime), b.Shards)
		}

		if more := p.BrokenCount - named; more > 0 {
			fmt.Fprintf(w, "%s more are broken\n", human.Plural(more, "global transaction"))
		}
	}

	if doubt := c.Gate.Doubt(); doubt != "" {
		fmt.Fprintf(w, "warning: %s\n", doubt)
	}

	for _, p := range c.Shards {
		for _, text := range p.Warnings {
			fmt.Fprintf(w, "warning: %s: %s\n", p.Shard, text)
		}
	}
}

// Show prints a cut whole; end says what became of it.
func Show(w io.Writer, c targets.Cut, end string) error {
	fmt.Fprintf(w, "cut %s of %s, %s, by %s\n", c.ID, c.Group, Grade(c), c.Tool)

	if c.Name != "" {
		fmt.Fprintf(w, "called %s\n", human.Clean(c.Name))
	}

	if p := c.Proof; p != nil {
		fmt.Fprintf(w, "as of %s, nothing was committed for %s around it; %s tagged and %s two-phase global transactions were seen; %s\n", p.At.Format(time.RFC3339Nano),
			human.Duration(p.Gap), human.Count(int64(p.Tags)), human.Count(int64(p.Groups)), end)
		fmt.Fprintln(w, broken(p))
	} else {
		fmt.Fprintf(w, "taken %s, released %s, %s\n", c.QuiescedAt.Format(time.RFC3339Nano), c.ReleasedAt.Format(time.RFC3339Nano), end)
	}

	head := []string{"SHARD", "REGION", "POSITION", "IN DOUBT"}
	if c.Proof == nil {
		head = []string{"SHARD", "REGION", "POSITION", "GATE", "LOCK", "HOLD", "TOTAL"}
	}

	var rows [][]string

	for _, p := range c.Shards {
		row := []string{p.Shard.String(), p.Region, p.Position.String()}
		if t := p.Timings; c.Proof == nil {
			row = append(row, human.Duration(t.Gate), human.Duration(t.Lock), human.Duration(t.Hold), human.Duration(t.Total))
		} else {
			row = append(row, fmt.Sprint(len(p.InDoubt)))
		}
		rows = append(rows, row)
	}

	if err := progress.Table(w, head, rows); err != nil {
		return err
	}

	Warnings(w, c)

	return nil
}

// broken says how many global transactions are broken, and how much of them is known.
func broken(p *targets.CutProof) string {
	n := human.Plural(p.BrokenCount, "broken global transaction")
	if p.BrokenComplete.IsZero() {
		return n + "; there may be more, because it is not known since when tags are read"
	}

	return n + ", of all that were half done since " + p.BrokenComplete.Local().Format(time.DateTime)
}

// Window prints from when to when moments can be had.
func Window(out io.Writer, w *window.Window) error {
	show := func(t time.Time) string { return t.Local().Format(time.DateTime) }
	rows := make([][]string, 0, len(w.Open)+len(w.Holes))

	for _, o := range w.Open {
		what := "any moment"
		if o.ProvenFrom.After(o.From) {
			what = "any moment; global transactions are known from " + show(o.ProvenFrom)
		}
		rows = append(rows, []string{show(o.From), show(o.To), what})
	}

	for _, h := range w.Holes {
		cause := h.Cause
		if h.Shard != (targets.ShardID{}) {
			cause = h.Shard.String() + ": " + cause
		}
		rows = append(rows, []string{show(h.From), show(h.To), "hole: " + human.Clean(cause)})
	}

	for _, u := range w.Unknown {
		rows = append(rows, []string{show(u.From), show(u.To), "not known: " + human.Clean(u.Cause)})
	}

	if err := progress.Table(out, []string{"FROM", "TO", "WHAT CAN BE HAD"}, rows); err != nil || len(w.Open) == 0 {
		return err
	}
	_, err := fmt.Fprintln(out, quiet(w.Quiet))

	return err
}

// quiet says what is known of quiet instants, and what is not.
func quiet(q window.Quiet) string {
	line := fmt.Sprintf("%d cuts were read out of the logs of these times: there was a quiet instant at each. Whether there is one elsewhere is not looked at here: drctl restore plan --at does.", q.Found)
	if q.From.IsZero() {
		return line
	}

	return line + fmt.Sprintf(" The longest time without one is %s, from %s", human.Duration(q.To.Sub(q.From)), q.From.Local().Format(time.DateTime))
}
