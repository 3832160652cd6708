package halfdone

import (
	"testing"
	"time"

	"drctl/internal/timeline"
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
