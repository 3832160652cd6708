package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"drctl/internal/fail"
	"drctl/internal/retry"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/targets"
)

// A restore at a mark taken in the middle of traffic is what a real replica
// holds at that offset, and at rest it is what the master holds.
func TestRestoreIsWhatAReplicaHolds(t *testing.T) {
	for _, diskless := range []string{"yes", "no"} {
		t.Run("diskless "+diskless, func(t *testing.T) {
			d := driver(t)
			in := sandboxtest.Redis(t, sandboxtest.RedisOptions{Settings: map[string]string{"repl-diskless-sync": diskless}})
			rng := seeded(t)
			w := newWriter(t, in, rng)
			must(t, w.prepare())
			w.steps(t, 500)
			m := newMemory(t)
			stop := follow(t, d, in, m)
			waitFor(t, "the first base", func() bool { _, ok := m.Tail(); return ok })
			w.steps(t, 700)
			// A base over a connection of its own, while traffic goes on.
			a, err := d.Base(ctx, in, targets.BaseRequest{ID: "b1"}, m)
			must(t, err)
			m.mu.Lock()
			m.bases = append(m.bases, a)
			m.mu.Unlock()
			w.steps(t, 300)
			first := mark(t, d, in, "cut-1")
			// A client that waits for replicas puts REPLCONF GETACK into the stream.
			must(t, w.c[0].Do(ctx, "WAIT", 1, 1000).Err())
			w.steps(t, 300)
			second := mark(t, d, in, "cut-2")
			w.steps(t, 300)

			end := caughtUp(t, in, m)
			if err := stop(); !errors.Is(err, context.Canceled) {
				t.Fatalf("Follow ended with %v", err)
			}

			for _, c := range []struct {
				at     targets.Position
				marker string
			}{{first, ""}, {second, "cut-1"}} {
				base, path := m.path(c.at)
				if base.ID != "b1" {
					t.Fatalf("base %s", base.ID)
				}
				got := sandboxAt(t, d, m, c.at)
				sameKeys(t, "restored at "+c.marker, keySpace(t, replicaAt(t, m, base, path)), keySpace(t, got))

				v, err := dbClient(t, got, 0).Get(ctx, MarkerKey("shop")).Result()
				if v != c.marker || err != nil && err != goredis.Nil {
					t.Fatalf("the marker is %q (%v), want %q", v, err, c.marker)
				}
			}

			sameKeys(t, "restored at rest", keySpace(t, in), keySpace(t, sandboxAt(t, d, m, end)))
			// From the first base, too: the resync inside the stream.
			m.bases = m.bases[:1]
			sameKeys(t, "restored from the first base", keySpace(t, in), keySpace(t, sandboxAt(t, d, m, end)))
		})
	}
}

func mark(t testing.TB, d *Driver, in targets.Instance, cut string) targets.Position {
	t.Helper()
	mem, err := d.Join(ctx, in, targets.JoinRequest{CutID: cut, Group: "shop"})
	must(t, err)

	defer mem.Close()

	must(t, mem.Lock(ctx, time.Second))
	p, err := mem.Mark(ctx)
	must(t, err)
	must(t, mem.Release(ctx))
	must(t, mem.Settle(ctx))

	return p
}

