package timelines

import "testing"

// Trap 13: a standby that forked looks late, or newer, to whoever compares
// numbers of timelines.
func TestATimelineIsComparedByAncestryAndNotByNumber(t *testing.T) {
	t.Parallel()

	first := func(at uint64) Point { return Point{System: "7", Timeline: 1, Offset: at} }
	second := func(fork, at uint64) Point {
		return Point{System: "7", Timeline: 2, Offset: at, History: History{{1, fork}}}
	}
	third := func(fork, next, at uint64) Point {
		return Point{System: "7", Timeline: 3, Offset: at, History: History{{1, fork}, {2, next}}}
	}

	for name, c := range map[string]struct {
		a, b Point
		want Relation
		fork uint64
	}{
		"the same":                           {first(100), first(100), Same, 100},
		"late":                               {first(90), first(100), Behind, 90},
		"early":                              {first(110), first(100), Ahead, 100},
		"late on the parent":                 {first(90), second(100, 150), Behind, 90},
		"at the fork":                        {first(100), second(100, 150), Behind, 100},
		"at the fork, nothing written":       {first(100), second(100, 100), Same, 100},
		"a lower number that forked":         {first(120), second(100, 150), Diverged, 100},
		"a higher number that forked":        {second(100, 110), first(120), Diverged, 100},
		"a higher number that goes on":       {second(100, 110), first(100), Ahead, 100},
		"the same number, given twice":       {second(100, 150), second(110, 150), Diverged, 100},
		"the same number twice, fork at end": {second(100, 150), second(150, 160), Diverged, 100},
		"another number of the same parent":  {Point{System: "7", Timeline: 3, Offset: 160, History: History{{1, 100}}}, second(100, 150), Diverged, 100},
		"grandchild":                         {first(90), third(100, 150, 170), Behind, 90},
		"grandchild, forked":                 {second(100, 160), third(100, 150, 170), Diverged, 150},
		"grandchild, forked before the fork": {first(120), third(100, 150, 170), Diverged, 100},
		"another cluster at the same place":  {Point{System: "8", Timeline: 1, Offset: 100}, first(100), Diverged, 0},
		"no common beginning":                {Point{System: "7", Timeline: 5, Offset: 9}, first(100), Diverged, 0},
	} {
		got, fork := Relate(c.a, c.b)
		if got != c.want || fork != c.fork {
			t.Errorf("%s: %v at %d, want %v at %d", name, got, fork, c.want, c.fork)
		}

		back := map[Relation]Relation{Same: Same, Behind: Ahead, Ahead: Behind, Diverged: Diverged}[c.want]
		if got, fork := Relate(c.b, c.a); got != back || fork != c.fork {
			t.Errorf("%s, the other way: %v at %d, want %v at %d", name, got, fork, back, c.fork)
		}
	}
}
