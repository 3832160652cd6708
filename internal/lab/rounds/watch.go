package rounds

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"drctl/targets"
)

const (
	// Every is how often a watch asks each server.
	Every = 10 * time.Millisecond
	// answered is how long a server may take to answer; one that hangs says nothing.
	answered = time.Second
	// WatchTable is what a watch writes in PostgreSQL, one row for each region.
	WatchTable = "drctl_watch"
	// watchKey is what it writes in Redis: the checker of the shop passes over such keys.
	watchKey = "drctl:watch:"
)

// Took is a write that a server took at some instant between when it was asked and when it
// answered.
type Took struct{ Asked, Answered time.Time }

// Watch asks servers of all regions whether they take writes, by having them take one.
type Watch struct {
	servers []*server
	stop    context.CancelFunc
	all     sync.WaitGroup
}

// server is one that is watched.
type server struct {
	in  targets.Instance
	try func(ctx context.Context) error
	end func()

	mu    sync.Mutex
	took  []Took // since the last mark
	asked int
	gap   time.Duration // the longest time between two questions since the last mark
}

// NewWatch begins to watch servers of PostgreSQL and Redis until Stop. WatchTable has to be there.
func NewWatch(ctx context.Context, instances []targets.Instance) *Watch {
	ctx, stop := context.WithCancel(ctx)
	w := &Watch{stop: stop}

	for _, in := range instances {
		s := &server{in: in}
		s.try, s.end = writesRedis(in)

		if in.Kind == targets.Postgres {
			s.try, s.end = writesPostgres(in)
		}

		w.servers = append(w.servers, s)
		w.all.Go(func() { s.watch(ctx) })
	}

	return w
}

// Stop ends the watch.
func (w *Watch) Stop() {
	w.stop()
	w.all.Wait()
}

// watch asks one server until the context ends.
func (s *server) watch(ctx context.Context) {
	defer s.end()

	tick := time.NewTicker(Every)
	defer tick.Stop()

	last := time.Now()

	for ctx.Err() == nil {
		asked := time.Now()
		err := s.try(ctx)
		now := time.Now()

		s.mu.Lock()

		s.asked++
		s.gap = max(s.gap, asked.Sub(last))
		last = asked

		if err == nil {
			s.took = append(s.took, Took{asked, now})
		}

		s.mu.Unlock()

		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// Mark forgets what was seen before, as a move begins.
func (w *Watch) Mark() {
	for _, s := range w.servers {
		s.mu.Lock()
		s.took, s.asked, s.gap = nil, 0, 0
		s.mu.Unlock()
	}
}

// Seen is what a watch saw of one shard since the last mark.
type Seen struct {
	Shard targets.ShardID
	// Asked is how often its servers were asked, and Gap the longest time between two questions to one.
	Asked int
	Gap   time.Duration
	// Took is how many writes each region's server took.
	Took map[string]int
	// Both says how two servers took writes in turn; "" when they did not.
	Both string
	// Last and First are the write that the old side was asked for last, and the one that the new side
	// answered first; zero where there is none.
	Last, First Took
}

// Since says what was seen of each shard since the last mark, when the primaries were in the region from. They may have
// moved once: whatever another server took lies behind all that the old one took, or cannot be
// told from that.
func (w *Watch) Since(from string) (out []Seen) {
	for _, s := range w.servers {
		i := slices.IndexFunc(out, func(x Seen) bool { return x.Shard == s.in.Shard })
		if i < 0 {
			out = append(out, Seen{Shard: s.in.Shard, Took: map[string]int{}})
			i = len(out) - 1
		}

		s.mu.Lock()
		x := &out[i]
		x.Asked, x.Gap = x.Asked+s.asked, max(x.Gap, s.gap)
		x.Took[s.in.Region] += len(s.took)

		for _, took := range s.took {
			if s.in.Region == from && took.Asked.After(x.Last.Asked) {
				x.Last = took
			}

			if s.in.Region != from && (x.First.Answered.IsZero() || took.Answered.Before(x.First.Answered)) {
				x.First = took
			}
		}

		s.mu.Unlock()
	}

	for i := range out {
		out[i].judge(from)
	}

	return out
}

// judge looks for a write of the old side that was asked for after the new side had answered one.
func (s *Seen) judge(from string) {
	if s.First.Answered.IsZero() || s.Last.Asked.IsZero() || !s.Last.Asked.After(s.First.Answered) {
		return
	}

	s.Both = fmt.Sprintf("%s: %s took a write that it was asked for at %s, and another server had answered one at %s, %s before", s.Shard, from,
		s.Last.Asked.UTC().Format(time.RFC3339Nano), s.First.Answered.UTC().Format(time.RFC3339Nano), s.Last.Asked.Sub(s.First.Answered))
}

// writesPostgres writes the row of a server's region, over one session while that lasts.
func writesPostgres(in targets.Instance) (try func(context.Context) error, end func()) {
	var c *pgx.Conn

	end = func() {
		if c != nil {
			ctx, stop := context.WithTimeout(context.Background(), answered)
			defer stop()

			_ = c.Close(ctx)
		}
	}

	return func(ctx context.Context) (err error) {
		ctx, stop := context.WithTimeout(ctx, answered)
		defer stop()

		if c == nil || c.IsClosed() {
			if c, err = connect(ctx, in, in.Address, map[string]string{"application_name": "watch", "synchronous_commit": "off"}); err != nil {
				return err
			}
		}

		tag, err := c.Exec(ctx, "UPDATE "+WatchTable+" SET n = n + 1 WHERE region = '"+in.Region+"'")
		if err == nil && tag.RowsAffected() != 1 {
			err = fmt.Errorf("%s has no row of %s", WatchTable, in.Region)
		}

		return err
	}, end
}

// connect opens a session without prepared statements.
func connect(ctx context.Context, in targets.Instance, address string, set map[string]string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig("sslmode=disable")
	if err != nil {
		return nil, err
	}

	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}

	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	cfg.Host, cfg.Port, cfg.User, cfg.Password, cfg.Database = host, uint16(n), in.User, in.Password.Reveal(), in.Database
	cfg.Fallbacks, cfg.DefaultQueryExecMode = nil, pgx.QueryExecModeSimpleProtocol

	for k, v := range set {
		cfg.RuntimeParams[k] = v
	}

	return pgx.ConnectConfig(ctx, cfg)
}

// writesRedis writes the key of a server's region.
func writesRedis(in targets.Instance) (try func(context.Context) error, end func()) {
	c := openRedis(in.Address, in, answered)

	return func(ctx context.Context) error {
		ctx, stop := context.WithTimeout(ctx, answered)
		defer stop()

		return c.Set(ctx, watchKey+in.Region, "1", 0).Err()
	}, func() { _ = c.Close() }
}

// openRedis makes a client that does nothing twice.
func openRedis(address string, in targets.Instance, limit time.Duration) *redis.Client {
	return redis.NewClient(&redis.Options{Addr: address, Password: in.Password.Reveal(), MaxRetries: -1, DisableIdentity: true, PoolSize: 1,
		DialTimeout: limit, ReadTimeout: limit, WriteTimeout: limit, ContextTimeoutEnabled: true})
}
