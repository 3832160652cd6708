package redis

import (
	"strings"
	"testing"
)

func TestSplitCommand(t *testing.T) {
	got, err := splitCommand(`EVAL "return 'a b'"  0 'x "y"' "q\"z" ""`)
	if err != nil || strings.Join(got, "|") != `EVAL|return 'a b'|0|x "y"|q"z|` {
		t.Fatalf("%q %v", got, err)
	}

	if _, err := splitCommand(`GET "x`); err == nil {
		t.Fatal("an open quote was accepted")
	}
}
