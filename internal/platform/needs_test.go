package platform

import (
	"testing"

	"drctl/targets"
)

// Rights on tables are needed only where a cut can lock them.
func TestLocks(t *testing.T) {
	for mode, want := range map[targets.Modes]bool{"": false, "auto": false, "tagged": false, "two-phase": false, "gate": false,
		"locks": true, "share": true, "tagged+locks": true, "gate+locks": true} {
		g := Group{Name: "shop", Policy: Policy{Mode: mode}}
		if g.Locks() != want || g.Needs(true) != (targets.Needs{Group: "shop", Whole: true, Locks: want}) {
			t.Errorf("%q: locks %t, needs %+v", mode, g.Locks(), g.Needs(true))
		}
	}

	only := Group{Policy: Policy{Mode: "tagged+locks", Accept: string(targets.Proven)}}
	if only.Locks() {
		t.Error("where only a proven cut counts nothing is locked")
	}
}
