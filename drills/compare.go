package drills

import (
	"math/big"
	"regexp"
	"strings"
)

var (
	operators = []string{"!=", "<=", ">=", "=", "<", ">"} // longer ones first
	decimal   = regexp.MustCompile(`^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$`)
)

// Matches compares an answer with what an assertion wants. Without an operator
// the texts must be equal; with one, numbers are compared exactly as decimal
// numbers where both sides are numbers, else as text.
func Matches(want, got string) bool {
	op, limit := operator(want)
	if op == "" {
		return got == want
	}
	c := strings.Compare(got, limit)
	if a, ok := parseDecimal(got); ok {
		if b, ok := parseDecimal(limit); ok {
			c = a.Cmp(b)
		}
	}
	switch op {
	case "=":
		return c == 0
	case "!=":
		return c != 0
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	}
	return c >= 0
}

func operator(want string) (op, limit string) {
	for _, o := range operators {
		if rest, ok := strings.CutPrefix(want, o); ok {
			return o, strings.TrimSpace(rest)
		}
	}
	return "", want
}

func parseDecimal(s string) (*big.Rat, bool) {
	if !decimal.MatchString(s) {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}

// formatDecimal writes a sum of decimal numbers exactly.
func formatDecimal(r *big.Rat) string {
	if r.IsInt() {
		return r.Num().String()
	}
	n, exact := r.FloatPrec()
	if !exact { // cannot come from decimal addends
		n = 20
	}
	return r.FloatString(n)
}
