package reconcile_test

import (
	"fmt"
	"testing"

	"drctl/targets/reconciliation"
	"drctl/targets/s3/reconcile"
)

// TestEmptied: a bucket that a mistake has emptied, or that was made anew, takes nothing from the other
// side with it, and is not called reconciled.
func TestEmptied(t *testing.T) {
	for _, versioned := range []bool{true, false} {
		calls := 0
		s := &scene{ancestor: map[string]string{}, etags: map[string]string{},
			a: &fake{name: "east", versioned: true, objects: map[string]held{}, deleted: map[string]bool{}, calls: &calls},
			b: &fake{name: "west", versioned: versioned, objects: map[string]held{}, deleted: map[string]bool{}, calls: &calls}}

		for i := range 50 {
			k := fmt.Sprintf("k%02d", i)
			s.ancestor[k], s.a.objects[k], s.b.deleted[k] = "x", held{content: "x"}, true
		}
		s.a.objects["new"] = held{content: "y"}

		got, err := reconcile.Run(t.Context(), s.a, s.b, reconciliation.Request{Delete: true, Ancestor: s.manifest})
		if err != nil || len(s.a.objects) != 51 || got.Deleted != 0 || got.Deletions != 50 || got.Emptied != "west" || (got.Doubtful == 0) != versioned {
			t.Errorf("%v %d are left: %+v", err, len(s.a.objects), got)
		}

		got, err = reconcile.Run(t.Context(), s.a, s.b, reconciliation.Request{Delete: true, Ancestor: s.manifest})
		if err != nil || len(s.a.objects) != 51 || got.Deleted != 0 || got.Deletions != 50 || got.Emptied != "west" {
			t.Errorf("again, with something new in it: %v %d are left: %+v", err, len(s.a.objects), got)
		}

		if versioned {
			continue
		}

		got, err = reconcile.Run(t.Context(), s.a, s.b, reconciliation.Request{Fill: true, Ancestor: s.manifest})
		if err != nil || len(s.b.objects) != 51 || got.ToB != 50 || got.Deletions != 0 || got.Emptied != "" {
			t.Errorf("filled: %v %+v", err, got)
		}
	}
}
