package epoch

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// Clock counts from some instant in the past and is never set.
type Clock func() time.Duration

// Boot is the clock of this machine since it booted, the same for all its
// processes. It goes on while processes are stopped and while the machine sleeps.
func Boot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("epoch: the kernel has no CLOCK_BOOTTIME: " + err.Error()) // Linux has had it since 2.6.39
	}

	return time.Duration(ts.Nano())
}

// sleepUntil returns when the clock has come there, or the context has ended.
func (c Clock) sleepUntil(ctx context.Context, at time.Duration) error {
	for {
		left := at - c()
		if left <= 0 {
			return nil
		}

		t := time.NewTimer(left)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}

// withMargin is how long to wait for a lease of somebody else's clock.
func withMargin(lease time.Duration) time.Duration { return lease + lease/10 }
