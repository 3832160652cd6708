package problem

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"

	"drctl/internal/fail"
)

// Problem is one thing that endangers recovery or will. It is what status
// prints, what drctl up logs, and what JSON carries.
type Problem struct {
	// Code is stable: "archiver-failing", "grants-missing". The pair of code and
	// subject names one problem as long as it lasts.
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	Subject  string   `json:"subject"` // a shard, an instance, a region, a workflow
	// Region is the one whose worker is concerned; "" when all are.
	Region string    `json:"region,omitempty"`
	What   string    `json:"what"`
	Why    string    `json:"why,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Detail string    `json:"detail,omitempty"` // "attempt 14, next in 20 s"
	Next   string    `json:"next,omitempty"`   // what to do about it
}

// Severity says how much a problem endangers.
type Severity string

// Critical: recovery of something is not protected now. Warning: it will not
// be if nothing is done, or less well.
const (
	Critical Severity = "critical"
	Warning  Severity = "warning"
)

// Text renders "archiver of orders/0 fails since 09:13 (attempt 14): why; next". A
// time of another day than now comes with its date.
func (p Problem) Text(now time.Time) string {
	var b strings.Builder
	b.WriteString(p.What)

	if !p.Since.IsZero() {
		b.WriteString(" since " + Clock(p.Since, now))
	}

	if p.Detail != "" {
		b.WriteString(" (" + p.Detail + ")")
	}

	if p.Why != "" {
		b.WriteString(": " + p.Why)
	}

	if p.Next != "" {
		b.WriteString("; " + p.Next)
	}

	return b.String()
}

// Reason is a problem's reason without the words that hold numbers, which are
// others each time: a cut's id, a process, an age.
func (p Problem) Reason() string {
	words := strings.Fields(p.Why)
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return strings.ContainsAny(w, "0123456789") }), " ")
}

// Short is a problem in a few words.
func (p Problem) Short() string {
	if p.What == p.Subject {
		return p.What + ": " + p.Why
	}

	return p.What
}

// Because fills in why, and what to do next when the error says it.
func (p Problem) Because(err error) Problem {
	if err == nil {
		return p
	}
	p.Why = err.Error()

	var fe *fail.Error
	if errors.As(err, &fe) && fe.Hint != "" && strings.HasSuffix(p.Why, " ("+fe.Hint+")") {
		p.Why = strings.TrimSuffix(p.Why, " ("+fe.Hint+")")
		if p.Next == "" {
			p.Next = fe.Hint
		}
	}

	return p
}

// Clock is a time of day, with the day when that is not today.
func Clock(t, now time.Time) string {
	t = t.Local()
	if y, m, d := t.Date(); !sameDay(now.Local(), y, m, d) {
		return t.Format("2006-01-02 15:04")
	}

	return t.Format("15:04")
}

func sameDay(t time.Time, year int, month time.Month, day int) bool {
	y, m, d := t.Date()
	return y == year && m == month && d == day
}

// Texts renders problems as lines for people.
func Texts(ps []Problem, now time.Time) []string {
	out := make([]string, len(ps))
	for i, p := range ps {
		out[i] = p.Text(now)
	}

	return out
}

// Key names one problem as long as it lasts, whatever its reason.
func (p Problem) Key() string {
	key := p.Code + " " + p.Subject
	if p.Code == "instance-warning" { // several of one instance
		key += " " + p.Reason()
	}

	return key
}

// Lasting are the problems that concern a region ("" is all) and are told while
// nobody asks: a cut that is tried again is not one, as it is said when it fails
// in the end. Home is the region of those that name none.
func Lasting(ps []Problem, region, home string) []Problem {
	return slices.DeleteFunc(slices.Clone(ps), func(p Problem) bool {
		return p.Code == "cut-retried" || region != "" && region != cmp.Or(p.Region, home)
	})
}
