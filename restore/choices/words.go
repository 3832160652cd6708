package choices

import (
	"fmt"
	"strings"
	"time"

	"drctl/internal/human"
	"drctl/restore/plan"
)

const (
	unknown = "unknown"
	stamp   = "2006-01-02T15:04:05Z"
	// mostNames bounds how many steps or shards are named in a line.
	mostNames = 3
	// mostNotes bounds how many notes are shown.
	mostNotes = 8
	// never says that no past run or drill has had any step.
	never = "never run"
)

// Rows are the table for people. Cells are short; Lines have the reasons.
func (t *Table) Rows() (head []string, rows [][]string) {
	for _, c := range t.Choices {
		rows = append(rows, []string{t.name(c), c.RPO.within(), c.RPO.log(c.Choice), c.RTO.half(), c.RTO.slow(), c.RTO.from()})
	}

	return []string{"CHOICE", "LOSES AT MOST", "LOG", "TAKES (P50)", "P95", "FROM"}, rows
}

// Lines say which choice is the default and why, and why what is not known.
func (t *Table) Lines() (out []string) {
	out = append(out, fmt.Sprintf("default: %s: %s", t.Default, t.DefaultWhy))
	add := func(format string, args ...any) { out = append(out, human.Clean(fmt.Sprintf(format, args...))) }

	for _, c := range t.Choices {
		if c.Cannot != "" {
			add("%s cannot run: %s", c.Choice, c.Cannot)
			continue
		}

		switch {
		case c.RPO.Within == nil:
			add("%s loses: unknown: %s", c.Choice, c.RPO.Why)
		case c.Worst != "":
			add("%s loses most of %s", c.Choice, c.Worst)
		}

		if m := c.Moment; m != nil {
			add("%s goes to %s (%s)", c.Choice, exact(m.At), m.Grade)

			if m.Why != "" {
				add("%s: that moment may not be the newest: %s", c.Choice, m.Why)
			}
		}

		if c.RPO.BytesWhy != "" && (c.RPO.Within != nil || c.RPO.BytesWhy != c.RPO.Why) {
			add("%s, log of: unknown: %s", c.Choice, c.RPO.BytesWhy)
		}

		if c.RTO.P50 == nil {
			add("%s takes: unknown: %s", c.Choice, c.RTO.Why)
		}

		if n := len(c.RTO.Never); n > 0 {
			add("%s takes longer than that: never run: %s", c.Choice, some(c.RTO.Never, ", "))
		}

		if c.RTO.People > 0 {
			add("%s: people are waited for in %s of it", c.Choice, human.Duration(c.RTO.People))
		}

		if c.RTO.Unread != "" {
			add("%s: not all past runs are known: %s", c.Choice, c.RTO.Unread)
		}

		if notes := c.notes(); len(notes) > 0 {
			add("%s, %s", c.Choice, some(notes, "; "))
		}
	}

	for _, n := range t.Notes[:min(len(t.Notes), mostNotes)] {
		add("%s", n)
	}

	if more := len(t.Notes) - mostNotes; more > 0 {
		add("and %s, which --json has", human.Plural(more, "more note"))
	}

	return out
}

// notes are those of its shards.
func (c Choice) notes() (out []string) {
	for _, s := range c.Shards {
		for _, n := range s.Notes {
			out = append(out, s.Shard.String()+": "+n)
		}
	}

	return out
}

// Words are the table in one line, as people sign it; "" of none.
func (t *Table) Words() string {
	if t == nil {
		return ""
	}

	var all []string
	for _, c := range t.Choices {
		all = append(all, t.name(c)+" "+c.words())
	}

	return human.Clean(fmt.Sprintf("foreseen at %s: %s", t.At.UTC().Format(stamp), strings.Join(all, "; ")))
}

// words are those of one choice.
func (c Choice) words() string {
	if c.Cannot != "" {
		return "cannot run"
	}

	takes := c.RTO.half()
	if c.RTO.P50 != nil {
		takes += " (p95 " + c.RTO.slow() + ", " + c.RTO.from() + ")"
	} else {
		takes += ": " + c.RTO.Why
	}

	return fmt.Sprintf("loses at most %s, log: %s, takes %s", c.RPO.within(), c.RPO.log(c.Choice), takes)
}

// name is a choice with its marks.
func (t *Table) name(c Choice) string {
	var marks []string
	if c.Choice == t.Default {
		marks = append(marks, "default")
	}

	if c.Choice == t.Taken {
		marks = append(marks, "this plan")
	}

	if len(marks) == 0 {
		return string(c.Choice)
	}

	return fmt.Sprintf("%s (%s)", c.Choice, strings.Join(marks, ", "))
}

func (l Loss) within() string {
	if l.Within == nil {
		return unknown
	}

	return human.Duration(*l.Within)
}

// log is what is known of it.
func (l Loss) log(c plan.Choice) string {
	what := "seen beyond"
	if c == plan.Proven {
		what = "given up"
	}

	switch {
	case l.Bytes == nil:
		return unknown
	case l.BytesWhy != "":
		return fmt.Sprintf("%s %s, not of all known", human.Bytes(*l.Bytes), what)
	case *l.Bytes == 0:
		return "none " + what
	}

	return human.Bytes(*l.Bytes) + " " + what
}

func (x Time) half() string { return x.span(x.P50) }

func (x Time) slow() string { return x.span(x.P95) }

func (x Time) span(d *time.Duration) string {
	switch {
	case d == nil:
		return unknown
	case len(x.Never) > 0:
		return "> " + human.Duration(*d)
	}

	return human.Duration(*d)
}

// from says on how much it rests.
func (x Time) from() string {
	switch {
	case x.P50 == nil && x.Why == never:
		return never
	case x.P50 == nil:
		return unknown
	}

	return human.Plural(x.Runs, "past run")
}

// some are the first of many.
func some(all []string, sep string) string {
	more := ""
	if n := len(all) - mostNames; n > 0 {
		more = fmt.Sprintf("%sand %d more", sep, n)
	}

	return strings.Join(all[:min(len(all), mostNames)], sep) + more
}

// Reached is how a run ended.
type Reached struct {
	// LostFrom is the instant from which on something can be lost, zero where nothing is, and LostWhy why
	// that is not known. Silent is when the old side was silent at the latest.
	LostFrom, Silent time.Time
	LostWhy          string
	Took             time.Duration
}

func (r Reached) lost() string {
	switch {
	case r.LostWhy != "":
		return "loses: unknown: " + r.LostWhy
	case r.LostFrom.IsZero():
		return "loses nothing"
	case r.Silent.IsZero():
		return "loses what was written from " + exact(r.LostFrom) + " on"
	}

	return fmt.Sprintf("loses what was written in the %s from %s on", human.Duration(max(0, r.Silent.Sub(r.LostFrom))), exact(r.LostFrom))
}

// Compare holds how a run ended against what was foreseen of its choice; "" where nothing was foreseen. The
// instants are what can be compared: until the old side was shown to be silent, time went on.
func (t *Table) Compare(r Reached) string {
	c := t.Of(t.taken())
	if c == nil {
		return ""
	}

	from := ""
	if c.RPO.Within != nil {
		from = ", from " + exact(t.At.Add(-*c.RPO.Within)) + " on"
	}

	return human.Clean(fmt.Sprintf("foreseen at %s%s: %s %s; reached: %s, took %s", t.At.UTC().Format(stamp), from, c.Choice, c.words(), r.lost(), human.Duration(r.Took)))
}

func (t *Table) taken() plan.Choice {
	if t == nil {
		return ""
	}

	return t.Taken
}

func exact(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
