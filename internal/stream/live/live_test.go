package live

import (
	"context"
	"sync"
	"testing"
	"time"

	"drctl/targets"
)

var shard = targets.ShardID{Target: "orders", Shard: "0"}

// archiver gets its log when it is asked how far it is, a byte each time.
type archiver struct {
	mu      sync.Mutex
	tail    uint64
	flushed chan uint64 // where it was when it was asked to send
}

func (a *archiver) Tail() (targets.Position, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()

	a.tail++

	return targets.Position{Timeline: "t", Offset: a.tail}, true
}

func (a *archiver) Flush(context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()

	a.flushed <- a.tail

	return nil
}

// What is asked for before the log has come is sent when it has come, and not before: what
// comes after a flush waits until its chunk is old.
func TestFlushWaitsForTheLog(t *testing.T) {
	var l Archivers

	a := &archiver{flushed: make(chan uint64, 2)}
	remove := l.Add(shard, a)

	l.Flush(t.Context(), shard, targets.Position{Timeline: "t", Offset: 5})

	if at := <-a.flushed; at < 5 {
		t.Errorf("it was asked to send at %d, before it had what was wanted", at)
	}

	remove()
	l.Flush(t.Context(), shard, targets.Position{Timeline: "t", Offset: 100})

	if len(a.flushed) > 0 {
		t.Error("an archiver that is gone was asked")
	}
}

// A log that does not come is not waited for without end, and what there is of it is sent.
func TestFlushOfALogThatDoesNotCome(t *testing.T) {
	var l Archivers

	a := &archiver{flushed: make(chan uint64, 1)}
	defer l.Add(shard, a)()

	l.Flush(t.Context(), shard, targets.Position{Timeline: "another", Offset: 1})
	<-a.flushed

	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()

	l.Flush(ctx, shard, targets.Position{Timeline: "another", Offset: 1})
}
