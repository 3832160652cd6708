package all_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	goredis "github.com/redis/go-redis/v9"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/targets"
)

// killers is the platform under fire.
type killers struct {
	t         *testing.T
	ctx       context.Context
	rng       *rand.Rand
	job       archiverJob
	set       vault.Set
	archiver  *exec.Cmd
	log       *os.File
	pg, redis targets.Instance
	replica   targets.Instance
	pgProc    servers.Server
	redisProc servers.Server

	stop    chan struct{}
	load    sync.WaitGroup
	pause   sync.RWMutex // held by Redis's writer while it writes
	pgDown  sync.RWMutex // held by PostgreSQL's writers while they write
	wrote   [2]int
	wroteMu sync.Mutex
}

var pgKillSettings = map[string]string{"wal_keep_size": "8GB", "wal_level": "replica", "max_prepared_transactions": "64", "shared_buffers": "16MB",
	"max_wal_senders": "10", "max_replication_slots": "10", "hot_standby": "on", "max_connections": "60", "fsync": "off", "wal_sender_timeout": "5s"}

var redisKillSettings = map[string]string{"appendonly": "yes", "appendfsync": "everysec", "save": "", "repl-diskless-sync": "yes",
	"repl-diskless-sync-delay": "0", "repl-backlog-size": "8mb"}

func (k *killers) must(err error) {
	k.t.Helper()

	if err != nil {
		k.t.Fatal(err)
	}
}

func newKillers(t *testing.T, ctx context.Context, seed uint64) *killers {
	k := &killers{t: t, ctx: ctx, rng: rand.New(rand.NewPCG(seed, 1)), stop: make(chan struct{})}
	k.pg = sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Proc: &k.pgProc, Settings: pgKillSettings})
	k.redis = sandboxtest.Redis(t, sandboxtest.RedisOptions{Proc: &k.redisProc, Settings: redisKillSettings})
	k.replica = sandboxtest.RedisReplica(t, k.redis, sandboxtest.RedisOptions{})
	s3 := sandboxtest.S3(t, true)
	key, err := vault.GenerateKey()
	k.must(err)

	k.job = archiverJob{Key: key.Secret().Reveal(), Vaults: []vaultPlace{
		{Region: "east", URL: "file://" + filepath.Join(sandboxtest.Dir(t), "vault")},
		{Region: "west", URL: "s3://" + s3.Database + "/vault", Endpoint: s3.Address, AccessKey: s3.User, Secret: s3.Password.Reveal()}}}
	for _, in := range []targets.Instance{k.pg, k.redis} {
		k.job.Instances = append(k.job.Instances, archivedInstance{Kind: in.Kind, Shard: in.Shard, Address: in.Address, User: in.User,
			Password: in.Password.Reveal(), Database: in.Database, DataDir: in.DataDir})
	}
	k.set, err = k.job.set(ctx, vault.Init)
	k.must(err)
	k.log, err = os.Create(filepath.Join(t.TempDir(), "archiver.log"))
	k.must(err)
	t.Cleanup(func() {
		k.killArchiver()

		if b, err := os.ReadFile(k.log.Name()); err == nil && t.Failed() {
			t.Logf("the archivers said:\n%s", b[max(0, len(b)-6000):])
		}
		_ = k.log.Close()
	})

	return k
}

func (k *killers) startArchiver() {
	k.t.Helper()
	in, err := json.Marshal(k.job)
	k.must(err)
	exe, err := os.Executable()
	k.must(err)
	k.archiver = exec.Command(exe)
	k.archiver.Env = append(os.Environ(), archiverEnv+"=1")
	k.archiver.Stdin, k.archiver.Stdout, k.archiver.Stderr = bytes.NewReader(in), k.log, k.log
	k.must(k.archiver.Start())
}

