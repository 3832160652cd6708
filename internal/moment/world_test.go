package moment_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	goredis "github.com/redis/go-redis/v9"

	"drctl/internal/moment"
	"drctl/internal/observation"
	"drctl/internal/observation/batches"
	"drctl/internal/proof/shardlog"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/targets"
	"drctl/targets/postgres"
	"drctl/targets/postgres/stretch"
	"drctl/targets/postgres/wal"
	"drctl/targets/redis"
)

const (
	group   = "shop"
	segment = 16 << 20
	limit   = 400 * time.Millisecond
)

// A world is two PostgreSQL servers and a Redis master whose logs are archived, and which
// are being observed.
type world struct {
	set      vault.Set
	pg       []targets.Instance
	redis    targets.Instance
	observer *observation.Observer
	archives []*stream.Archiver

	mu      sync.Mutex
	current observation.Batch
	flushed map[targets.ShardID]uint64
}

func (w *world) v() *vault.Vault { return w.set.Vaults[0] }

// newWorld starts a world. What statements are given, the first server does before its log is archived.
func newWorld(t *testing.T, first ...string) *world {
	t.Helper()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err := vault.Init(t.Context(), vault.Options{Region: "east", Location: vault.Location{URL: "file://" + filepath.Join(t.TempDir(), "vault")}, Key: key, ResticBin: sandboxtest.Tools(t).ResticBin})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{set: vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}, observer: observation.NewObserver(), flushed: map[targets.ShardID]uint64{}}

	pg := postgres.New(postgres.Options{Tools: sandboxtest.Tools(t)})
	for _, shard := range []string{"orders/0", "orders/1"} {
		in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Shard: shard, Settings: map[string]string{
			"wal_recycle": "off", "wal_keep_size": "1GB", "autovacuum": "off", "max_prepared_transactions": "100", "max_connections": "60"}})
		w.pg = append(w.pg, in)
		conn := w.connect(t, in)
		do(t, conn, "CREATE TABLE moments (op bigint)")

		for _, sql := range first {
			do(t, conn, sql)
		}
		first = nil

		w.archive(t, in, pg)
		do(t, conn, "CHECKPOINT") // and with it the list of open transactions
	}
	w.redis = sandboxtest.Redis(t, sandboxtest.RedisOptions{Settings: map[string]string{"repl-ping-replica-period": "3600"}})
	w.archive(t, w.redis, redis.New(redis.Options{}))

	var sessions []observation.Session
	for _, in := range append(slices.Clone(w.pg), w.redis) {
		var of observation.Observable = pg
		if in.Kind == targets.Redis {
			of = redis.New(redis.Options{})
		}

		s, err := of.Session(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, s)
	}

	var done sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())

	done.Go(func() { w.watch(ctx, t, sessions) })
	t.Cleanup(func() { stop(); done.Wait() })

	return w
}

// archive follows a server's log into the vault.
func (w *world) archive(t *testing.T, in targets.Instance, f targets.Follower) {
	t.Helper()

	a, err := stream.NewArchiver(t.Context(), stream.Options{Set: w.set, Shard: in.Shard, Kind: in.Kind, Region: in.Region, ChunkAge: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())

	var done sync.WaitGroup
	done.Go(func() {
		if err := f.Follow(ctx, in, a); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); done.Wait(); a.Abort() })
	w.archives = append(w.archives, a)

	for !begun(a) {
		if t.Failed() {
			t.FailNow()
		}

		time.Sleep(5 * time.Millisecond)
	}
}

func begun(a *stream.Archiver) bool { _, ok := a.Tail(); return ok }

// watch observes all servers, and stores a batch now and again.
func (w *world) watch(ctx context.Context, t *testing.T, sessions []observation.Session) {
	all := append(slices.Clone(w.pg), w.redis)

	for n := 1; ctx.Err() == nil; n++ {
		for i, s := range sessions {
			o, err := s.Observe(context.Background(), w.observer)
			if err != nil {
				t.Error(err)
				return
			}

			w.saw(all[i], s.Server(), o)
		}

		if n%40 == 0 {
			w.save(t)
		}

		time.Sleep(5 * time.Millisecond)
	}

	for _, s := range sessions {
		s.Close()
	}
}

func (w *world) saw(in targets.Instance, server string, o observation.Observation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := &w.current

	if len(b.Shards) == 0 {
		*b = observation.Batch{Group: group, Observer: w.observer.Name(), Since: o.T0, Began: time.Now().UTC()}
	}
	w.flushed[in.Shard] = o.Flushed

	i := slices.IndexFunc(b.Shards, func(s observation.Seen) bool { return s.Shard == in.Shard })
	if i < 0 {
		i = len(b.Shards)
		b.Shards = append(b.Shards, observation.Seen{Shard: in.Shard, Kind: in.Kind, Server: server})
	}
	b.Shards[i].Observations = append(b.Shards[i].Observations, o)
	b.Since, b.Until, b.Ended = min(b.Since, o.T0), max(b.Until, o.T1), time.Now().UTC()
}

