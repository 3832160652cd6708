package rounds

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/redis/go-redis/v9"

	"drctl/internal/retry"
	"drctl/targets"
)

const (
	// RegisterTable has the one row that is a shard's register in PostgreSQL.
	RegisterTable = "drctl_register"
	// registerKey is the register in Redis.
	registerKey = "drctl:register"
	// patience is how long a client waits for an answer; a route may hold it for a while.
	patience = 20 * time.Second
	// rest is the longest pause between two operations of a client.
	rest = 20 * time.Millisecond
	// afterFailure is the pause after one that failed.
	afterFailure = 25 * time.Millisecond
)

// Op is one operation of one client on a register.
type Op struct {
	Client int
	Write  bool
	Value  int64 // written, or read
	// Call and Return are readings of one clock. An operation without a known outcome, which may have been done or
	// may be done later, has no Return.
	Call, Return time.Time
}

// Register is one value in a shard, and what its clients did with it.
type Register struct {
	Shard targets.ShardID
	// Begins is the value that it has before its clients begin.
	Begins int64

	open func() session
	next atomic.Int64

	mu   sync.Mutex
	ops  []Op
	last time.Time // acknowledged write
}

// session is one client's way to a register.
type session interface {
	// read and write do it. Certain says of a write that failed that it was and will not be done.
	read(ctx context.Context) (int64, error)
	write(ctx context.Context, v int64) (certain bool, err error)
	close()
}

// NewRegister is the register of a shard, which clients reach at an address: that of a proxy,
// or of the server itself. RegisterTable has to be there, with one row.
func NewRegister(in targets.Instance, address string) *Register {
	r := &Register{Shard: in.Shard}
	if in.Kind == targets.Postgres {
		r.open = func() session { return &pgSession{in: in, address: address} }
	} else {
		r.open = func() session { return &redisSession{c: openRedis(address, in, patience)} }
	}

	return r
}

// Begin gives the register its first value, trying for as long as the context lasts, and forgets what was done before. Nobody else may use it.
func (r *Register) Begin(ctx context.Context) error {
	s := r.open()
	defer s.close()

	for {
		v := r.next.Add(1)

		_, err := s.write(ctx, v)
		if err == nil {
			r.mu.Lock()
			r.Begins, r.ops = v, nil
			r.mu.Unlock()

			return nil
		}

		if retry.Sleep(ctx, 10*rest) != nil {
			return err
		}
	}
}

// Use lets clients read and write until the context ends. What they have begun then, they finish.
func (r *Register) Use(ctx context.Context, clients int, seed uint64) {
	var all sync.WaitGroup
	for n := range clients {
		all.Go(func() { r.client(ctx, n, rand.New(rand.NewPCG(seed, uint64(n)))) })
	}

	all.Wait()
}

func (r *Register) client(ctx context.Context, n int, rnd *rand.Rand) {
	s := r.open()
	defer s.close()

	for ctx.Err() == nil {
		octx, stop := context.WithTimeout(context.WithoutCancel(ctx), patience)
		op := Op{Client: n, Write: rnd.IntN(2) == 0, Call: time.Now()}

		var err error
		known := true

		if op.Write {
			op.Value = r.next.Add(1)

			var certain bool
			certain, err = s.write(octx, op.Value)
			known = err == nil || certain
		} else {
			op.Value, err = s.read(octx)
		}

		stop()

		if err == nil {
			op.Return = time.Now()
		}

		if err == nil || op.Write && !known {
			r.mu.Lock()

			r.ops = append(r.ops, op)
			if op.Write && err == nil {
				r.last = op.Return
			}

			r.mu.Unlock()
		}

		pause := time.Duration(rnd.Int64N(int64(rest)))
		if err != nil {
			pause = afterFailure
		}

		_ = retry.Sleep(ctx, pause)
	}
}

// Ops are the operations so far.
func (r *Register) Ops() []Op {
	r.mu.Lock()
	defer r.mu.Unlock()

	return append([]Op(nil), r.ops...)
}

// Acked is when a write was acknowledged last.
func (r *Register) Acked() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()

	return r.last
}

type pgSession struct {
	in      targets.Instance
	address string
	c       *pgx.Conn
}

func (s *pgSession) ready(ctx context.Context) (err error) {
	if s.c == nil || s.c.IsClosed() {
		s.c, err = connect(ctx, s.in, s.address, nil)
	}

	return err
}

func (s *pgSession) read(ctx context.Context) (v int64, err error) {
	if err := s.ready(ctx); err != nil {
		return 0, err
	}

	return v, s.c.QueryRow(ctx, "SELECT v FROM "+RegisterTable).Scan(&v)
}

func (s *pgSession) write(ctx context.Context, v int64) (certain bool, err error) {
	if err := s.ready(ctx); err != nil {
		return true, err
	}

	tag, err := s.c.Exec(ctx, "UPDATE "+RegisterTable+" SET v = "+strconv.FormatInt(v, 10))
	if err == nil && tag.RowsAffected() != 1 {
		return true, errors.New("the register has no row")
	}

	// A server that could not do the statement has done nothing; one that is ending, or a pooler that has lost it, does not
	// say what became of it.
	var pg *pgconn.PgError

	return errors.As(err, &pg) && (pg.Code == "25006" || strings.HasPrefix(pg.Code, "40") || strings.HasPrefix(pg.Code, "42")), err
}

func (s *pgSession) close() {
	if s.c != nil {
		ctx, stop := context.WithTimeout(context.Background(), answered)
		defer stop()

		_ = s.c.Close(ctx)
	}
}

type redisSession struct{ c *redis.Client }

func (s *redisSession) read(ctx context.Context) (int64, error) {
	return s.c.Get(ctx, registerKey).Int64()
}

func (s *redisSession) write(ctx context.Context, v int64) (certain bool, err error) {
	err = s.c.Set(ctx, registerKey, v, 0).Err()

	var said redis.Error

	var dial *net.OpError

	return errors.As(err, &said) || errors.As(err, &dial) && dial.Op == "dial", err
}

func (s *redisSession) close() { _ = s.c.Close() }
