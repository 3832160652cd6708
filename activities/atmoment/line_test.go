package atmoment

import (
	"testing"

	"drctl/internal/fail"
	"drctl/targets"
)

// A moment of a branch that the standby's line has left is of a side that was given up. One before
// that, or on a line that the standby does not know, is not.
func TestAMomentOfABranchThatWasLeft(t *testing.T) {
	at := func(timeline string, offset uint64) targets.Position {
		return targets.Position{Kind: targets.Postgres, Timeline: timeline, Offset: offset}
	}
	left := []targets.Position{at("7-00000001", 100), at("7-00000002", 200)}

	for name, c := range map[string]struct {
		point  targets.Position
		refuse bool
	}{
		"where it was left":     {at("7-00000001", 100), false},
		"before that":           {at("7-00000002", 150), false},
		"behind that":           {at("7-00000001", 101), true},
		"behind that, later":    {at("7-00000002", 201), true},
		"on its own":            {at("7-00000003", 300), false},
		"on one it knows not":   {at("7-00000004", 300), false},
		"of another cluster":    {at("8-00000001", 300), false},
		"on the standby's line": {at("7-00000003", 1), false},
	} {
		if err := onBranch(targets.Instance{}, c.point, left); fail.Is(err, fail.Conflict) != c.refuse {
			t.Errorf("%s: %v", name, err)
		}
	}
}
