package timeline

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"drctl/internal/fail"
	"drctl/targets"
)

// drawRecords draws timelines whose records say anything: parents that nobody
// knows, parents that form loops, beginnings before, at and behind the place
// where the parent was left, and chunks with gaps.
func drawRecords(t *rapid.T) (ls []Timeline) {
	n := rapid.IntRange(1, 6).Draw(t, "timelines")
	for i := range n {
		l := Timeline{ID: fmt.Sprint("L", i), Origin: rapid.IntRange(0, 9).Draw(t, "record") > 0, Chunks: drawChunks(t)}
		SortChunks(l.Chunks)

		if l.Origin {
			l.Offset = rapid.Uint64Range(0, 30).Draw(t, "offset")
		}

		if l.Origin && rapid.IntRange(0, 4).Draw(t, "child") > 0 {
			parent := fmt.Sprint("L", rapid.IntRange(0, n).Draw(t, "parent")) // one of them nobody knows
			l.Parent = pos(parent, max(0, l.Offset+rapid.Uint64Range(0, 12).Draw(t, "left")-min(l.Offset, 4)))
		}
		ls = append(ls, l)
	}

	return ls
}

// drawPosition draws a position of one of the timelines, or of one that is not there.
func drawPosition(t *rapid.T, ls []Timeline) targets.Position {
	return pos(fmt.Sprint("L", rapid.IntRange(0, len(ls)).Draw(t, "of")), rapid.Uint64Range(0, 45).Draw(t, "at"))
}

// chains are, found from the children's side, all ways without a repetition on
// which a timeline leads to the last one of the way.
func chains(ls []Timeline, way []string, to string) (out [][]string) {
	last := way[len(way)-1]
	if last == to {
		return [][]string{way}
	}

	for _, c := range ls {
		if c.Parent.Timeline == last && !slices.Contains(way, c.ID) {
			out = append(out, chains(ls, append(slices.Clone(way), c.ID), to)...)
		}
	}

	return out
}

// The walk back meets the timelines that lead to a position, by a search from the
// other end, each once, with the last offset that all who left it have seen.
func TestTheWalkAgreesWithAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ls := drawRecords(t)
		at := drawPosition(t, ls)

		got := map[string]uint64{}
		for s := range NewIndex(ls).Back(at) {
			if _, twice := got[s.ID]; twice {
				t.Fatalf("%s comes twice", s.ID)
			}

			if l := Find(ls, s.ID); (l != nil) != s.Known {
				t.Fatalf("%s is known: %v", s.ID, s.Known)
			}
			got[s.ID] = s.UpTo
		}

		for i := range len(ls) + 1 {
			id := fmt.Sprint("L", i)
			ways := chains(ls, []string{id}, at.Timeline)

			upTo, on := got[id]
			if on != (len(ways) > 0) {
				t.Fatalf("%s is on the way: %v, by the model %v", id, on, ways)
			}

			if !on {
				continue
			}

			want := at.Offset
			for _, child := range ways[0][1:] {
				want = min(want, Find(ls, child).Parent.Offset)
			}

			if upTo != want {
				t.Fatalf("%s leads there up to %d, by the model %v up to %d", id, upTo, ways[0], want)
			}
		}
	})
}

// Back asks for each timeline once, and no more than the reader of it goes on.
func TestTheWalkIsLazy(t *testing.T) {
	var asked []string

	find := func(id string) (Timeline, bool) {
		asked = append(asked, id)
		return Timeline{ID: id, Origin: true, Parent: pos(id+"'", 1)}, true
	}
	for s := range Back(pos("A", 9), find) {
		if s.ID == "A''" {
			break
		}
	}

	if !slices.Equal(asked, []string{"A", "A'", "A''"}) {
		t.Fatal(asked)
	}
}

