package human

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1: "1 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 16 << 20: "16 MiB",
		1<<20 - 1: "1 MiB", 12_900_000: "12.3 MiB", 1 << 40: "1 TiB", math.MaxInt64: "8 EiB", -2048: "-2 KiB", math.MinInt64: "-8 EiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}

	rapid.Check(t, func(t *rapid.T) {
		if s := Bytes(rapid.Int64().Draw(t, "n")); len(s) > 10 {
			t.Fatalf("%q is too wide for a column", s)
		}
	})
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0 s", 7: "7 ns", 850 * time.Microsecond: "850 µs", 999999: "1 ms", 12300 * time.Microsecond: "12.3 ms",
		999999 * time.Microsecond: "1 s", 4200 * time.Millisecond: "4.2 s", 59999 * time.Millisecond: "1 min", 185 * time.Second: "3 min 05 s", 2*time.Hour + 10*time.Minute: "2 h 10 min",
		76 * time.Hour: "3 d 4 h", 48 * time.Hour: "2 d", -time.Second: "-1 s", math.MinInt64: "-106751 d 23 h"} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%d) = %q, want %q", d, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1 000", -1234567: "-1 234 567"} {
		if got := Count(n); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestCleanLeavesNothingThatMovesTheCursor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Clean(rapid.String().Draw(t, "s") + rapid.SampledFrom([]string{"\x1b[2J", "\r", "\n", "\u202e", "\u200b", "\xff", "\u2028"}).Draw(t, "bad"))
		for _, r := range s {
			if !printable(r) {
				t.Fatalf("%q keeps %U", s, r)
			}
		}
	})

	if got := Clean("Grüße 日本 ✓"); got != "Grüße 日本 ✓" {
		t.Errorf("plain text became %q", got)
	}
}
