package clock

import "fmt"

// Instant is a time by the monotonic clock of one observer, in nanoseconds since
// its epoch.
type Instant int64

// Stamp is a reading of another clock, in nanoseconds since the Unix epoch.
type Stamp int64

const (
	// Drift is how fast a server's clock is taken to move against an observer's,
	// in parts in a million of the server's time.
	Drift = 500
	// GrainNs is the most by which a stamp is behind the reading that it was cut
	// off from, in nanoseconds: PostgreSQL keeps microseconds.
	GrainNs = 1000
	// postgresEpoch is 2000-01-01 in seconds since the Unix epoch.
	postgresEpoch = 946684800
)

// PostgresStamp is the stamp for a TimestampTz of PostgreSQL, in microseconds
// since 2000-01-01.
func PostgresStamp(us int64) Stamp { return Stamp((us + postgresEpoch*1e6) * 1000) }

// Range holds an instant that is not known exactly: not before Earliest, not
// after Latest.
type Range struct {
	Earliest Instant `json:"earliest"`
	Latest   Instant `json:"latest"`
}

// Width is how wide the range is, in nanoseconds.
func (r Range) Width() int64 { return int64(r.Latest - r.Earliest) }

// hull is the smallest range that holds both.
func (r Range) hull(o Range) Range {
	return Range{min(r.Earliest, o.Earliest), max(r.Latest, o.Latest)}
}

// within is what the range has in common with another, and whether that is anything.
func (r Range) within(o Range) (Range, bool) {
	c := Range{max(r.Earliest, o.Earliest), min(r.Latest, o.Latest)}
	return c, c.Earliest <= c.Latest
}

// Sample is one exchange: the clock showed Stamp at an instant in [T0, T1].
type Sample struct {
	T0, T1 Instant
	Stamp  Stamp
	// Wall is what the observer's own wall clock showed at T1; 0 if it was not read.
	Wall Stamp
}

func (s Sample) width() int64 { return int64(s.T1 - s.T0) }

// Check reports what is wrong with a sample. The limits (18 years since an
// observer's epoch, the year 2116 for stamps) keep sums inside an int64.
func (s Sample) Check() error {
	const most, least, latest = 1 << 59, -1 << 60, 1 << 62
	switch {
	case s.T1 < s.T0:
		return fmt.Errorf("a sample was answered at %d, before it was asked at %d", s.T1, s.T0)
	case s.T0 < -most || s.T1 > most || s.Stamp < least || s.Stamp > latest:
		return fmt.Errorf("a sample is out of range: %d, %d, %d", s.T0, s.T1, s.Stamp)
	}

	return nil
}

// Best is the narrowest of the samples of one burst, and whether there is one.
func Best(burst []Sample) (best Sample, ok bool) {
	for _, s := range burst {
		if !ok || s.width() < best.width() {
			best, ok = s, true
		}
	}

	return best, ok
}
