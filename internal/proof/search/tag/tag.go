package tag

import (
	"strconv"
	"strings"
)

// Tag is what a drctl/global message says: the id of a global transaction, and
// either how many local ones it has, or that more follow ("<id>/+"), or that
// this is the last ("<id>/.").
type Tag struct {
	ID   string
	Want int // 0 if the tag does not say
	Last bool
}

// Parse reads a tag. One that is malformed is a global transaction of its own
// that never gets whole: it is reported as broken, by its text.
func Parse(text string) Tag {
	i := strings.LastIndexByte(text, '/')
	if i < 0 {
		return Tag{ID: text}
	}

	switch id, n := text[:i], text[i+1:]; n {
	case "+":
		return Tag{ID: id}
	case ".":
		return Tag{ID: id, Last: true}
	default:
		if want, err := strconv.Atoi(n); err == nil && want > 0 && n[0] != '+' {
			return Tag{ID: id, Want: want}
		}
	}

	return Tag{ID: text}
}
