package watch

import (
	"testing"
	"time"

	"drctl/internal/sandbox/sandboxtest"
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

// A server that has a clock is left alone for most of a burst: what its clock is before and after is enough.
func TestBurstLeavesServersAlone(t *testing.T) {
	w := newWorld(t, "east")
	pg := w.primary(sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Shard: "orders/0"}))
	x := w.watch()
	observed(t, x)

	const long = 800 * time.Millisecond
	b := whole(t, x, BurstOptions{For: long})
	asked := 0

	_, seen := stored(t, w.set.Vaults[0], pg.Shard)
	for _, all := range seen {
		for _, o := range all {
			if o.T0 >= b.From && o.T1 <= b.To {
				asked++
			}
		}
	}

	took := time.Duration(b.To - b.From)
	if most := rounds * (int(took/lull) + int(took/tick) + 3); asked < 2 || asked > most {
		t.Errorf("in %s it was asked %d times, at most %d are needed", took, asked, most)
	}
}
