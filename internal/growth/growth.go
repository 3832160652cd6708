package growth

import (
	"runtime"
	"syscall"
	"testing"
	"time"
)

const (
	// tries are made of each size, of which the shortest counts.
	tries = 3
	// slack is how many times longer than in proportion the larger one may take: caches and logarithms
	// are not linear.
	slack = 3
	// enough is how long one try works at least, over and over: less is too short to be told.
	enough = 20 * time.Millisecond
	// thread asks for the time of this thread alone (RUSAGE_THREAD, Linux).
	thread = 1
)

// Linear fails a test in which the time of work grows faster than its size. Prepare makes what is
// worked on, of a size, and its time does not count; work is done on the goroutine that calls it. The larger
// size is to be at least eight times the smaller: what grows with the square of it is told apart by that.
func Linear(t testing.TB, what string, small, large int, prepare func(n int) (work func())) {
	t.Helper()

	a, b := shortest(t, prepare(small)), shortest(t, prepare(large))
	t.Logf("%s: %s for %d, %s for %d", what, a, small, b, large)

	if most := time.Duration(slack * int64(a) * int64(large) / int64(small)); b > most {
		t.Errorf("%s takes %s for %d and %s for %d: it grows faster than they do", what, a, small, b, large)
	}
}

func shortest(t testing.TB, work func()) time.Duration {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	best := time.Duration(-1)
	for range tries {
		runtime.GC() // of what others left

		began, took, runs := used(t), time.Duration(0), time.Duration(0)
		for took < enough {
			work()

			runs++
			took = used(t) - began
		}

		if one := took / runs; best < 0 || one < best {
			best = one
		}
	}

	return max(best, 1)
}

// used is the time that this thread has worked.
func used(t testing.TB) time.Duration {
	t.Helper()

	var u syscall.Rusage
	if err := syscall.Getrusage(thread, &u); err != nil {
		t.Fatal(err)
	}

	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
