package human

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

var byteUnits = []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}

// Bytes renders a size in binary units with three significant digits at most:
// "0 B", "1023 B", "1.5 KiB", "16 MiB". Negative sizes keep their sign.
func Bytes(n int64) string {
	if n < 0 {
		if n == math.MinInt64 {
			return "-8 EiB"
		}

		return "-" + Bytes(-n)
	}
	v, u := float64(n), 0
	// 1023.95 would be rounded to "1024", which belongs to the next unit.
	for v >= 1023.5 && u < len(byteUnits)-1 {
		v /= 1024
		u++
	}

	return significant(v) + " " + byteUnits[u]
}

func significant(v float64) string {
	prec := 0
	switch {
	case v < 9.995:
		prec = 2
	case v < 99.95:
		prec = 1
	}

	s := strconv.FormatFloat(v, 'f', prec, 64)
	if prec > 0 {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}

	return s
}

// Count renders a number with thin groups of thousands: "1 234 567".
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)

	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}

	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}

	return sign + s
}

// Duration renders a duration for people, two units at most: "0 s", "850 µs",
// "12.3 ms", "4.2 s", "3 min 05 s", "2 h 10 min", "3 d 4 h".
func Duration(d time.Duration) string {
	if d < 0 {
		if d == math.MinInt64 {
			d++
		}

		return "-" + Duration(-d)
	}

	switch {
	case d == 0:
		return "0 s"
	case d < time.Microsecond:
		return fmt.Sprintf("%d ns", d)
	case d < 999500*time.Nanosecond:
		return significant(float64(d)/1e3) + " µs"
	case d < 999500*time.Microsecond:
		return significant(float64(d)/1e6) + " ms"
	case d < 59950*time.Millisecond:
		return significant(float64(d)/1e9) + " s"
	}

	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case s < 3600:
		return two(s/60, "min", s%60, "s")
	case s < 86400:
		return two(s/3600, "h", s%3600/60, "min")
	}

	return two(s/86400, "d", s%86400/3600, "h")
}

func two(a int64, ua string, b int64, ub string) string {
	if b == 0 {
		return fmt.Sprintf("%d %s", a, ua)
	}

	if ub == "h" {
		return fmt.Sprintf("%d %s %d %s", a, ua, b, ub)
	}

	return fmt.Sprintf("%d %s %02d %s", a, ua, b, ub)
}

// ByteRate renders bytes per second: "12.4 MiB/s"; "-" for what is no rate.
func ByteRate(perSecond float64) string {
	if noRate(perSecond) {
		return "-"
	}

	return Bytes(int64(perSecond)) + "/s"
}

// CountRate renders plain counts per second: "310/s"; "-" for what is no rate.
func CountRate(perSecond float64) string {
	if noRate(perSecond) {
		return "-"
	}

	return significant(perSecond) + "/s"
}

func noRate(v float64) bool { return v < 0 || math.IsNaN(v) || math.IsInf(v, 0) }

// Clean makes text from outside safe for one line of a terminal: control
// characters, line and direction changes become "·", broken UTF-8 becomes "�".
func Clean(s string) string {
	safe := utf8.ValidString(s)
	for _, r := range s {
		safe = safe && printable(r)
	}

	if safe {
		return s
	}

	return strings.Map(func(r rune) rune {
		if printable(r) {
			return r
		}

		return '·'
	}, strings.ToValidUTF8(s, "�"))
}

func printable(r rune) bool {
	return r == ' ' || unicode.IsGraphic(r) && !unicode.Is(unicode.Cf, r) && !unicode.Is(unicode.Zs, r)
}

// Plural counts things: "1 problem", "3 problems". The word's plural ends in s.
func Plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}

	return Count(int64(n)) + " " + what + "s"
}
