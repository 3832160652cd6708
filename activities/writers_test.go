package activities_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/barrier"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
	"drctl/targets/postgres"
)

// watchful is a quiescer that counts how often the tables are locked, and notes
// for how long the barrier was ready to wait.
type watchful struct {
	targets.Quiescer
	locks   *atomic.Int64
	longest *atomic.Int64 // nanoseconds
}

type watched struct {
	targets.Member
	watchful
}

func (f watchful) Join(ctx context.Context, in targets.Instance, req targets.JoinRequest) (targets.Member, error) {
	m, err := f.Quiescer.Join(ctx, in, req)
	if err != nil {
		return nil, err
	}

	return watched{m, f}, nil
}

func (m watched) Lock(ctx context.Context, wait time.Duration) error {
	m.locks.Add(1)

	for was := m.longest.Load(); int64(wait) > was && !m.longest.CompareAndSwap(was, int64(wait)); was = m.longest.Load() {
	}

	return m.Member.Lock(ctx, wait)
}

// writeInReverse runs customers on one shard that write two tables, the second
// in front of the first by name, with a pause in between; they need no gate. It
// returns how many transactions were done and how many failed.
func writeInReverse(t *testing.T, in targets.Instance, customers int) (stop func() (done, failed int64, longest time.Duration)) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup

	var done, failed, longest atomic.Int64
	for n := range customers {
		c, err := pgx.Connect(ctx, sandboxtest.DSN(in, in.Database))
		if err != nil {
			t.Fatal(err)
		}

		wg.Go(func() {
			defer c.Close(context.Background())

			for ctx.Err() == nil {
				begin := time.Now()

				err := pgx.BeginFunc(context.Background(), c, func(tx pgx.Tx) error {
					if _, err := tx.Exec(context.Background(), "UPDATE stock SET qty = qty WHERE sku = $1", n+1); err != nil {
						return err
					}

					time.Sleep(3 * time.Millisecond)
					_, err := tx.Exec(context.Background(), "UPDATE accounts SET balance = balance WHERE id = $1", n+1)

					return err
				})
				if err != nil {
					t.Logf("a customer's transaction: %v", err)
					failed.Add(1)
				}

				done.Add(1)
				longest.Store(max(longest.Load(), int64(time.Since(begin))))
			}
		})
	}

	return func() (int64, int64, time.Duration) {
		cancel()
		wg.Wait()

		return done.Load(), failed.Load(), time.Duration(longest.Load())
	}
}

// Transactions of one shard that write its tables in another order than that of
// their names fail none of their own, and cost a cut a short wait, once.
func TestCutsAmongWritersOfOneShard(t *testing.T) {
	w := startServers(t, 2)
	w.setup(t)
	stop := writeInReverse(t, w.shop.Postgres[1], 8)
	f := watchful{postgres.New(postgres.Options{}), &atomic.Int64{}, &atomic.Int64{}}
	opt := options(w)
	opt.Attempts, opt.LockTimeout, opt.Budget, opt.Patience = 20, 500*time.Millisecond, 10*time.Second, 2*time.Minute
	const cuts = 20

	attempts, tries := 0, 0
	for range cuts {
		cut, err := barrier.Take(t.Context(), parties(w, f), opt)
		if err != nil {
			t.Error(err)
			break
		}
		attempts, tries = attempts+cut.Attempts, tries+cut.LockTries
	}
	done, failed, longest := stop()
	t.Logf("%d cuts in %d attempts, the tables were locked %d times; %d transactions, the longest %s", cuts, attempts, f.locks.Load(), done, longest.Round(time.Millisecond))

	if failed > 0 {
		t.Errorf("%d of %d transactions failed", failed, done)
	}

	if attempts > cuts+cuts/2 || tries > 2*cuts {
		t.Errorf("%d cuts took %d attempts, and %d tries in the successful ones", cuts, attempts, tries)
	}

	if most := 4 * opt.LockTimeout; time.Duration(f.longest.Load()) > most {
		t.Errorf("a barrier was ready to hold its locks for %s, more than %s, for one that it could not get", time.Duration(f.longest.Load()), most)
	}
}
