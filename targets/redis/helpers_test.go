package redis

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"drctl/internal/proc"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/targets"
)

var ctx = context.Background()

func must(t testing.TB, err error) {
	t.Helper()

	if err != nil {
		t.Fatal(err)
	}
}

func driver(t testing.TB) *Driver {
	t.Helper()

	o := Options{Tools: sandboxtest.Tools(t)}
	if testing.Verbose() {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	d := New(o)
	d.extra = map[string]string{"enable-debug-command": "local"}

	return d
}

func dbClient(t testing.TB, in targets.Instance, db int) *goredis.Client {
	t.Helper()
	c, err := client(in, db)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })

	return c
}

func position(t testing.TB, in targets.Instance) targets.Position {
	t.Helper()
	m, err := info(ctx, dbClient(t, in, 0), "replication")
	must(t, err)

	return serverPosition(m)
}

func waitFor(t testing.TB, what string, cond func() bool) {
	t.Helper()

	for end := time.Now().Add(2 * time.Minute); !cond(); {
		if time.Now().After(end) {
			t.Fatal("timed out: " + what)
		}

		time.Sleep(3 * time.Millisecond)
	}
}

// follow runs Follow until the returned function is called, which returns
// Follow's error.
func follow(t testing.TB, d *Driver, in targets.Instance, a targets.Archive) (stop func() error) {
	t.Helper()
	fctx, cancel := context.WithCancel(ctx)

	done := make(chan error, 1)
	go func() { done <- d.Follow(fctx, in, a) }()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() { cancel(); err = <-done })
		return err
	}
	t.Cleanup(func() { _ = stop() })

	return stop
}

// caughtUp waits until the archive holds all that the server has written.
func caughtUp(t testing.TB, in targets.Instance, a targets.Archive) targets.Position {
	t.Helper()
	var at targets.Position
	waitFor(t, "the archive to reach the server", func() bool {
		tail, ok := a.Tail()
		at = position(t, in)

		return ok && tail.Timeline == at.Timeline && tail.Offset == at.Offset
	})

	return at
}

func seeded(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("DRCTL_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}

	t.Logf("DRCTL_SEED=%d", seed)

	return rand.New(rand.NewPCG(seed, 1))
}

// writer makes traffic of every kind on one server.
type writer struct {
	c   []*goredis.Client
	rng *rand.Rand
	n   int
}

func newWriter(t testing.TB, in targets.Instance, rng *rand.Rand) *writer {
	w := &writer{rng: rng}
	for _, db := range []int{0, 1, 7} {
		w.c = append(w.c, dbClient(t, in, db))
	}

	return w
}

// prepare loads a function, which goes through the stream as well.
func (w *writer) prepare() error {
	return w.c[0].FunctionLoadReplace(ctx, `#!lua name=drctltest
redis.register_function('bump', function(keys, args) redis.call('INCRBY', keys[1], args[1]); return redis.call('RPUSH', keys[1]..':log', args[1]) end)`).Err()
}

func (w *writer) step() error {
	w.n++
	c := w.c[w.rng.IntN(len(w.c))]

	k := strconv.Itoa(w.rng.IntN(40))
	switch w.rng.IntN(13) {
	case 0:
		return c.Set(ctx, "s:"+k, strings.Repeat(k+"x", w.rng.IntN(300)), 0).Err()
	case 1:
		return c.Set(ctx, "ttl:"+k, w.n, time.Hour).Err()
	case 2:
		return c.Set(ctx, "short:"+k, w.n, time.Duration(1+w.rng.IntN(30))*time.Millisecond).Err()
	case 3:
		return c.HSet(ctx, "h:"+k, strconv.Itoa(w.rng.IntN(200)), w.n).Err()
	case 4:
		return c.ZIncrBy(ctx, "z:"+k, w.rng.Float64(), strconv.Itoa(w.rng.IntN(50))).Err()
	case 5:
		_, err := c.TxPipelined(ctx, func(p goredis.Pipeliner) error {
			p.IncrBy(ctx, "a:"+k, 5)
			p.DecrBy(ctx, "b:"+k, 5)
			p.SAdd(ctx, "set:"+k, w.n)

			return nil
		})

		return err
	case 6:
		return c.Eval(ctx, `redis.call('INCR', KEYS[1]); return redis.call('SET', KEYS[2], ARGV[1], 'PX', 3600000)`, []string{"l:" + k, "lt:" + k}, w.n).Err()
	case 7:
		return c.FCall(ctx, "bump", []string{"f:" + k}, w.n).Err()
	case 8:
		return c.Publish(ctx, "news", w.n).Err()
	case 9:
		return c.SPop(ctx, "set:"+k).Err()
	case 10:
		return c.XAdd(ctx, &goredis.XAddArgs{Stream: "x:" + k, MaxLen: 50, Values: []any{"n", w.n}}).Err()
	case 11:
		return c.Expire(ctx, "s:"+k, time.Hour).Err()
	default:
		if w.rng.IntN(60) == 0 {
			return w.c[2].FlushDB(ctx).Err() // the markers are in database 0
		}

		return c.Del(ctx, "s:"+k).Err()
	}
}

func (w *writer) steps(t testing.TB, n int) {
	t.Helper()

	for range n {
		if err := w.step(); err != nil && err != goredis.Nil {
			t.Fatal(err)
		}
	}
}

// keySpace is every key's digest and time to live, per database, but for keys
// that live a few milliseconds.
func keySpace(t testing.TB, in targets.Instance) map[string]string {
	t.Helper()

	out := map[string]string{}
	for _, db := range []int{0, 1, 2, 7} {
		c := dbClient(t, in, db)
		keys, err := c.Keys(ctx, "*").Result()
		must(t, err)

		for _, k := range keys {
			if strings.HasPrefix(k, "short:") {
				continue
			}
			d, err := c.Do(ctx, "DEBUG", "DIGEST-VALUE", k).StringSlice()
			must(t, err)
			at, err := c.Do(ctx, "PEXPIRETIME", k).Int64()
			must(t, err)
			out[fmt.Sprint(db, " ", k)] = fmt.Sprint(d, at)
		}
	}
	f, err := dbClient(t, in, 0).FunctionDump(ctx).Result()
	must(t, err)
	out["functions"] = fmt.Sprintf("%x", f)

	return out
}

func sameKeys(t testing.TB, what string, want, got map[string]string) {
	t.Helper()

	if len(want) < 2 {
		t.Fatalf("%s: nothing to compare", what)
	}

	bad := 0
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if got[k] != want[k] && bad < 10 {
			bad++

			t.Errorf("%s: %q is %q, want %q", what, k, got[k], want[k])
		}
	}

	for _, k := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[k]; !ok && bad < 10 {
			bad++

			t.Errorf("%s: %q is too many", what, k)
		}
	}

	if bad > 0 {
		t.FailNow()
	}
}