// pathInModel goes over every byte: whether a base leads to a point.
func pathInModel(ls []Timeline, base, point targets.Position) bool {
	if base == point {
		return true
	}

	ways := chains(ls, []string{base.Timeline}, point.Timeline)
	if len(ways) != 1 {
		return false
	}
	way := ways[0]

	upTo := point.Offset
	for i := len(way) - 1; i >= 0; i-- {
		l := Find(ls, way[i])

		from := base.Offset
		if i > 0 {
			if l.Offset > upTo || l.Offset > l.Parent.Offset {
				return false // before its beginning, or archived only from behind it
			}
			from = l.Offset
		}

		if i == 0 && from > upTo {
			return false
		}

		for b := from; b < upTo; b++ {
			if l == nil || !slices.ContainsFunc(l.Chunks, func(c Chunk) bool { return c.From <= b && b < c.To }) {
				return false
			}
		}

		if i > 0 {
			upTo = min(upTo, l.Parent.Offset)
		}
	}

	return true
}

// Path finds a way exactly where, byte by byte, there is one; its spans join, and
// a loop of records is never taken for a way.
func TestPathAgreesWithAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ls := drawRecords(t)
		base, point := drawPosition(t, ls), drawPosition(t, ls)

		spans, err := Path(ls, base, point)
		if want := pathInModel(ls, base, point); (err == nil) != want {
			t.Fatalf("from %v to %v: %v %v, by the model %v", base, point, spans, err, want)
		}

		if err != nil && !slices.Contains([]fail.Code{fail.NotFound, fail.Invalid, fail.Corrupt}, fail.CodeOf(err)) {
			t.Fatal(err)
		}

		for i, s := range spans {
			if s.From >= s.To {
				t.Fatalf("an empty span: %v", spans)
			}

			if i > 0 && spans[i-1].To < s.From {
				t.Fatalf("the spans do not join: %v", spans)
			}
		}
	})
}

// Split names every byte of a gap once, as declared where a hole or the beginning
// of the timeline says so.
func TestSplitNamesEveryByteOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawRecords(t)[0]
		for _, c := range drawChunks(t) {
			if c.To > c.From {
				l.Holes = append(l.Holes, Gap{c.From, c.To})
			}
		}
		g := Gap{From: rapid.Uint64Range(0, 40).Draw(t, "a")}
		g.To = g.From + rapid.Uint64Range(1, 30).Draw(t, "len")
		parts := l.Split(g)

		at := g.From
		for _, p := range parts {
			if p.From != at || p.To <= p.From {
				t.Fatalf("%v of %v", parts, g)
			}

			at = p.To
			for b := p.From; b < p.To; b++ {
				in := func(h Gap) bool { return h.From <= b && b < h.To }

				declared := slices.ContainsFunc(l.Holes, in) || l.Parent.Timeline != "" && in(Gap{l.Parent.Offset, l.Offset})
				if declared != p.Declared {
					t.Fatalf("byte %d of %v: declared %v", b, parts, declared)
				}
			}
		}

		if at != g.To {
			t.Fatalf("%v of %v", parts, g)
		}
	})
}

func TestRecordRoundTrip(t *testing.T) {
	r := Record{Timeline: "M", Kind: targets.Redis, Offset: 7, Parent: pos("L", 7), History: []byte("1\t0/7\n")}

	b, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}

	got, err := DecodeRecord(b, "M")
	if err != nil || fmt.Sprint(got) != fmt.Sprint(r) {
		t.Fatalf("%+v %v", got, err)
	}

	for name, b := range map[string][]byte{
		"another timeline": b[:len(b):len(b)],
		"no JSON":          []byte("x"),
	} {
		if _, err := DecodeRecord(b, "X"); err == nil {
			t.Errorf("%s was read", name)
		}
	}

	for name, r := range map[string]Record{
		"parent is no name": {Timeline: "M", Parent: pos("../L", 1)},
		"offset too large":  {Timeline: "M", Offset: 1<<62 + 1},
		"unknown kind":      {Timeline: "M", Kind: "x"},
	} {
		b, _ := r.Encode()
		if _, err := DecodeRecord(b, "M"); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}
