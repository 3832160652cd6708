package assert

import (
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
)

// How drivers write an answer that holds nothing. Each meets only itself.
const (
	Null  = "NULL"    // SQL: a value that is not there
	Nil   = "(nil)"   // Redis: a key that is not there
	Empty = "(empty)" // Redis: a list without elements
)

var (
	operators = []string{"!=", "<=", ">=", "=", "<", ">"} // longer ones first

	// The exponent is short, so that no answer makes a number that fills the memory.
	number   = regexp.MustCompile(`^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$`)
	infinite = regexp.MustCompile(`(?i)^[+-]?(nan|inf|infinity)$`)
)

// Meets reports whether an answer meets what is wanted, and says why not where
// that is more than two values that differ.
//
// Without an operator both are compared as text, byte by byte: 5.00 does not
// meet 5. After =, !=, <, <=, > or >= they are compared as numbers, exactly. An
// answer that is no number then fails. Only = and != may stand before a text,
// and then compare texts.
func Meets(want, got string) (ok bool, why string) {
	op, limit := split(want)

	if nothing(got) {
		if (op == "" || op == "=") && limit == got {
			return true, ""
		}

		return false, "the query returned nothing"
	}

	if op == "" {
		return got == want, ""
	}

	if infinite.MatchString(strings.TrimSpace(got)) {
		return false, fmt.Sprintf("%s is not a finite number", excerpt(got))
	}

	b, ok := Number(limit)
	switch {
	case !ok && op == "=":
		return got == limit, ""
	case !ok && op == "!=":
		return got != limit, ""
	case !ok:
		return false, fmt.Sprintf("%s compares numbers, and what stands after it is none: let the query compare, and want its answer", op)
	}

	a, ok := Number(got)
	if !ok {
		return false, fmt.Sprintf("%s compares numbers, and the answer %s is none", op, excerpt(got))
	}

	return holds(op, a.Cmp(b)), ""
}

// holds reports whether a comparison that came out as c (below 0, 0 or above)
// is what the operator asks for.
func holds(op string, c int) bool {
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

// AsNumber makes an expectation without an operator one that compares numbers.
// Of a sum, which is a number, 5.00 is 5.
func AsNumber(want string) string {
	if op, _ := split(want); op == "" {
		return "=" + want
	}

	return want
}

// Number reads a finite decimal number, with white space around it or an
// exponent of up to three digits, and loses no digit of it.
func Number(s string) (*big.Rat, bool) {
	s = strings.TrimSpace(s)
	if !number.MatchString(s) {
		return nil, false
	}

	return new(big.Rat).SetString(s)
}

// FormatNumber writes a sum of decimal numbers exactly.
func FormatNumber(r *big.Rat) string {
	if r.IsInt() {
		return r.Num().String()
	}

	n, exact := r.FloatPrec()
	if !exact { // no sum of decimal numbers is like that
		n = 20
	}

	return r.FloatString(n)
}

func split(want string) (op, limit string) {
	for _, o := range operators {
		if rest, ok := strings.CutPrefix(want, o); ok {
			return o, strings.TrimSpace(rest)
		}
	}

	return "", want
}

func nothing(got string) bool { return slices.Contains([]string{Null, Nil, Empty}, got) }

// excerpt quotes an answer, which can be of any length.
func excerpt(s string) string {
	const most = 60
	if len(s) > most {
		return fmt.Sprintf("%q...", s[:most])
	}

	return fmt.Sprintf("%q", s)
}
