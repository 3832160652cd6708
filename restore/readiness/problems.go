package readiness

import (
	"fmt"
	"time"

	"drctl/internal/human"
	"drctl/restore/readiness/problem"
)

// Problem is one thing that endangers recovery or will, Severity how much.
type (
	Problem  = problem.Problem
	Severity = problem.Severity
)

// See problem.Severity.
const (
	Critical = problem.Critical
	Warning  = problem.Warning
)

// Texts and Lasting are those of package problem.
var (
	Texts   = problem.Texts
	Lasting = problem.Lasting
)

// attempts says how often something failed and when it is tried again.
func attempts(n int, next time.Time, now time.Time) string {
	s := fmt.Sprintf("attempt %d", n)
	if in := next.Sub(now); !next.IsZero() && in > 0 {
		s += ", next in " + human.Duration(in.Round(time.Second))
	}

	return s
}
