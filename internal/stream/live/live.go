// Package live knows the archivers that run in this process, so that a cut that is
// taken here need not wait until their chunks are full.
package live

import (
	"context"
	"sync"
	"time"

	"drctl/targets"
)

// flushWithin bounds one flush.
const flushWithin = 10 * time.Second

// Archiver sends what it has when it is asked to.
type Archiver interface {
	// FlushTo sends its log up to a place as soon as it has that, and returns when the vaults have it.
	FlushTo(ctx context.Context, at targets.Position) error
}

// Archivers are those of this process. The zero value has none; it is safe for
// concurrent use.
type Archivers struct {
	mu  sync.Mutex
	all map[targets.ShardID]map[Archiver]bool
}

// Add adds the archiver of a shard until remove is called.
func (l *Archivers) Add(shard targets.ShardID, a Archiver) (remove func()) {
	l.mu.Lock()
	defer l.mu.Unlock()

	if l.all == nil {
		l.all = map[targets.ShardID]map[Archiver]bool{}
	}

	if l.all[shard] == nil {
		l.all[shard] = map[Archiver]bool{}
	}
	l.all[shard][a] = true

	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()

		if delete(l.all[shard], a); len(l.all[shard]) == 0 {
			delete(l.all, shard)
		}
	}
}

// Flush asks the archivers of shards to send their logs up to places. It does not wait: done is
// closed when all of them have, or have failed. What fails, the archiver itself tries again and tells
// of; a shard without an archiver in this process is not waited for.
func (l *Archivers) Flush(places map[targets.ShardID]targets.Position) (done <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()

	var all sync.WaitGroup

	for s, at := range places {
		for a := range l.all[s] {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), flushWithin)
				defer cancel()
				_ = a.FlushTo(ctx, at)
			})
		}
	}

	ended := make(chan struct{})

	go func() { all.Wait(); close(ended) }()

	return ended
}
