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