// A server that refuses writes still says where its log stands, and its log can
// be followed from the beginning. Only the marker is missing, which is said.
func TestAServerThatRefusesWritesHasAPosition(t *testing.T) {
	for word, refuse := range map[string]func(t *testing.T, in targets.Instance, c *goredis.Client){
		"OOM": func(t *testing.T, _ targets.Instance, c *goredis.Client) {
			must(t, c.ConfigSet(ctx, "maxmemory-policy", "noeviction").Err())
			must(t, c.ConfigSet(ctx, "maxmemory", "1mb").Err())
		},
		"MISCONF": func(t *testing.T, in targets.Instance, c *goredis.Client) {
			must(t, c.ConfigSet(ctx, "save", "3600 1").Err())
			name := c.ConfigGet(ctx, "dbfilename").Val()["dbfilename"]
			must(t, os.RemoveAll(filepath.Join(in.DataDir, name)))
			must(t, os.Mkdir(filepath.Join(in.DataDir, name), 0o755))
			waitFor(t, "the image of the full resync", func() bool { return c.BgSave(ctx).Err() == nil })
			waitFor(t, "the image that cannot be saved", func() bool {
				m, err := info(ctx, c, "persistence")
				return err == nil && m["rdb_last_bgsave_status"] == "err"
			})
		},
		"NOREPLICAS": func(t *testing.T, _ targets.Instance, c *goredis.Client) {
			must(t, c.ConfigSet(ctx, "min-replicas-to-write", "3").Err())
		},
	} {
		t.Run(word, func(t *testing.T) {
			d := driver(t)
			in := sandboxtest.Redis(t, sandboxtest.RedisOptions{})
			m := newMemory(t)
			stop := follow(t, d, in, m)
			waitFor(t, "start", func() bool { _, ok := m.Tail(); return ok })

			c := dbClient(t, in, 0)
			for i := range 50 {
				must(t, c.Set(ctx, fmt.Sprint("k", i), i, 0).Err())
			}

			refuse(t, in, c)

			if err := c.Set(ctx, "one more", 1, 0).Err(); err == nil || !strings.HasPrefix(err.Error(), word) {
				t.Fatalf("the server takes writes: %v", err)
			}
			mem, err := d.Join(ctx, in, targets.JoinRequest{CutID: "cut-1", Group: "shop"})
			must(t, err)

			defer mem.Close()
			at, err := mem.Mark(ctx)
			must(t, err)

			if w := mem.(targets.Warner).Warnings(); len(w) != 1 || !strings.Contains(w[0], word) || !strings.Contains(w[0], "no marker") {
				t.Errorf("warnings %q", w)
			}

			if now := position(t, in); now.Timeline != at.Timeline || now.Offset < at.Offset {
				t.Errorf("marked %v, the server is at %v", at, now)
			}

			if err := stop(); err != context.Canceled {
				t.Fatal(err)
			}

			follow(t, d, in, m)
			caughtUp(t, in, m)
			got := sandboxAt(t, d, m, at)
			sameKeys(t, "restored at the position", keySpace(t, in), keySpace(t, got))

			if n := dbClient(t, got, 0).DBSize(ctx).Val(); n != 50 {
				t.Errorf("%d keys", n)
			}
		})
	}
}

// The server is told only what is durable.
func TestAcknowledgesOnlyWhatIsDurable(t *testing.T) {
	d := driver(t)
	in := sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	m := newMemory(t)
	m.manual = true
	follow(t, d, in, m)
	w := newWriter(t, in, seeded(t))
	must(t, w.prepare())
	waitFor(t, "start", func() bool { _, ok := m.Tail(); return ok })
	w.steps(t, 200)
	end := caughtUp(t, in, m)

	acked := func() uint64 {
		i, err := info(ctx, dbClient(t, in, 0), "replication")
		must(t, err)
		off, _ := followerOffset(i)

		return off
	}
	waitFor(t, "an acknowledgement of what is durable", func() bool { return acked() == m.Durable() })
	time.Sleep(1200 * time.Millisecond) // the next one

	if a := acked(); a != m.Durable() {
		t.Fatalf("acknowledged %d, durable is %d", a, m.Durable())
	}
	s, err := d.Probe(ctx, in)
	must(t, err)

	if s.Held < 1000 || s.HeldLimit != 1<<20 || len(s.Warnings) == 0 || !s.Writable || s.Role != targets.Primary {
		t.Fatalf("probe %+v", s)
	}

	m.mu.Lock()
	m.durable = end.Offset
	m.mu.Unlock()
	m.signal()
	waitFor(t, "the acknowledgement", func() bool { return acked() >= end.Offset })
}

// The follower dies at random moments, what was not durable is lost with it,
// the server is killed and started again: every base with its stream is whole
// and in the end the restored server is the master.
func TestKilledAtRandomPoints(t *testing.T) {
	d := driver(t)
	rng := seeded(t)
	var proc servers.Server
	in := sandboxtest.Redis(t, sandboxtest.RedisOptions{Proc: &proc, Settings: map[string]string{"appendonly": "yes", "appendfsync": "always"}})
	m := newMemory(t)
	m.manual = true

	rounds := 25
	if testing.Short() {
		rounds = 8
	}

	resyncs := 0
	for round := range rounds {
		stop := follow(t, d, in, m)
		waitFor(t, "start", func() bool { _, ok := m.Tail(); return ok })
		w := newWriter(t, in, rng)
		must(t, w.prepare())
		w.steps(t, rng.IntN(150))

		if round%5 == 4 {
			must(t, proc.Kill())
			_, port, _ := net.SplitHostPort(in.Address)
			n, _ := strconv.Atoi(port)
			spec := servers.RedisSpec{Dir: proc.Dir, Port: n, Password: in.Password,
				Settings: map[string]string{"save": "", "repl-diskless-sync-delay": "0", "enable-debug-command": "local", "appendonly": "yes", "appendfsync": "always"}}
			// The port may be held for a moment, and who starts a server tries again.
			must(t, retry.Do(ctx, retry.Policy{First: 100 * time.Millisecond, For: time.Minute, If: retry.Any}, func() (err error) {
				proc, err = sandboxtest.Tools(t).StartRedis(ctx, spec)
				return err
			}))
			p := proc
			t.Cleanup(func() { _ = p.Kill() })

			resyncs++

			waitFor(t, "the new timeline", func() bool { tail, _ := m.Tail(); return tail.Timeline == position(t, in).Timeline })
		}
		_ = stop()

		m.mu.Lock()
		tail, durable := m.cur.tail, m.durable
		m.mu.Unlock()

		if tail > durable {
			durable += uint64(rng.Int64N(int64(tail-durable) + 1))
		}

		m.crash(durable)
		m.mu.Lock()
		m.durable = durable
		m.mu.Unlock()
	}
	stop := follow(t, d, in, m)
	w := newWriter(t, in, rng)
	w.steps(t, 50)
	end := caughtUp(t, in, m)
	_ = stop()

	if len(m.bases) != resyncs+1 {
		t.Fatalf("%d bases for %d server crashes: a partial resync was missed", len(m.bases), resyncs)
	}

	sameKeys(t, "after all", keySpace(t, in), keySpace(t, sandboxAt(t, d, m, end)))
}

