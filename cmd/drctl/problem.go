package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/human"
)

// problem is one thing that endangers recovery or will. It is what status
// prints, what drctl up logs, and what JSON carries.
type problem struct {
	// Code is stable: "archiver-failing", "grants-missing". The pair of code and
	// subject names one problem as long as it lasts.
	Code     string   `json:"code"`
	Severity severity `json:"severity"`
	Subject  string   `json:"subject"` // a shard, an instance, a region, a workflow
	// Region is the one whose worker is concerned; "" when all are.
	Region string    `json:"region,omitempty"`
	What   string    `json:"what"`
	Why    string    `json:"why,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Detail string    `json:"detail,omitempty"` // "attempt 14, next in 20 s"
	Next   string    `json:"next,omitempty"`   // what to do about it
}

type severity string

// critical: recovery of something is not protected now. warning: it will not
// be if nothing is done, or less well.
const (
	critical severity = "critical"
	warning  severity = "warning"
)

// String renders "archiver of orders/0 fails since 09:13 (attempt 14): why; next".
func (p problem) String() string {
	var b strings.Builder
	b.WriteString(p.What)
	if !p.Since.IsZero() {
		b.WriteString(" since " + clock(p.Since))
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

// of fills in why, and what to do next when the error says it.
func (p problem) of(err error) problem {
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

// clock is a time of day, with the day when that is not today.
func clock(t time.Time) string {
	t = t.Local()
	if y, m, d := t.Date(); !sameDay(time.Now(), y, m, d) {
		return t.Format("2006-01-02 15:04")
	}
	return t.Format("15:04")
}

func sameDay(t time.Time, year int, month time.Month, day int) bool {
	y, m, d := t.Date()
	return y == year && m == month && d == day
}

// attempts says how often something failed and when it is tried again.
func attempts(n int, next time.Time, now time.Time) string {
	s := fmt.Sprintf("attempt %d", n)
	if in := next.Sub(now); !next.IsZero() && in > 0 {
		s += ", next in " + human.Duration(in.Round(time.Second))
	}
	return s
}

// count renders "1 problem", "3 problems".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func texts(ps []problem) []string {
	out := make([]string, len(ps))
	for i, p := range ps {
		out[i] = p.String()
	}
	return out
}
