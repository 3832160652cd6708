package ahead

import (
	"testing"

	"drctl/internal/timeline"
	"drctl/targets"
)

// What a vault has leads on from a standby when the way to its end goes over the
// standby's timeline, and it may where nobody knows the way. Only then is a path wanted.
func TestLeads(t *testing.T) {
	at := func(id string, offset uint64) targets.Position {
		return targets.Position{Kind: targets.Postgres, Timeline: id, Offset: offset}
	}
	x := timeline.NewIndex([]timeline.Timeline{
		{ID: "s-1", Origin: true},
		{ID: "s-2", Origin: true, Offset: 100, Parent: at("s-1", 100)},
		{ID: "s-3", Origin: true, Offset: 200, Parent: at("s-2", 200)},
		{ID: "s-7"}, // its record is damaged: where it left another one is not known
		{ID: "s-9", Origin: true, Offset: 300, Parent: at("s-8", 300)}, // its parent was never archived
	})

	for _, c := range []struct {
		to, over string
		want     bool
	}{
		{"s-3", "s-1", true},
		{"s-3", "s-2", true},
		{"s-3", "s-3", true},
		{"s-2", "s-3", false}, // the standby is ahead
		{"s-3", "s-4", false}, // on another branch, or ahead
		{"s-7", "s-2", true},
		{"s-9", "s-2", true}, // nobody knows
	} {
		if got := leads(x, at(c.to, 250), c.over); got != c.want {
			t.Errorf("the way to %s goes over %s: %t", c.to, c.over, got)
		}
	}
}
