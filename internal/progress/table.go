package progress

import (
	"io"
	"strings"
	"unicode/utf8"

	"drctl/internal/fail"
	"drctl/internal/human"
)

// Style says how text is decorated.
type Style struct {
	// NoColor leaves every escape sequence out (NO_COLOR, or not a terminal).
	NoColor bool
}

const (
	reset  = "\x1b[0m"
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
)

func (s Style) paint(code, text string) string {
	if s.NoColor || text == "" {
		return text
	}

	return code + text + reset
}

// Bold, Dim, Good, Bad and Warn decorate text, or leave it when colour is off.
// The text itself must say what the colour says.
func (s Style) Bold(t string) string { return s.paint(bold, t) }

// Dim is for what matters less.
func (s Style) Dim(t string) string { return s.paint(dim, t) }

// Good is for what passed.
func (s Style) Good(t string) string { return s.paint(green, t) }

// Bad is for what failed.
func (s Style) Bad(t string) string { return s.paint(red+bold, t) }

// Warn is for what needs a look.
func (s Style) Warn(t string) string { return s.paint(yellow, t) }

// Table writes plain aligned columns under headers, without colour. Cells are
// cleaned; columns whose cells are all numbers or sizes are right-aligned.
func Table(w io.Writer, headers []string, rows [][]string) error {
	return Style{NoColor: true}.Table(w, headers, rows)
}

// Table writes aligned columns under bold headers; two spaces part the
// columns, no line ends in spaces. Missing cells are empty, surplus ones are
// left out. On a terminal that is too narrow long texts are cut, where that makes the
// table fit: never the first column, an amount, or anything in a pipe or a file.
func (s Style) Table(w io.Writer, headers []string, rows [][]string) error {
	return s.table(w, terminalWidth(w), headers, rows)
}

// table is Table for so many columns of a terminal; 0 is no limit.
func (s Style) table(w io.Writer, cols int, headers []string, rows [][]string) error {
	n := len(headers)
	widths := make([]int, n)
	right := make([]bool, n)

	cells := make([][]string, len(rows))
	for i, h := range headers {
		widths[i] = width(human.Clean(h))
		right[i] = len(rows) > 0
	}

	for r, row := range rows {
		cells[r] = make([]string, n)
		for i := range min(n, len(row)) {
			c := human.Clean(row[i])
			cells[r][i] = c
			widths[i] = max(widths[i], width(c))
			right[i] = right[i] && numeric(c)
		}
	}

	fit(cols, headers, widths, right)

	var b strings.Builder
	line := func(row []string, paint func(string) string) {
		var l strings.Builder
		for i, c := range row {
			c = shorten(c, widths[i])

			pad := strings.Repeat(" ", widths[i]-width(c))
			switch {
			case right[i]:
				l.WriteString(pad + paint(c))
			case i == n-1:
				l.WriteString(paint(c))
			default:
				l.WriteString(paint(c) + pad)
			}

			if i < n-1 {
				l.WriteString("  ")
			}
		}

		b.WriteString(strings.TrimRight(l.String(), " ") + "\n")
	}

	head := make([]string, n)
	for i, h := range headers {
		head[i] = human.Clean(h)
	}

	line(head, s.Bold)

	for _, row := range cells {
		line(row, func(t string) string { return t })
	}

	if _, err := io.WriteString(w, b.String()); err != nil {
		return fail.New(fail.Unavailable, "write table", "", "", err)
	}

	return nil
}

const (
	longCell  = 20 // a column that is no wider is never cut: it may be a time
	shortCell = 8  // what is left of a cut one at least, or its header's width
	gapCells  = 2
)

// fit makes the widest columns narrower until a line has no more than cols cells; the
// first and those of amounts stay. Where that is not enough nothing is cut.
func fit(cols int, headers []string, widths []int, amounts []bool) {
	over := -cols - gapCells
	for _, w := range widths {
		over += w + gapCells
	}

	least := make([]int, len(widths))

	spare := 0
	for i, w := range widths {
		least[i] = w
		if i > 0 && !amounts[i] && w > longCell {
			least[i] = max(shortCell, width(headers[i]))
		}
		spare += w - least[i]
	}

	if cols <= 0 || over > spare {
		return
	}

	for ; over > 0; over-- {
		widest := -1
		for i, w := range widths {
			if w > least[i] && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}

		widths[widest]--
	}
}

// numeric reports whether a cell is a number, perhaps with a unit; an empty
// cell or a dash goes with either alignment.
func numeric(c string) bool {
	if c == "" || c == "-" {
		return true
	}

	d := strings.TrimLeft(c, "-+<>~≤≥ ")
	if d == "" || d[0] < '0' || d[0] > '9' {
		return false
	}

	for i, f := range strings.Fields(d) {
		if i%2 == 0 && (f[0] < '0' || f[0] > '9') {
			return false
		}

		if strings.ContainsAny(f, ":T") || strings.Count(f, "-") > 0 {
			return false // a time or an id, not an amount
		}
	}

	return true
}

// width is the number of cells of cleaned text; wide characters count as one,
// which costs alignment and nothing else.
func width(s string) int { return utf8.RuneCountInString(s) }

// shorten cuts cleaned text to n cells, marking the cut.
func shorten(s string, n int) string {
	if n <= 0 {
		return ""
	}

	if width(s) <= n {
		return s
	}
	r := []rune(s)

	return string(r[:n-1]) + "…"
}