// sandboxAt restores a point into a new sandbox and returns it running.
func sandboxAt(t testing.TB, d *Driver, m *memory, point targets.Position) targets.Instance {
	t.Helper()
	base, path := m.path(point)

	return restoreTo(t, d, m, targets.RestoreRequest{Base: base, Point: point, Path: path})
}

func restoreTo(t testing.TB, d *Driver, src targets.Source, req targets.RestoreRequest) targets.Instance {
	t.Helper()
	port, err := servers.FreePort()
	must(t, err)
	in := targets.Instance{Kind: targets.Redis, Shard: targets.ShardID{Target: "carts", Shard: "0"}, Role: targets.Sandbox,
		Address: fmt.Sprintf("127.0.0.1:%d", port), Password: targets.NewSecret("sandbox-secret"), DataDir: filepath.Join(sandboxtest.Dir(t), "data")}
	out, err := d.Restore(ctx, in, req, src)
	must(t, err)
	kill(t, out.Pid)

	if req.Until.IsZero() && out.Reached != req.Point {
		t.Fatalf("reached %+v, want %+v", out.Reached, req.Point)
	}

	return in
}

// kill ends a server by the pid that a restore returned.
func kill(t testing.TB, pid int) {
	id, err := proc.Of(pid)
	must(t, err)
	t.Cleanup(func() { _ = id.Kill() })
}

// replicaAt lets a real server replicate an image and a piece of stream from
// this test, which plays the master: the server then holds exactly what a
// replica holds at that offset.
func replicaAt(t testing.TB, m *memory, base targets.Artifact, path []targets.Span) targets.Instance {
	t.Helper()

	var stream []byte
	for _, s := range path {
		b, err := m.bytes(s)
		must(t, err)
		stream = append(stream, b...)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })

	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}

			go playMaster(c, base.From, m.images[base.Snapshot], stream)
		}
	}()
	in := sandboxtest.RedisReplica(t, targets.Instance{Address: l.Addr().String()}, sandboxtest.RedisOptions{Settings: map[string]string{"databases": "1024"}})
	want := base.From.Offset + uint64(len(stream))
	waitFor(t, "the replica", func() bool {
		m, err := info(ctx, dbClient(t, in, 0), "replication")
		return err == nil && m["master_link_status"] == "up" && m["slave_repl_offset"] == fmt.Sprint(want)
	})

	return in
}

func playMaster(c net.Conn, at targets.Position, image, stream []byte) {
	defer c.Close()

	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		n, _ := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "*")))

		var args []string
		for range n {
			l, err := r.ReadString('\n')
			if err != nil {
				return
			}
			k, _ := strconv.Atoi(strings.TrimSpace(l[1:]))

			b := make([]byte, k+2)
			for got := 0; got < len(b); {
				x, err := r.Read(b[got:])
				if err != nil {
					return
				}
				got += x
			}
			args = append(args, string(b[:k]))
		}

		switch strings.ToUpper(strings.Join(args[:min(1, len(args))], "")) {
		case "PING":
			fmt.Fprint(c, "+PONG\r\n")
		case "PSYNC":
			fmt.Fprintf(c, "+FULLRESYNC %s %d\r\n$%d\r\n", at.Timeline, at.Offset, len(image))
			_, _ = c.Write(image)
			_, _ = c.Write(stream)
		case "REPLCONF":
			if len(args) > 1 && !strings.EqualFold(args[1], "ACK") {
				fmt.Fprint(c, "+OK\r\n")
			}
		default:
			fmt.Fprint(c, "+OK\r\n")
		}
	}
}
