package upkeep

import (
	"testing"

	"drctl/internal/timeline"
	"drctl/targets"
)

func TestOldestBase(t *testing.T) {
	at := func(timeline string, offset uint64) targets.Position {
		return targets.Position{Timeline: timeline, Offset: offset}
	}
	base := func(timeline string, from, until uint64) targets.Artifact {
		return targets.Artifact{From: at(timeline, from), Until: at(timeline, until)}
	}
	// Two timelines of one server, and the life after of one that lost its memory.
	ls := []timeline.Timeline{
		{ID: "one", Origin: true},
		{ID: "two", Origin: true, Offset: 50, Parent: at("one", 50)},
		{ID: "other", Origin: true},
	}

	bases := []targets.Artifact{base("one", 10, 20), base("one", 60, 70), base("two", 80, 90)}
	for _, c := range []struct {
		bases []targets.Artifact
		to    targets.Position
		want  int
	}{
		{bases, at("one", 100), 0},
		{bases, at("two", 100), 0},
		{bases[1:], at("two", 100), 1}, // the base at 60 is after the branch
		{bases[1:], at("one", 100), 0},
		{bases[2:], at("two", 85), -1}, // inside the base: it is not whole yet
		{bases, at("one", 15), -1},
		{bases, at("other", 100), -1},
		{append(bases, base("other", 0, 0)), at("other", 100), 3},
		{bases, at("unknown", 100), -1},
	} {
		if got := oldestBase(ls, c.bases, c.to); got != c.want {
			t.Errorf("oldest of %d bases for %v: %d, want %d", len(c.bases), c.to, got, c.want)
		}
	}
	// A record that names itself as its parent ends the walk.
	if got := oldestBase([]timeline.Timeline{{ID: "x", Parent: at("x", 5)}}, bases, at("x", 9)); got != -1 {
		t.Errorf("a loop: %d", got)
	}
}
