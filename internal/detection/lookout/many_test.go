package lookout

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"drctl/config/recovery"
	"drctl/internal/detection"
	"drctl/internal/detection/board"
	"drctl/internal/epoch"
	"drctl/targets"
)

// mute is a server that takes connections and says nothing.
type mute struct{ targets.Driver }

func (mute) Reach(ctx context.Context, _ targets.Instance) (targets.Status, error) {
	<-ctx.Done()
	return targets.Status{}, ctx.Err()
}

// hung is a voter that says nothing.
type hung struct{ board.Store }

func (hung) Get(ctx context.Context, _ string) (io.ReadCloser, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (hung) Put(ctx context.Context, _ string, _ []byte) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestManySilentServers: when all servers of a large region say nothing, and its vault does not
// either, a look is still of now when it is judged.
func TestManySilentServers(t *testing.T) {
	d := recovery.Detection{Limit: time.Second}

	for name, c := range map[string]struct {
		shards   int
		interval time.Duration
	}{"many shards": {300, time.Second}, "short intervals": {1, 100 * time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			d := d
			d.Interval = c.interval
			w := newWorld(t)

			seen := make(chan detection.Verdict, 100)
			l := w.at("west", func(_ context.Context, s Seen) { seen <- s.Verdict })
			l.o.Interval, l.o.Limit, l.o.Rules.Stale = d.Interval, d.Limit, d.Stale()
			l.o.Driver = func(targets.Kind) (targets.Driver, error) { return mute{}, nil }

			var err error
			if l.o.Board, err = board.Open("shop", w.voters(func(s board.Store) board.Store { return hung{s} }), w.seal, epoch.Boot, d.Limit); err != nil {
				t.Fatal(err)
			}
			l.o.Shards = nil

			for i := range c.shards {
				l.o.Shards = append(l.o.Shards, Shard{targets.ShardID{Target: "orders", Shard: fmt.Sprint(i)}, targets.Redis, []string{"east", "west"}})
			}

			ctx, stop := context.WithCancel(t.Context())
			done := make(chan struct{})

			go func() { defer close(done); l.Run(ctx) }()

			for i := range 5 {
				if v := <-seen; v.State != detection.Suspected {
					t.Errorf("look %d: %s: %.200s", i, v.State, v.Reasons)
				}
			}

			stop()
			<-done
		})
	}
}
