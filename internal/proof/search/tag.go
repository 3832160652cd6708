package search

import (
	"strconv"
	"strings"
)

// tag is what a drctl/global message says: the id of a global transaction, and
// either how many local ones it has, or that more follow ("<id>/+"), or that
// this is the last ("<id>/.").
type tag struct {
	id   string
	want int // 0 if the tag does not say
	last bool
}

// parseTag reads a tag. One that is malformed is a global transaction of its own
// that never gets whole: it is reported as broken, by its text.
func parseTag(text string) tag {
	i := strings.LastIndexByte(text, '/')
	if i < 0 {
		return tag{id: text}
	}

	switch id, n := text[:i], text[i+1:]; n {
	case "+":
		return tag{id: id}
	case ".":
		return tag{id: id, last: true}
	default:
		if want, err := strconv.Atoi(n); err == nil && want > 0 && n[0] != '+' {
			return tag{id: id, want: want}
		}
	}

	return tag{id: text}
}