// killArchiver sends SIGKILL; the process gets no chance to do anything.
func (k *killers) killArchiver() {
	if k.archiver == nil {
		return
	}
	_ = k.archiver.Process.Kill()
	err := k.archiver.Wait()

	var ended *exec.ExitError
	if ws, ok := syscall.WaitStatus(0), errors.As(err, &ended); ok {
		if ws, ok = ended.Sys().(syscall.WaitStatus); ok && ws.Signal() != syscall.SIGKILL {
			k.t.Errorf("the archiver ended by itself: %v", err)
		}
	}
	k.archiver = nil
}

// writes keeps both servers busy until stop. Errors are what a client sees
// when its server is killed; they do not count.
func (k *killers) writes() {
	for range 2 {
		k.load.Go(func() {
			for !k.stopped() {
				k.pgDown.RLock()
				n := k.pgWrites()
				k.pgDown.RUnlock()
				k.count(0, n)
			}
		})
	}
	seed := k.rng.Uint64()
	k.load.Go(func() {
		rng := rand.New(rand.NewPCG(seed, 2))

		c := goredis.NewClient(&goredis.Options{Addr: k.redis.Address, Password: k.redis.Password.Reveal(), MaxRetries: -1})
		defer c.Close()

		for n := 0; !k.stopped(); n++ {
			k.pause.RLock()
			err := redisWrite(k.ctx, c, rng, n)
			k.pause.RUnlock()

			if err == nil {
				k.count(1, 1)
			}

			time.Sleep(time.Duration(rng.IntN(1500)) * time.Microsecond)
		}
	})
}

func (k *killers) stopped() bool {
	select {
	case <-k.stop:
		return true
	default:
		return false
	}
}

// loaded waits until there was some load.
func (k *killers) loaded() {
	k.t.Helper()

	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		k.wroteMu.Lock()
		enough := k.wrote[0] >= 100 && k.wrote[1] >= 500
		k.wroteMu.Unlock()

		if enough {
			return
		}

		if time.Now().After(end) {
			k.t.Fatal("there was hardly any load")
		}
	}
}

func (k *killers) count(i, n int) {
	k.wroteMu.Lock()
	defer k.wroteMu.Unlock()
	k.wrote[i] += n
}

// pgWrites makes a burst of transactions on one connection.
func (k *killers) pgWrites() (n int) {
	c, err := pgx.Connect(k.ctx, sandboxtest.DSN(k.pg, k.pg.Database))
	if err != nil {
		time.Sleep(20 * time.Millisecond)
		return 0
	}

	defer func() { _ = c.Close(context.Background()) }()

	for range 25 {
		if _, err := c.Exec(k.ctx, "INSERT INTO filler SELECT i, repeat(md5(random()::text), 20) FROM generate_series(1, 40) i"); err != nil {
			return n
		}

		n++

		time.Sleep(4 * time.Millisecond)
	}
	_, _ = c.Exec(k.ctx, "DELETE FROM filler WHERE ctid IN (SELECT ctid FROM filler LIMIT 500)")

	return n
}

func redisWrite(ctx context.Context, c *goredis.Client, rng *rand.Rand, n int) error {
	key := strconv.Itoa(rng.IntN(60))
	switch rng.IntN(6) {
	case 0:
		return c.Set(ctx, "s:"+key, strings.Repeat(key+"x", rng.IntN(400)), 0).Err()
	case 1:
		return c.HSet(ctx, "h:"+key, strconv.Itoa(rng.IntN(300)), n).Err()
	case 2:
		return c.ZIncrBy(ctx, "z:"+key, 1, strconv.Itoa(rng.IntN(50))).Err()
	case 3:
		return c.Set(ctx, "ttl:"+key, n, time.Hour).Err()
	case 4:
		return c.Eval(ctx, `redis.call('INCR', KEYS[1]); return redis.call('RPUSH', KEYS[2], ARGV[1])`, []string{"i:" + key, "l:" + key}, n).Err()
	}
	_, err := c.TxPipelined(ctx, func(p goredis.Pipeliner) error {
		p.IncrBy(ctx, "a:"+key, 5)
		p.DecrBy(ctx, "b:"+key, 5)

		return nil
	})

	return err
}

