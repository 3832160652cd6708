package stream

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"drctl/internal/fail"
	"drctl/internal/stream/chunk"
	"drctl/internal/timeline"
	"drctl/targets"
)

func drawChunks(t *rapid.T) []timeline.Chunk {
	n := rapid.IntRange(0, 12).Draw(t, "n")

	cs := make([]timeline.Chunk, n)
	for i := range cs {
		from := rapid.Uint64Range(0, 40).Draw(t, "from")
		cs[i] = timeline.Chunk{From: from, To: from + rapid.Uint64Range(0, 12).Draw(t, "len"), Key: fmt.Sprint(i)}
	}

	return cs
}

func TestContigTracksTheFirstGap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cs := drawChunks(t)
		start := rapid.Uint64Range(0, 10).Draw(t, "start")

		c := contig{end: start}
		for _, x := range cs {
			c.add(x.From, x.To)
		}

		want := uint64(100)
		if _, gaps := timeline.Cover(cs, start, 100); len(gaps) > 0 {
			want = gaps[0].From
		}

		if c.end != want {
			t.Fatalf("end %d, want %d", c.end, want)
		}
	})
}

func pos(l string, o uint64) targets.Position {
	return targets.Position{Kind: targets.Redis, Timeline: l, Offset: o}
}

// tree draws timelines that branch off each other and are archived whole.
func drawTree(t *rapid.T) []timeline.Timeline {
	n := rapid.IntRange(1, 6).Draw(t, "timelines")

	var ls []timeline.Timeline
	for i := range n {
		l := timeline.Timeline{ID: fmt.Sprintf("L%d", i), Origin: true, Began: time.Unix(int64(i), 0)}
		if i > 0 && rapid.Bool().Draw(t, "child") {
			p := ls[rapid.IntRange(0, i-1).Draw(t, "parent")]
			at := rapid.Uint64Range(p.Offset, p.Tip()).Draw(t, "at")
			l.Offset, l.Parent = at, pos(p.ID, at)
		} else {
			l.Offset = rapid.Uint64Range(0, 100).Draw(t, "root")
		}

		end := l.Offset + rapid.Uint64Range(0, 50).Draw(t, "len")
		for at := l.Offset; at < end; {
			to := min(end, at+rapid.Uint64Range(1, 20).Draw(t, "chunk"))
			l.Chunks = append(l.Chunks, timeline.Chunk{From: at, To: to})
			at = to
		}
		ls = append(ls, l)
	}

	return ls
}

func TestPathJoinsBaseAndPoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ls := drawTree(t)
		byID := timeline.NewIndex(ls)
		p := ls[rapid.IntRange(0, len(ls)-1).Draw(t, "of")]
		point := pos(p.ID, rapid.Uint64Range(p.Offset, p.Tip()).Draw(t, "point"))
		// A base on the way: walk some timelines up.
		at := point
		for l := p; l.Parent.Timeline != "" && rapid.Bool().Draw(t, "up"); l = byID[l.Parent.Timeline] {
			at = l.Parent
		}
		base := pos(at.Timeline, rapid.Uint64Range(byID[at.Timeline].Offset, at.Offset).Draw(t, "base"))

		spans, err := timeline.Path(ls, base, point)
		if err != nil {
			t.Fatal(err)
		}

		end := base.Offset
		for _, s := range spans {
			if s.From != end || s.To <= s.From {
				t.Fatalf("spans %v do not join at %d", spans, end)
			}
			end = s.To
		}

		if end != point.Offset {
			t.Fatalf("spans %v end at %d, point %d", spans, end, point.Offset)
		}

		for _, f := range check(ls, "east", targets.ShardID{Target: "a", Shard: "0"}, base, point) {
			if f.Severity != targets.Passed {
				t.Fatalf("check: %+v", f)
			}
		}
		// Without any one chunk that is needed, both say so.
		if len(spans) == 0 {
			return
		}
		s := spans[rapid.IntRange(0, len(spans)-1).Draw(t, "span")]
		l := byID[s.Timeline]
		use, _ := timeline.Cover(l.Chunks, s.From, s.To)

		hole := use[rapid.IntRange(0, len(use)-1).Draw(t, "hole")]
		for i := range ls {
			if ls[i].ID == l.ID {
				ls[i].Chunks = slices.DeleteFunc(slices.Clone(l.Chunks), func(c timeline.Chunk) bool { return c == hole })
			}
		}

		want := fmt.Sprintf("%s bytes [%d,%d)", s.Timeline, max(hole.From, s.From), min(hole.To, s.To))
		if _, err := timeline.Path(ls, base, point); !fail.Is(err, fail.NotFound) || !contains(err.Error(), want) {
			t.Fatalf("error %v, want %s", err, want)
		}

		if fs := check(ls, "east", targets.ShardID{}, base, point); !slices.ContainsFunc(fs, func(f targets.Finding) bool {
			return f.Severity == targets.Failed && f.Got == "MISSING"
		}) {
			t.Fatalf("check found no gap: %+v", fs)
		}
	})
}

func TestHeaderRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		opened := time.UnixMilli(rapid.Int64Range(0, 1<<40).Draw(t, "opened")).UTC()
		h := chunk.Header{Shard: targets.ShardID{Target: "t", Shard: "s"}, Timeline: "L", From: rapid.Uint64Range(0, 1<<62).Draw(t, "from"),
			Opened: opened, Closed: opened.Add(time.Second)}

		h.To = h.From + rapid.Uint64Range(1, 1<<30).Draw(t, "len")
		for range rapid.IntRange(0, 5).Draw(t, "marks") {
			h.Marks = append(h.Marks, chunk.Mark{At: opened.Add(time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond), Offset: h.From + rapid.Uint64Range(0, h.To-h.From).Draw(t, "off")})
		}

		got, err := chunk.Parse("k", h.Meta())
		if err != nil {
			t.Fatal(err)
		}

		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", h) {
			t.Fatalf("%+v\n%+v", got, h)
		}
	})
}
