package watch

import (
	"testing"
	"time"
)

// Writers of a paused master that nobody lets go on wait for as long as it needs, and not for a
// quarter of a second.
func TestALeaseIsAsLongAsItHasToBe(t *testing.T) {
	for _, x := range []struct{ trip, want time.Duration }{
		{time.Millisecond, 27 * time.Millisecond},
		{40 * time.Millisecond, 105 * time.Millisecond}, // a far region
		{time.Second, 255 * time.Millisecond},
	} {
		if got := leased(5*time.Millisecond, []*seat{{trip: time.Microsecond}, {trip: x.trip}}); got != x.want {
			t.Errorf("an observation takes %s: the lease is %s, not %s", x.trip, got, x.want)
		}
	}
}
