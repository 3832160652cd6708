package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Mistake is one thing wrong with a file, or one warning about it.
type Mistake struct {
	File      string
	Line, Col int    // 1-based; 0 when the mistake has no place
	Path      string // "policies.standard.cut.lease"
	Message   string
	Hint      string // may be empty
}

// String renders "file:line:col: path: message (hint)".
func (m Mistake) String() string {
	var b strings.Builder
	b.WriteString(m.File)

	if m.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", m.Line, m.Col)
	}

	b.WriteString(": ")

	if m.Path != "" {
		b.WriteString(m.Path + ": ")
	}

	b.WriteString(m.Message)

	if m.Hint != "" {
		b.WriteString(" (" + m.Hint + ")")
	}

	return b.String()
}

// Errors are all mistakes of a file, in the order of its lines. Load and
// Parse return it as the cause of a *fail.Error of code invalid.
type Errors []Mistake

// Error renders one mistake per line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, m := range e {
		lines[i] = m.String()
	}

	if len(e) == 1 {
		return lines[0]
	}

	return fmt.Sprintf("%d mistakes:\n%s", len(e), strings.Join(lines, "\n"))
}

func sortMistakes(ms []Mistake) []Mistake {
	slices.SortStableFunc(ms, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col), strings.Compare(a.Path, b.Path), strings.Compare(a.Message, b.Message))
	})

	return slices.Compact(ms)
}

// Suggest returns "did you mean ..." for a word close to one of the known
// ones, else a list of the known ones when it is short.
func Suggest(word string, known []string) string {
	best, bestDistance := "", 3
	for _, k := range known {
		limit := max(1, len(k)/3)
		if len(k) == 1 {
			limit = 0 // "3" is not a misspelt "0"
		}

		if d := distance(strings.ToLower(word), k); d < bestDistance && d <= limit {
			best, bestDistance = k, d
		}
	}

	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}

	if len(known) > 0 && len(known) <= 12 {
		return "known: " + strings.Join(known, ", ")
	}

	return ""
}

// distance is the edit distance with transpositions of neighbours, on bytes:
// the known words are ASCII. Long words are not worth the work.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}

	two, one, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range one {
		one[j] = j
	}

	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}

			row[j] = min(one[j]+1, row[j-1]+1, one[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], two[j-2]+1)
			}
		}
		two, one, row = one, row, two
	}

	return one[len(b)]
}
