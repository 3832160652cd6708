package meter

import (
	"slices"
	"time"
)

// buckets of a histogram grow by 5 % from 10 microseconds.
const buckets = 320

var bounds = func() (b [buckets]time.Duration) {
	at := float64(10 * time.Microsecond)
	for i := range b {
		b[i] = time.Duration(at)
		at *= 1.05
	}

	return b
}()

type histogram struct {
	counts [buckets]int64
	n      int64
	max    time.Duration
}

func (h *histogram) add(d time.Duration) {
	i, _ := slices.BinarySearch(bounds[:], d) // the first whose bound is not below
	h.counts[min(i, buckets-1)]++
	h.n++
	h.max = max(h.max, d)
}

// percentile is exact to 5 %, and never more than the largest.
func (h *histogram) percentile(p int64) time.Duration {
	var seen int64
	for i, n := range h.counts {
		if seen += n; seen > 0 && seen*100 >= h.n*p {
			return min(bounds[i], h.max)
		}
	}

	return 0
}
