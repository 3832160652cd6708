package unit

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// The forms of both, as regular expressions, for a JSON Schema.
const (
	DurationPattern = `^(0|([0-9]+d)?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))*)$`
	SizePattern     = `^([0-9]+(?:\.[0-9]+)?) ?(B|KiB|MiB|GiB|TiB|KB|MB|GB|TB)?$`
)

var (
	durationPattern = regexp.MustCompile(DurationPattern)
	sizePattern     = regexp.MustCompile(SizePattern)
)

// Size is a number of bytes, written as 16MiB, 1.5GB or plain 4096.
type Size int64

var sizeUnits = []struct {
	name string
	n    float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
}

// String renders the size in the largest binary unit that divides it.
func (s Size) String() string {
	for i := 3; i >= 0; i-- {
		if u := int64(sizeUnits[i].n); s != 0 && int64(s)%u == 0 {
			return strconv.FormatInt(int64(s)/u, 10) + sizeUnits[i].name
		}
	}

	return strconv.FormatInt(int64(s), 10)
}

// ParseSize reads what Size.String writes, and decimal units.
func ParseSize(s string) (Size, error) {
	m := sizePattern.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%q is not a size", s)
	}

	for _, u := range sizeUnits {
		if u.name == m[2] {
			f, err := strconv.ParseFloat(m[1], 64)
			if err != nil || f*u.n >= math.MaxInt64 {
				return 0, fmt.Errorf("%q is not a size", s)
			}

			return Size(f * u.n), nil
		}
	}

	return 0, fmt.Errorf("%q is not a size", s)
}

// ParseDuration reads Go's durations and days ("7d", "1d12h").
func ParseDuration(s string) (time.Duration, error) {
	if !durationPattern.MatchString(s) {
		return 0, fmt.Errorf("%q is not a duration", s)
	}

	if s == "0" {
		return 0, nil
	}

	var days time.Duration
	if d, rest, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseInt(d, 10, 32)
		if err != nil || n > 100*366 {
			return 0, fmt.Errorf("%q is not a duration of less than a century", s)
		}

		days = time.Duration(n) * 24 * time.Hour
		if rest == "" {
			return days, nil
		}
		s = rest
	}

	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > math.MaxInt64-days {
		return 0, fmt.Errorf("%q is not a duration", s)
	}

	return days + d, nil
}

// FormatDuration drops the zero parts that Go prints: "1m", not "1m0s".
func FormatDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}

	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}

	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}

	return s
}
