// Package live knows the archivers that run in this process, so that a cut that is
// taken here need not wait until their chunks are full.
package live

import (
	"context"
	"slices"
	"sync"
	"time"

	"drctl/internal/retry"
	"drctl/targets"
)

const (
	// comesWithin bounds how long the log may take to come from the server, and look is how often
	// it is looked for. flushWithin bounds one flush.
	comesWithin = time.Second
	look        = 2 * time.Millisecond
	flushWithin = 10 * time.Second
)

// Archiver sends what it has when it is asked to.
type Archiver interface {
	Tail() (at targets.Position, ok bool)
	Flush(ctx context.Context) error
}

// Archivers are those of this process. The zero value has none; it is safe for
// concurrent use.
type Archivers struct {
	mu  sync.Mutex
	all map[targets.ShardID][]Archiver
}

// Add adds the archiver of a shard until remove is called.
func (l *Archivers) Add(shard targets.ShardID, a Archiver) (remove func()) {
	l.mu.Lock()
	defer l.mu.Unlock()

	if l.all == nil {
		l.all = map[targets.ShardID][]Archiver{}
	}
	l.all[shard] = append(l.all[shard], a)

	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()

		l.all[shard] = slices.DeleteFunc(slices.Clone(l.all[shard]), func(o Archiver) bool { return o == a })
		if len(l.all[shard]) == 0 {
			delete(l.all, shard)
		}
	}
}

// Flush has the archivers of a shard send its log up to a position, and returns when they
// have it, within reason, and begin to send. It returns at once where there are none. What fails, the
// archiver itself tries again and tells of.
func (l *Archivers) Flush(ctx context.Context, shard targets.ShardID, at targets.Position) {
	l.mu.Lock()
	all := l.all[shard]
	l.mu.Unlock()

	var coming sync.WaitGroup
	for _, a := range all {
		coming.Go(func() {
			if await(ctx, a, at) != nil {
				return
			}

			go func() {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushWithin)
				defer cancel()
				_ = a.Flush(ctx)
			}()
		})
	}

	coming.Wait()
}

// await waits until an archiver has the log up to a position, within reason. It fails when the
// context ends.
func await(ctx context.Context, a Archiver, at targets.Position) error {
	for begin := time.Now(); time.Since(begin) < comesWithin; {
		tail, ok := a.Tail()
		if ok && tail.Timeline == at.Timeline && tail.Offset >= at.Offset {
			break
		}

		if err := retry.Sleep(ctx, look); err != nil {
			return err
		}
	}

	return ctx.Err()
}