// killPostgres kills the sender at whatever it does and starts it again.
func (k *killers) killPostgres() {
	k.t.Helper()
	k.must(k.pgProc.Kill())

	k.pgDown.Lock() // its clients have seen it by now
	defer k.pgDown.Unlock()
	p, err := sandboxtest.Tools(k.t).StartPostgres(k.ctx, servers.PostgresSpec{Dir: k.pg.DataDir, Port: portOf(k.t, k.pg.Address), Settings: pgKillSettings})
	k.must(err)
	k.pgProc = p
	k.t.Cleanup(func() { _ = p.Kill() })
}

func (k *killers) killRedis() {
	k.t.Helper()
	k.must(k.redisProc.Kill())

	set := map[string]string{"enable-debug-command": "local"}
	for n, v := range redisKillSettings {
		set[n] = v
	}
	var p servers.Server

	var err error
	for range 2400 { // the port is free when the last thread of the killed server is gone
		p, err = sandboxtest.Tools(k.t).StartRedis(k.ctx, servers.RedisSpec{Dir: k.redis.DataDir, Port: portOf(k.t, k.redis.Address), Password: k.redis.Password, Settings: set})
		if !fail.Is(err, fail.Conflict) {
			break
		}

		time.Sleep(50 * time.Millisecond)
	}

	k.must(err)
	k.redisProc = p
	k.t.Cleanup(func() { _ = p.Kill() })
}

func portOf(t *testing.T, address string) int {
	t.Helper()

	_, p, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}

	n, err := strconv.Atoi(p)
	if err != nil {
		t.Fatal(err)
	}

	return n
}

// truth is what a real replica held at a position.
type truth struct {
	at     targets.Position
	digest string
	keys   int64
}

// replicaStops lets Redis's writer pause, waits until the replica has all, and
// notes what it holds and where. The position must become durable.
func (k *killers) replicaStops() truth {
	k.t.Helper()

	k.based()
	k.pause.Lock()
	defer k.pause.Unlock()

	m, r := k.client(k.redis), k.client(k.replica)
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		a, b := replication(k.ctx, m), replication(k.ctx, r)

		off, err := strconv.ParseUint(a["master_repl_offset"], 10, 64)
		if err == nil && b["master_link_status"] == "up" && a["master_replid"] == b["master_replid"] && a["master_repl_offset"] == b["slave_repl_offset"] {
			x := truth{at: targets.Position{Kind: targets.Redis, Timeline: a["master_replid"], Offset: off}, digest: digestOf(k.t, k.ctx, r)}
			x.keys, err = r.DBSize(k.ctx).Result()
			k.must(err)
			k.durable(k.redis.Shard, x.at)

			return x
		}

		if time.Now().After(end) {
			k.t.Fatalf("the replica does not catch up: %v %v", a, b)
		}
	}
}

// based waits until every vault has a base and leads from it to some position:
// an archiver that is killed often enough has none yet, and the base that it
// then takes is later than any position that was asked for before.
func (k *killers) based() {
	k.t.Helper()

	m := k.client(k.redis)

	for end := time.Now().Add(4 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		a := replication(k.ctx, m)

		off, err := strconv.ParseUint(a["master_repl_offset"], 10, 64)
		k.must(err)

		ctx, cancel := context.WithTimeout(k.ctx, 10*time.Second)
		in, err := k.lead(ctx, k.redis.Shard, targets.Position{Kind: targets.Redis, Timeline: a["master_replid"], Offset: off})

		cancel()

		if err == nil && len(in) == len(k.set.Vaults) {
			return
		}

		if time.Now().After(end) {
			k.t.Fatalf("no base of Redis in both vaults: %v", err)
		}
	}
}

func (k *killers) client(in targets.Instance) *goredis.Client {
	c := goredis.NewClient(&goredis.Options{Addr: in.Address, Password: in.Password.Reveal()})
	k.t.Cleanup(func() { _ = c.Close() })

	return c
}

