// Package live knows the archivers that run in this process, so that a cut that is
// taken here need not wait until their chunks are full.
package live

import (
	"context"
	"sync"
	"time"

	"drctl/targets"
)

// flushWithin bounds one flush. Nobody waits for it.
const flushWithin = 10 * time.Second

// Archiver sends what it has when it is asked to.
type Archiver interface {
	Flush(ctx context.Context) error
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

// Flush asks the archivers of shards to send what they have. It does not wait: what
// fails, the archiver itself tries again and tells of.
func (l *Archivers) Flush(shards []targets.ShardID) {
	l.mu.Lock()
	defer l.mu.Unlock()

	for _, s := range shards {
		for a := range l.all[s] {
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), flushWithin)
				defer cancel()
				_ = a.Flush(ctx)
			}()
		}
	}
}
