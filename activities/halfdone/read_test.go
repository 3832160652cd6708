package halfdone

import (
	"testing"
	"time"

	"drctl/internal/timeline"
	"drctl/targets"
	"drctl/targets/postgres/stretch"
)

// What is read from a place on begins there, and not at the next page: a shard that is hardly
// used has all of its records of an hour in one. From when on everything was read is true of the place.
func TestWhereALogIsReadFrom(t *testing.T) {
	const page = 8192
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

	// An hour in which nothing was written, and then a little.
	quiet := []timeline.Chunk{
		{From: 0, To: 3*page + 1000, Closed: now.Add(-time.Hour)},
		{From: 3*page + 1000, To: 3*page + 2000, Closed: now},
	}
	// An archive that begins in the middle of a page.
	young := []timeline.Chunk{
		{From: 5*page + 10, To: 5*page + 20, Closed: now.Add(-time.Hour)},
		{From: 5*page + 20, To: 6*page + 1, Closed: now.Add(-time.Minute)},
		{From: 6*page + 1, To: 7 * page, Closed: now},
	}

	for name, c := range map[string]struct {
		all   []timeline.Chunk
		since time.Time
		start uint64
		from  time.Time
	}{
		"the page in which it goes on": {quiet, now.Add(-10 * time.Minute), 3 * page, now.Add(-time.Hour)},
		"as far back as there is":      {young, now.Add(-2 * time.Hour), 6 * page, now.Add(-time.Minute)},
		"no further than there is":     {young, now.Add(-30 * time.Minute), 6 * page, now.Add(-time.Minute)},
		"later than that":              {young, now.Add(-30 * time.Second), 6 * page, now.Add(-time.Minute)},
	} {
		if start, from, ok := begin(stretch.Opener{}, c.all, c.since); !ok || start != c.start || !from.Equal(c.from) {
			t.Errorf("%s: from %d on, all since %s (%t); want %d, %s", name, start, from, ok, c.start, c.from)
		}
	}

	for _, all := range [][]timeline.Chunk{nil, young[:1]} {
		if start, from, ok := begin(stretch.Opener{}, all, now); ok {
			t.Errorf("of less than a page: from %d on, all since %s", start, from)
		}
	}
}

// A timeline that has just begun is followed back to those that it comes from, as far as the vault has them whole.
func TestTheWayToAFork(t *testing.T) {
	at := func(id string, offset uint64) targets.Position { return targets.Position{Timeline: id, Offset: offset} }
	chunks := func(places ...uint64) (out []timeline.Chunk) {
		for i := 0; i < len(places); i += 2 {
			out = append(out, timeline.Chunk{From: places[i], To: places[i+1]})
		}

		return out
	}
	one := timeline.Timeline{ID: "1", Origin: true, Offset: 10, Chunks: chunks(10, 50, 50, 120)} // it went on after it was left
	two := timeline.Timeline{ID: "2", Origin: true, Offset: 100, Parent: at("1", 100), Chunks: chunks(100, 150)}
	copied := timeline.Timeline{ID: "2", Origin: true, Offset: 80, Parent: at("1", 100), Chunks: chunks(80, 90, 90, 150)} // with its segment
	holed, late, lost := one, two, two
	holed.Chunks = chunks(10, 50, 60, 120)
	late.Chunks = chunks(110, 150)
	lost.Origin, lost.Parent, lost.Offset = false, at("", 0), 0

	for name, c := range map[string]struct {
		ls    []timeline.Timeline
		steps string
		until uint64
		all   bool
	}{
		"both":                          {[]timeline.Timeline{one, two}, "12", 140, true},
		"both, a part of it twice":      {[]timeline.Timeline{one, copied}, "12", 140, true},
		"its parent has a hole":         {[]timeline.Timeline{holed, two}, "2", 140, false},
		"its parent was never archived": {[]timeline.Timeline{two}, "2", 140, false},
		"its own beginning is missing":  {[]timeline.Timeline{one, late}, "2", 140, false},
		"where it left is not known":    {[]timeline.Timeline{one, lost}, "2", 140, false},
		"nothing of it":                 {[]timeline.Timeline{one}, "", 0, false},
	} {
		w := wayTo(c.ls, at("2", 140))

		steps, until := "", uint64(0)
		for _, s := range w.steps {
			steps += s.ID
		}

		for i, x := range w.chunks {
			if until = x.To; i > 0 && x.From != w.chunks[i-1].To {
				t.Errorf("%s: %+v", name, w.chunks)
			}
		}

		if steps != c.steps || until != c.until || w.all != c.all {
			t.Errorf("%s: by %q to %d, all %t", name, steps, until, w.all)
		}
	}

	s := Source{Fork: at("2", 140)}

	for _, second := range []timeline.Timeline{two, copied} {
		parts, lines := s.parts(wayTo([]timeline.Timeline{one, second}, s.Fork), 40, at("3", 200))
		if len(lines) != 3 || lines[0].Name != "1" || lines[1].Begin != 100 || lines[2].Begin != 140 {
			t.Errorf("%+v", lines)
		}
		place := uint64(40)

		for _, p := range parts {
			if p.span.From != place {
				t.Errorf("%+v, want it from %d on", p.span, place)
			}
			place = p.span.To
		}

		if place != 200 {
			t.Errorf("it ends at %d", place)
		}
	}
}