func replication(ctx context.Context, c *goredis.Client) map[string]string {
	out := map[string]string{}

	s, _ := c.Info(ctx, "replication").Result()
	for line := range strings.SplitSeq(s, "\r\n") {
		if n, v, ok := strings.Cut(line, ":"); ok {
			out[n] = v
		}
	}

	return out
}

func digestOf(t *testing.T, ctx context.Context, c *goredis.Client) string {
	t.Helper()

	s, err := c.Do(ctx, "DEBUG", "DIGEST").Text()
	if err != nil {
		t.Fatal(err)
	}

	return s
}

// durable waits until every vault alone leads to the position: for Redis a base
// and the log from there, for PostgreSQL, of which no base is taken here, the
// log from its beginning.
func (k *killers) durable(id targets.ShardID, at targets.Position) {
	k.t.Helper()

	ctx, cancel := context.WithTimeout(k.ctx, 3*time.Minute)
	defer cancel()

	for ; ; time.Sleep(50 * time.Millisecond) {
		in, err := k.lead(ctx, id, at)
		if err == nil && len(in) == len(k.set.Vaults) {
			return
		}

		if !fail.Is(err, fail.NotFound) || ctx.Err() != nil {
			k.t.Fatalf("%s: %+v is held in %v: %v", id, at, in, err)
		}
	}
}

func (k *killers) lead(ctx context.Context, id targets.ShardID, at targets.Position) ([]string, error) {
	if at.Kind == targets.Redis {
		in, err := stream.AwaitRecoverable(ctx, k.set, id, at, nil, 50*time.Millisecond, nil)
		return slices.Sorted(maps.Keys(in)), err
	}

	began, ok, err := stream.Began(ctx, k.set.Vaults, id, at.Timeline)
	if err != nil {
		return nil, err
	}

	if !ok || began >= at.Offset {
		return nil, fail.Newf(fail.NotFound, "test", id.String(), "nothing of timeline %s yet", at.Timeline)
	}
	from := at
	from.Offset = began

	return stream.AwaitDurable(ctx, k.set, id, from, at, 50*time.Millisecond, nil)
}

// TestKilledAtRandomMoments kills the archiver process, PostgreSQL and Redis
// with SIGKILL at seeded random moments under write load. What the vaults hold
// then is byte for byte what the server's own log files hold, without a gap or
// a byte twice, and what a real replica holds.
func TestKilledAtRandomMoments(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("DRCTL_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}

	t.Logf("DRCTL_SEED=%d", seed)

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	k := newKillers(t, ctx, seed)
	c, err := pgx.Connect(ctx, sandboxtest.DSN(k.pg, k.pg.Database))
	k.must(err)
	_, err = c.Exec(ctx, "CREATE TABLE filler (i int, b text); ALTER TABLE filler ALTER b SET STORAGE EXTERNAL")
	k.must(err)
	k.must(c.Close(ctx))
	k.writes()
	var truths []truth

	const rounds = 18
	for round := range rounds {
		k.startArchiver()

		switch round {
		case 3, 8, 13: // the sender dies while it sends
			k.nap(1200)
			k.killPostgres()
		case 6, 11: // the position before must be kept; what comes after may be lost with the server
			truths = append(truths, k.replicaStops())
			k.nap(400)
			k.killRedis()
		}

		k.nap(900)
		k.killArchiver()
	}

	k.startArchiver()
	k.nap(300)
	k.loaded()
	truths = append(truths, k.replicaStops())
	close(k.stop)
	k.load.Wait()
	end := k.postgresEnd()
	k.durable(k.pg.Shard, end)
	k.killArchiver()
	t.Logf("%d archivers killed, %d bursts in PostgreSQL, %d commands in Redis", rounds+1, k.wrote[0], k.wrote[1])

	for _, v := range k.set.Vaults {
		k.sameAsPostgres(v, end)
	}

	for _, x := range truths {
		k.sameAsReplica(x)
	}
}

// nap waits up to so many milliseconds.
func (k *killers) nap(most int) { time.Sleep(time.Duration(k.rng.IntN(most*1000)) * time.Microsecond) }
