package stream

import (
	"sync/atomic"
	"testing"
	"time"

	"drctl/targets"
)

// A log that goes on all the time does not keep a flush from ending, and is not cut into a
// chunk for every answer of a vault.
func TestFlushSendsWhatWasThere(t *testing.T) {
	set, _ := testSet(t, 1, 1)
	fs, wrap := faults(set)
	a := start(t, Options{Set: set, ChunkSize: 1000, ChunkAge: time.Hour, wrap: wrap})

	must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes("L", 0, 100)))

	var more atomic.Uint64

	fs[0].mu.Lock()
	fs[0].put = func(string) (time.Duration, error, error) {
		if n := 100 + more.Add(1); n < 120 {
			must(t, a.Write(ctx, n-1, streamBytes("L", n-1, n)))
		}

		return 0, nil, nil
	}
	fs[0].mu.Unlock()

	must(t, a.Flush(ctx))

	if p := a.Progress(); p.Chunks != 1 || p.Durable < 100 || p.Received <= p.Durable {
		t.Errorf("a flush of 100 bytes, with one that came meanwhile: %+v", p)
	}
}
