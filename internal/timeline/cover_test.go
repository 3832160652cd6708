package timeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"drctl/internal/fail"
	"drctl/targets"
)

func drawChunks(t *rapid.T) []Chunk {
	n := rapid.IntRange(0, 12).Draw(t, "n")

	cs := make([]Chunk, n)
	for i := range cs {
		from := rapid.Uint64Range(0, 40).Draw(t, "from")
		cs[i] = Chunk{From: from, To: from + rapid.Uint64Range(0, 12).Draw(t, "len"), Key: fmt.Sprint(i)}
	}

	return cs
}

// Every byte asked for is in a chosen chunk or in a gap, never in both.
func TestCoverIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cs := drawChunks(t)
		before := slices.Clone(cs)
		from := rapid.Uint64Range(0, 50).Draw(t, "a")
		to := rapid.Uint64Range(0, 55).Draw(t, "b")

		use, gaps := Cover(cs, from, to)
		if !slices.Equal(cs, before) {
			t.Fatal("the chunks were changed")
		}

		for i := from; i < to; i++ {
			has := func(c Chunk) bool { return c.From <= i && i < c.To }
			stored, used := slices.ContainsFunc(cs, has), slices.ContainsFunc(use, has)

			gap := slices.ContainsFunc(gaps, func(g Gap) bool { return g.From <= i && i < g.To })
			if stored != used || stored == gap {
				t.Fatalf("byte %d: stored %v used %v gap %v", i, stored, used, gap)
			}
		}

		if !slices.IsSortedFunc(use, func(a, b Chunk) int { return int(a.From) - int(b.From) }) {
			t.Fatal("not in order")
		}

		for i := 1; i < len(use); i++ {
			if use[i].To <= use[i-1].To {
				t.Fatal("a chunk that adds nothing was chosen")
			}

			if i > 1 && use[i].From <= use[i-2].To {
				t.Fatal("one chunk too many was chosen")
			}
		}

		for i, g := range gaps {
			if g.From >= g.To || g.From < from || g.To > to || i > 0 && gaps[i-1].To >= g.From {
				t.Fatalf("bad gaps %v", gaps)
			}
		}
	})
}

func TestRunsAgreeWithCover(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cs := drawChunks(t)

		rs := Runs(cs)
		for i := range uint64(60) {
			_, gaps := Cover(cs, i, i+1)

			in := slices.ContainsFunc(rs, func(r Run) bool { return r.From <= i && i < r.To })
			if in == (len(gaps) > 0) {
				t.Fatalf("byte %d", i)
			}
		}
	})
}

func pos(l string, o uint64) targets.Position {
	return targets.Position{Kind: targets.Redis, Timeline: l, Offset: o}
}

func TestPathRefuses(t *testing.T) {
	whole := func(from, to uint64) []Chunk { return []Chunk{{From: from, To: to}} }

	ls := []Timeline{
		{ID: "A", Origin: true, Offset: 10, Chunks: whole(10, 100)},
		{ID: "B", Origin: true, Offset: 50, Parent: pos("A", 50), Chunks: whole(50, 80)},
		{ID: "C", Origin: true, Offset: 70, Parent: pos("B", 60), Chunks: whole(70, 90)},
		{ID: "X", Origin: true, Offset: 1, Parent: pos("Y", 1), Chunks: whole(1, 5)},
		{ID: "Y", Origin: true, Offset: 1, Parent: pos("X", 1), Chunks: whole(1, 5)},
	}
	for _, c := range []struct {
		name        string
		base, point targets.Position
		code        fail.Code
		text        string
	}{
		{"point before base", pos("A", 50), pos("A", 40), fail.Invalid, "before the base"},
		{"another branch", pos("A", 60), pos("B", 70), fail.NotFound, "left it"},
		{"hole between timelines", pos("A", 20), pos("C", 80), fail.NotFound, "C bytes [60,70)"},
		{"unknown timeline", pos("A", 20), pos("Q", 80), fail.NotFound, "Q"},
		{"no way", pos("C", 80), pos("B", 70), fail.NotFound, "no known parent"},
		{"past the end", pos("A", 20), pos("A", 200), fail.NotFound, "A bytes [100,200)"},
		{"loop", pos("A", 20), pos("X", 3), fail.Corrupt, "loop"},
	} {
		_, err := Path(ls, c.base, c.point)
		if !fail.Is(err, c.code) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
