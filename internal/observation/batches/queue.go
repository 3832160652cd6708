package batches

import (
	"context"
	"time"

	"drctl/internal/fail"
	"drctl/internal/vault"
)

// Fresh is how old the newest batch of an observer may be that still observes.
const Fresh = 20 * time.Second

// Seat is where a group was observed last.
type Seat struct {
	// Queue is the task queue of the process; "" when it told none, or nobody has observed the group.
	Queue string
	// Until is when its newest batch ended; zero when nobody has observed the group.
	Until time.Time
}

// LastSeat is where a group was observed last, as the vaults tell that can be read. An error means
// that none could be.
func LastSeat(ctx context.Context, set vault.Set, group string) (Seat, error) {
	var (
		seat Seat
		last error
	)

	read := false
	for _, v := range set.Vaults {
		vctx, cancel := context.WithTimeout(ctx, vault.Straggle)
		b, err := Newest(vctx, v, group)

		cancel()

		switch {
		case fail.Is(err, fail.NotFound):
			read = true
		case err != nil:
			last = err
		default:
			read = true

			if b.Ended.After(seat.Until) {
				seat = Seat{Queue: b.Queue, Until: b.Ended}
			}
		}

		if time.Since(seat.Until) < Fresh {
			break // the others need not be asked
		}
	}

	if read {
		last = nil
	}

	return seat, last
}