// save stores what was seen, and waits until the log up to there is in the vault.
func (w *world) save(t *testing.T) {
	w.mu.Lock()
	b := w.current
	w.current = observation.Batch{}
	w.mu.Unlock()

	if len(b.Shards) == 0 {
		return
	}

	slices.SortFunc(b.Shards, func(a, b observation.Seen) int { return a.Shard.Compare(b.Shard) })

	if err := batches.Save(context.Background(), w.set, b); err != nil {
		t.Error(err)
	}
}

// settle stores what was seen, and waits until the log up to there is in the vault.
func (w *world) settle(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	var want []uint64

	for _, in := range append(slices.Clone(w.pg), w.redis) {
		want = append(want, w.flushed[in.Shard])
	}

	w.mu.Unlock()
	w.save(t)

	for i, a := range w.archives {
		for a.Durable() < want[i] {
			if err := a.Err(); err != nil || t.Failed() {
				t.Fatal(err)
			}

			time.Sleep(time.Millisecond)
		}
	}
}

func (w *world) request() moment.Request {
	req := moment.Request{Group: group, Policy: moment.Policy{Limit: limit}}
	for _, in := range append(slices.Clone(w.pg), w.redis) {
		req.Shards = append(req.Shards, moment.Shard{ID: in.Shard, Kind: in.Kind, Region: "east", Instance: in.String()})
	}

	return req
}

func (w *world) open(in targets.Instance) (*pgx.Conn, error) {
	return pgx.Connect(context.Background(), sandboxtest.DSN(in, "postgres"))
}

func (w *world) connect(t testing.TB, in targets.Instance) *pgx.Conn {
	t.Helper()

	conn, err := w.open(in)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = conn.Close(context.Background()) })

	return conn
}

func (w *world) cache() *goredis.Client {
	return goredis.NewClient(&goredis.Options{Addr: w.redis.Address, Username: w.redis.User, Password: w.redis.Password.Reveal()})
}

func do(t testing.TB, conn *pgx.Conn, sql string) {
	t.Helper()

	if _, err := conn.Exec(context.Background(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// place is what became of a transaction, by its place in the log.
type place struct {
	prepared, decided uint64
	committed         bool
}

// places reads a server's own log files.
func (w *world) places(t *testing.T, in targets.Instance) map[uint32]place {
	t.Helper()

	files, err := filepath.Glob(filepath.Join(in.DataDir, "pg_wal", "????????????????????????"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no log in %s: %v", in.DataDir, err)
	}
	var parts []io.Reader

	for _, f := range files {
		file, err := os.Open(f)
		if err != nil {
			t.Fatal(err)
		}

		t.Cleanup(func() { _ = file.Close() })
		parts = append(parts, file)
	}
	name := filepath.Base(files[0])
	high, _ := strconv.ParseUint(name[8:16], 16, 64)
	low, _ := strconv.ParseUint(name[16:], 16, 64)

	r, err := wal.NewReader(io.MultiReader(parts...), wal.Options{SegmentSize: segment, Start: wal.LSN(high<<32 + low*segment)})
	if err != nil {
		t.Fatal(err)
	}
	all := map[uint32]place{}

	var xacts wal.Transactions
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}

		if err != nil {
			t.Fatal(err)
		}

		step, err := xacts.Add(rec)
		if err != nil {
			t.Fatal(err)
		}

		if x := step.Transaction; x != nil {
			p := all[x.XID]
			if x.Outcome == wal.Prepared {
				p.prepared = uint64(x.Start)
			} else {
				p.decided, p.committed = uint64(x.Start), x.Outcome == wal.Committed || x.Outcome == wal.CommittedPrepared
			}
			all[x.XID] = p
		}
	}
}

// counted counts the bytes of log that are read.
type counted struct {
	stretch.Opener
	mu   sync.Mutex
	read map[targets.ShardID]uint64
}

func (c *counted) OpenLog(o shardlog.Options) (shardlog.Log, error) {
	log, err := c.Opener.OpenLog(o)
	return &countedLog{log, o.Shard, c}, err
}

type countedLog struct {
	shardlog.Log
	shard targets.ShardID
	all   *counted
}

func (l *countedLog) Feed(src io.Reader) error {
	return l.Log.Feed(readerFunc(func(p []byte) (int, error) {
		n, err := src.Read(p)

		l.all.mu.Lock()
		defer l.all.mu.Unlock()
		l.all.read[l.shard] += uint64(n)

		return n, err
	}))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func openers() map[targets.Kind]shardlog.Opener {
	return map[targets.Kind]shardlog.Opener{targets.Postgres: stretch.Opener{}}
}

func tag(id string, n int) string {
	return fmt.Sprintf("SELECT pg_logical_emit_message(true, 'drctl/global', '%s/%d')", id, n)
}
