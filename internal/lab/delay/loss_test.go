package delay

import (
	"testing"
	"time"
)

// A piece stalls for as long as TCP takes to send it again, and the third loss ends the connection.
func TestFate(t *testing.T) {
	for _, x := range []struct {
		draws  []float64
		stalls time.Duration
		given  bool
	}{
		{[]float64{0.3}, 0, false},
		{[]float64{0.2, 0.3}, again, false},
		{[]float64{0.2, 0.1, 0.9}, 3 * again, false},
		{[]float64{0.2, 0.1, 0}, 7 * again, true},
	} {
		left := x.draws
		stalls, given := fate(0.3, func() float64 {
			d := left[0]
			left = left[1:]

			return d
		})

		if stalls != x.stalls || given != x.given || len(left) != 0 {
			t.Errorf("%v: %s, %t, %d draws left; want %s, %t", x.draws, stalls, given, len(left), x.stalls, x.given)
		}
	}
}