// A replica is promoted: the stream goes on under its id, exactly from where
// it took over, whether the archive had reached that place or not.
func TestFailoverContinuesTheStream(t *testing.T) {
	for _, behind := range []bool{false, true} {
		t.Run(fmt.Sprintf("archive behind %v", behind), func(t *testing.T) {
			d := driver(t)
			rng := seeded(t)
			var proc servers.Server
			in := sandboxtest.Redis(t, sandboxtest.RedisOptions{Proc: &proc})
			rep := sandboxtest.RedisReplica(t, in, sandboxtest.RedisOptions{})
			m := newMemory(t)
			stop := follow(t, d, in, m)
			w := newWriter(t, in, rng)
			must(t, w.prepare())
			waitFor(t, "start", func() bool { _, ok := m.Tail(); return ok })
			w.steps(t, 200)
			caughtUp(t, in, m)
			old := mark(t, d, in, "cut-1")
			_ = stop()

			if behind {
				w.steps(t, 100)
				old = mark(t, d, in, "cut-2")
			} else {
				must(t, dbClient(t, in, 0).Set(ctx, "last", 1, 0).Err())
			}
			at := position(t, in)
			waitFor(t, "the replica", func() bool { return position(t, rep).Offset >= at.Offset })
			must(t, proc.Kill())
			must(t, dbClient(t, rep, 0).Do(ctx, "REPLICAOF", "NO", "ONE").Err())
			w = newWriter(t, rep, rng)
			w.steps(t, 200)
			stop = follow(t, d, rep, m)
			end := caughtUp(t, rep, m)
			_ = stop()

			if len(m.bases) != 1 {
				t.Fatalf("%d bases: the resync was not partial", len(m.bases))
			}

			l := m.timelines[end.Timeline]
			if end.Timeline == old.Timeline || l.parent.Timeline != old.Timeline || l.parent.Offset != l.start || l.start < old.Offset {
				t.Fatalf("timeline %+v, cut %+v", l, old)
			}
			// A cut that named the old master can be restored, too.
			sandboxAt(t, d, m, old)
			sameKeys(t, "after the failover", keySpace(t, rep), keySpace(t, sandboxAt(t, d, m, end)))
		})
	}
}

// When the backlog is gone a new base is taken and the hole is declared; both
// sides of it can be restored.
func TestLostBacklogMakesANewBase(t *testing.T) {
	d := driver(t)
	rng := seeded(t)
	in := sandboxtest.Redis(t, sandboxtest.RedisOptions{Settings: map[string]string{"repl-backlog-size": "16kb"}})
	m := newMemory(t)
	stop := follow(t, d, in, m)
	w := newWriter(t, in, rng)
	must(t, w.prepare())
	waitFor(t, "start", func() bool { _, ok := m.Tail(); return ok })
	w.steps(t, 100)
	before := caughtUp(t, in, m)
	want := keySpace(t, in)
	_ = stop()

	c := dbClient(t, in, 0)
	for i := range 200 {
		must(t, c.Set(ctx, fmt.Sprint("big:", i), strings.Repeat("y", 20000), 0).Err())
	}
	stop = follow(t, d, in, m)
	waitFor(t, "the new base", func() bool { m.mu.Lock(); defer m.mu.Unlock(); return len(m.bases) == 2 })
	w.steps(t, 100)
	after := caughtUp(t, in, m)
	_ = stop()

	if before.Timeline != after.Timeline {
		t.Fatal("the id changed")
	}

	sameKeys(t, "before the hole", want, keySpace(t, sandboxAt(t, d, m, before)))
	sameKeys(t, "after the hole", keySpace(t, in), keySpace(t, sandboxAt(t, d, m, after)))
	req := targets.RestoreRequest{Base: m.bases[0], Point: after}

	dir := sandboxtest.Dir(t) + "/x"
	if _, err := d.Restore(ctx, targets.Instance{Shard: in.Shard, DataDir: dir, Role: targets.Sandbox}, req, m); !fail.Is(err, fail.NotFound) {
		t.Fatalf("restored across a hole: %v", err)
	}
}

