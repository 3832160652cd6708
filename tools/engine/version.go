package main

import (
	"slices"
	"strconv"
	"strings"
)

// newer reports whether dotted version a is after b. What is not a number
// counts as newer than any number: the unknown is refused, not guessed at.
func newer(a, b string) bool { return compareVersions(a, b) > 0 }

func sortVersions(v []string) { slices.SortFunc(v, compareVersions) }

func compareVersions(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(as), len(bs)) {
		if c := part(as, i) - part(bs, i); c != 0 {
			return c
		}
	}
	return 0
}

func part(v []string, i int) int {
	if i >= len(v) {
		return 0
	}
	n, err := strconv.Atoi(v[i])
	if err != nil || n < 0 || n > 1<<30 {
		return 1<<30 + 1
	}
	return n
}
