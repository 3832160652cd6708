package human

import (
	"fmt"
	"strings"
)

// Suggest returns "did you mean ..." for a word close to one of the known
// ones, else a list of the known ones when it is short.
func Suggest(word string, known []string) string {
	if s := Meant(word, known); s != "" {
		return s
	}

	if len(known) > 0 && len(known) <= 12 {
		return "known: " + strings.Join(known, ", ")
	}

	return ""
}

// Meant returns "did you mean ..." for a word close to one of the known ones, else
// the empty text.
func Meant(word string, known []string) string {
	best, bestDistance := "", 3
	for _, k := range known {
		limit := max(1, len(k)/3)
		if len(k) == 1 {
			limit = 0 // "3" is not a misspelt "0"
		}

		if d := distance(strings.ToLower(word), strings.ToLower(k)); d < bestDistance && d <= limit {
			best, bestDistance = k, d
		}
	}

	if best == "" {
		return ""
	}

	return fmt.Sprintf("did you mean %q?", best)
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