// A server behind the archive, of the same id, is not believed.
func TestServerBehindTheArchive(t *testing.T) {
	d := driver(t)
	in := sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	m := newMemory(t)
	stop := follow(t, d, in, m)
	waitFor(t, "start", func() bool { _, ok := m.Tail(); return ok })
	at := caughtUp(t, in, m)
	_ = stop()

	must(t, m.Write(ctx, at.Offset, bytes.Repeat([]byte("x"), 1000)))

	f := &follower{d: d, in: in, archive: m}
	if err := f.session(ctx); !fail.Is(err, fail.Unavailable) || !strings.Contains(err.Error(), "behind") {
		t.Fatalf("error %v", err)
	}
}

func TestImageReaders(t *testing.T) {
	mark := []byte("0123456789012345678901234567890123456789")
	for _, n := range []int{0, 1, 39, 40, 41, 1000, 200000} {
		want := bytes.Repeat([]byte{7, 48}, n)[:n]
		for _, step := range []int{1, 7, 40, 4096} {
			if n > 10000 && step < 40 {
				continue
			}
			r := &markedReader{r: &slowReader{append(bytes.Clone(want), mark...), step}, mark: mark}

			var got bytes.Buffer
			if _, err := got.ReadFrom(r); err != nil || !bytes.Equal(got.Bytes(), want) {
				t.Fatalf("%d bytes in steps of %d: %d bytes, %v", n, step, got.Len(), err)
			}
		}
	}

	for _, r := range []interface{ Read([]byte) (int, error) }{
		&markedReader{r: strings.NewReader("no mark"), mark: mark},
		&exactReader{r: strings.NewReader("short"), left: 10},
	} {
		var got bytes.Buffer
		if _, err := got.ReadFrom(r); err == nil {
			t.Fatalf("%T took a short image", r)
		}
	}
}

type slowReader struct {
	b    []byte
	step int
}

func (s *slowReader) Read(p []byte) (int, error) {
	if len(s.b) == 0 {
		return 0, errors.New("read past the mark")
	}
	n := copy(p, s.b[:min(s.step, len(s.b))])
	s.b = s.b[n:]

	return n, nil
}

// An archive that has given up ends the following, though an idle server sends
// nothing.
func TestFollowReturnsWhyTheArchiveGaveUp(t *testing.T) {
	d := driver(t)
	in := sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	m := newMemory(t)
	done := make(chan error, 1)

	fctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()

	go func() { done <- d.Follow(fctx, in, m) }()

	waitFor(t, "start", func() bool { _, ok := m.Tail(); return ok })
	m.mu.Lock()
	m.gaveUp = fail.Newf(fail.Unavailable, "archive", "vault", "no vault answers")
	m.mu.Unlock()

	if err := <-done; !fail.Is(err, fail.Unavailable) || !strings.Contains(err.Error(), "no vault answers") {
		t.Fatalf("Follow ended with %v", err)
	}
}

// Storing an image can take longer than the server waits for a replica, and the
// server writes more meanwhile than its backlog holds.
func TestSlowBaseKeepsTheLink(t *testing.T) {
	for _, diskless := range []string{"yes", "no"} {
		t.Run("diskless "+diskless, func(t *testing.T) {
			t.Parallel()
			d := driver(t)
			in := sandboxtest.Redis(t, sandboxtest.RedisOptions{Settings: map[string]string{"repl-diskless-sync": diskless, "repl-timeout": "10", "repl-ping-replica-period": "1", "repl-backlog-size": "16kb"}})
			w := newWriter(t, in, seeded(t))
			must(t, w.prepare())
			w.steps(t, 200)
			m := newMemory(t)
			m.onBase = func() {
				c := dbClient(t, in, 0)
				for i := range 65 {
					if err := c.Set(ctx, fmt.Sprint("meanwhile:", i), strings.Repeat("z", 20000), 0).Err(); err != nil {
						t.Error(err)
					}

					time.Sleep(200 * time.Millisecond) // longer than repl-timeout in all
				}
			}
			stop := follow(t, d, in, m)
			waitFor(t, "the base", func() bool { _, ok := m.Tail(); return ok })
			w.steps(t, 200)

			end := caughtUp(t, in, m)
			if err := stop(); !errors.Is(err, context.Canceled) {
				t.Fatalf("Follow ended with %v", err)
			}

			if len(m.bases) != 1 || len(m.timelines) != 1 {
				t.Fatalf("%d bases: the server dropped the link while the first was stored", len(m.bases))
			}

			sameKeys(t, "after a slow base", keySpace(t, in), keySpace(t, sandboxAt(t, d, m, end)))
		})
	}
}
