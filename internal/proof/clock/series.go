package clock

import (
	"encoding/json"
	"fmt"
	"sort"
	"time"

	"drctl/internal/fail"
)

// seriesFormat is the version of the stored form of a series.
const seriesFormat = 1

// Series is what one observer saw of one clock, in order of time: the form in
// which samples are kept with a stream.
type Series struct {
	// Observer names one start of one observer: instants of another one are of
	// another epoch.
	Observer string
	// Of names the clock: the server, or the observer that was asked for its instant.
	Of      string
	Samples []Sample
}

// seriesJSON is the stored form. A row is T0, T1-T0, the stamp and the wall
// clock; from the second on, T0, stamp and wall clock less those of the row before.
type seriesJSON struct {
	Version  int        `json:"v"`
	Observer string     `json:"observer"`
	Of       string     `json:"of"`
	Rows     [][4]int64 `json:"samples"`
}

// MarshalJSON writes some 40 bytes a sample.
func (s Series) MarshalJSON() ([]byte, error) {
	out := seriesJSON{Version: seriesFormat, Observer: s.Observer, Of: s.Of, Rows: make([][4]int64, len(s.Samples))}

	var last Sample
	for i, x := range s.Samples {
		out.Rows[i] = [4]int64{int64(x.T0 - last.T0), x.width(), int64(x.Stamp - last.Stamp), int64(x.Wall - last.Wall)}
		last = x
	}

	return json.Marshal(out)
}

// UnmarshalJSON is the inverse. It fails with unsupported for a later version,
// and with corrupt for what no observer writes.
func (s *Series) UnmarshalJSON(b []byte) error {
	const op = "clock: read samples"

	var in seriesJSON
	if err := json.Unmarshal(b, &in); err != nil {
		return fail.New(fail.Corrupt, op, "", "", err)
	}

	if in.Version != seriesFormat {
		return fail.New(fail.Unsupported, op, in.Of, "use a later drctl", fmt.Errorf("format %d of the samples is unknown", in.Version))
	}

	var last Sample
	read := make([]Sample, len(in.Rows))

	for i, r := range in.Rows {
		last = Sample{T0: last.T0 + Instant(r[0]), Stamp: last.Stamp + Stamp(r[2]), Wall: last.Wall + Stamp(r[3])}
		last.T1 = last.T0 + Instant(r[1])

		if err := last.Check(); err != nil {
			return fail.New(fail.Corrupt, op, in.Of, "", err)
		}
		read[i] = last
	}
	*s = Series{Observer: in.Observer, Of: in.Of, Samples: read}

	return nil
}

// AtWall is the instant at which the observer's wall clock showed a time, as
// the last sample before that time tells, and whether one does. Where the wall
// clock was stepped, the later of the possible instants.
func AtWall(samples []Sample, at time.Time) (Instant, bool) {
	want := Stamp(at.UnixNano())

	for i := len(samples) - 1; i >= 0; i-- {
		s := samples[i]
		if s.Wall == 0 || s.Wall > want {
			continue
		}

		is := s.T1 + Instant(want-s.Wall)
		if i+1 < len(samples) { // the wall clock skipped the time: nearer to the next sample than it is not
			is = min(is, samples[i+1].T1)
		}

		return is, true
	}

	return 0, false
}

// Wall is what the observer's wall clock showed at an instant, as the last
// sample before it tells, and whether one does.
func Wall(samples []Sample, at Instant) (time.Time, bool) {
	later := sort.Search(len(samples), func(i int) bool { return samples[i].T1 > at })

	for i := later - 1; i >= 0; i-- {
		if s := samples[i]; s.Wall != 0 {
			return time.Unix(0, int64(s.Wall)+int64(at-s.T1)).UTC(), true
		}
	}

	return time.Time{}, false
}
