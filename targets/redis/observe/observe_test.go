package observe_test

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"drctl/internal/fail"
	"drctl/internal/observation"
	"drctl/internal/proof/clock"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
	"drctl/targets/redis"
)

// master starts a server that numbers its writes, and nothing but them.
func master(t *testing.T) targets.Instance {
	t.Helper()
	in := sandboxtest.Redis(t, sandboxtest.RedisOptions{Settings: map[string]string{"repl-ping-replica-period": "3600"}})
	sandboxtest.RedisReplica(t, in, sandboxtest.RedisOptions{})
	c := client(t, in)

	for !strings.Contains(c.Info(t.Context(), "replication").Val(), "state=online") {
		time.Sleep(5 * time.Millisecond)
	}

	return in
}

func client(t *testing.T, in targets.Instance) *goredis.Client {
	t.Helper()
	c := goredis.NewClient(&goredis.Options{Addr: in.Address, Username: in.User, Password: in.Password.Reveal(), MaxRetries: -1,
		ReadTimeout: time.Minute})
	t.Cleanup(func() { _ = c.Close() })

	return c
}

func session(t *testing.T, in targets.Instance) observation.Session {
	t.Helper()

	s, err := redis.New(redis.Options{}).Session(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(s.Close)

	return s
}

func observe(t *testing.T, s observation.Session, o *observation.Observer) observation.Observation {
	t.Helper()

	seen, err := s.Observe(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}

	return seen
}

// offset is what a server says of its stream.
func offset(t *testing.T, c *goredis.Client) uint64 {
	t.Helper()

	text, err := c.Info(context.Background(), "replication").Result()
	if err != nil {
		t.Error(err)
	}
	_, rest, _ := strings.Cut(text, "master_repl_offset:")
	digits, _, _ := strings.Cut(rest, "\r")

	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		t.Error(err)
	}

	return n
}

// write is one that a client made: its command was in the stream before end.
type write struct {
	sent, acked clock.Instant
	end         uint64
}

// Nothing that was acknowledged before an observation is behind its place, nothing that was
// sent after it is before it, and while the stream stood still nothing was written.
func TestObservationsAreTrue(t *testing.T) {
	in := master(t)
	s, c, o := session(t, in), client(t, in), observation.NewObserver()

	var (
		writes []write
		done   = make(chan struct{})
		wg     sync.WaitGroup
	)

	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}

			w := write{sent: o.Now()}

			if err := c.Set(context.Background(), "k", i, 0).Err(); err != nil {
				t.Error(err)
				return
			}
			w.acked = o.Now()
			w.end = offset(t, c)
			writes = append(writes, w)

			if i%3 == 0 {
				time.Sleep(time.Duration(i%7) * time.Millisecond)
			}
		}
	})

	var seen []observation.Observation

	still, moved := 0, 0
	for end := time.Now().Add(2 * time.Minute); len(seen) < 400 || (still == 0 || moved == 0) && time.Now().Before(end); {
		x := observe(t, s, o)
		seen = append(seen, x)

		if x.Paused {
			still++
		} else {
			moved++
		}

		if len(seen) > 400 { // the writer is slow to begin
			time.Sleep(10 * time.Millisecond)
		}
	}

	close(done)
	wg.Wait()

	for i, x := range seen {
		if x.T1 < x.T0 || x.Flushed != x.Inserted || x.Stamp != 0 || i > 0 && x.T0 < seen[i-1].T0 {
			t.Errorf("%+v", x)
		}

		for _, w := range writes {
			switch {
			case w.acked < x.T0 && w.end > x.Inserted:
				t.Fatalf("a write that ended at %d was acknowledged before %+v", w.end, x)
			case w.sent > x.T1 && w.end <= x.Inserted:
				t.Fatalf("a write that ended at %d was sent after %+v", w.end, x)
			case x.Paused && (w.sent > x.T0 && w.end <= x.Inserted || w.acked < x.T1 && w.end > x.Inserted):
				t.Fatalf("a write at %+v while the stream is said to have stood still: %+v", w, x)
			}
		}
	}

	if still == 0 || moved == 0 {
		t.Errorf("%d times the stream stood still, %d times it moved: the test shows too little", still, moved)
	}
}

// A stream in which nothing happens stands still without a pause, from one
// observation to the next.
func TestIdleStreamStandsStill(t *testing.T) {
	in := master(t)
	s, o := session(t, in), observation.NewObserver()

	first := observe(t, s, o)

	second := observe(t, s, o)
	if !first.Paused || !second.Paused || second.T0 != first.T1 || first.Inserted != second.Inserted || first.Timeline != second.Timeline {
		t.Errorf("%+v, then %+v", first, second)
	}

	if again := session(t, in); again.Server() != s.Server() || s.Server() == "" {
		t.Errorf("one run of a server has two names: %q and %q", s.Server(), again.Server())
	}
}

func TestPauseKeepsWritersWaiting(t *testing.T) {
	in := master(t)
	s, c, o := session(t, in), client(t, in), observation.NewObserver()
	p := s.(observation.Pauser)
	observe(t, s, o)

	if err := c.Set(t.Context(), "k", 0, 0).Err(); err != nil { // so that nobody else can have paused it
		t.Fatal(err)
	}

	if err := p.Pause(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}

	written := make(chan clock.Instant, 1)

	go func() {
		if err := c.Set(context.Background(), "k", 1, 0).Err(); err != nil {
			t.Error(err)
		}

		written <- o.Now()
	}()

	observe(t, s, o)
	time.Sleep(20 * time.Millisecond)

	if seen := observe(t, s, o); !seen.Paused || seen.T1-seen.T0 < clock.Instant(20*time.Millisecond) {
		t.Errorf("under the pause: %+v", seen)
	}
	before := o.Now()

	for range 2 { // a repeat is no error
		if err := p.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
	}

	if at := <-written; at < before {
		t.Error("a write was acknowledged under the pause")
	}
}

// A person has paused the server, and it does not tell. What is paused here ends by its lease, and the
// person's pause goes on.
func TestThePauseOfAPersonGoesOn(t *testing.T) {
	in := master(t)
	s, admin, o := session(t, in), client(t, in), observation.NewObserver()
	p := s.(observation.Pauser)
	observe(t, s, o)

	if err := admin.Do(t.Context(), "client", "pause", "600000", "write").Err(); err != nil {
		t.Fatal(err)
	}

	if told := admin.Info(t.Context(), "clients").Val(); strings.Contains(told, "paused_reason") {
		t.Log("this server tells")
	}

	// A server that tells refuses.
	if err := p.Pause(t.Context(), time.Millisecond); err != nil && !fail.Is(err, fail.Conflict) {
		t.Fatal(err)
	}

	if err := p.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}

	impatient := goredis.NewClient(&goredis.Options{Addr: in.Address, Username: in.User, Password: in.Password.Reveal(), MaxRetries: -1, ReadTimeout: 300 * time.Millisecond})
	defer impatient.Close()

	if err := impatient.Set(t.Context(), "k", 1, 0).Err(); err == nil {
		t.Error("a write was acknowledged: the pause of the person was ended")
	}
}

// Nobody resumes: whoever paused is gone. The lease ends the pause.
func TestPauseEndsByItself(t *testing.T) {
	in := master(t)
	s, c := session(t, in), client(t, in)

	if err := s.(observation.Pauser).Pause(t.Context(), 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}

	s.Close()

	if err := c.Set(t.Context(), "k", 1, 0).Err(); err != nil {
		t.Fatal(err)
	}
}

func TestPauseIsRefused(t *testing.T) {
	in := master(t)
	admin := client(t, in)
	user := in
	user.User, user.Password = "drctl", targets.NewSecret("secret")

	if err := admin.Do(t.Context(), "ACL", "SETUSER", "drctl", "on", ">secret", "+info", "+client|unpause", "+hello").Err(); err != nil {
		t.Fatal(err)
	}

	p := session(t, user).(observation.Pauser)
	if err := p.Pause(t.Context(), time.Second); !fail.Is(err, fail.Denied) || !strings.Contains(err.Error(), "ACL SETUSER drctl +client|pause") {
		t.Errorf("without the right: %v", err)
	}

	old := sandboxtest.Redis(t, sandboxtest.RedisOptions{Settings: map[string]string{"rename-command": `CLIENT ""`}})
	sandboxtest.RedisReplica(t, old, sandboxtest.RedisOptions{})

	for !strings.Contains(client(t, old).Info(t.Context(), "replication").Val(), "state=online") {
		time.Sleep(5 * time.Millisecond)
	}

	if err := session(t, old).(observation.Pauser).Pause(t.Context(), time.Second); !fail.Is(err, fail.Unsupported) {
		t.Errorf("without the command: %v", err)
	}
}

func TestServersThatCannotBeObserved(t *testing.T) {
	alone := sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	d := redis.New(redis.Options{})

	if _, err := d.Session(t.Context(), alone); !fail.Is(err, fail.Unavailable) || !strings.Contains(err.Error(), "number its writes") {
		t.Errorf("a server that does not number its writes: %v", err)
	}

	replica := sandboxtest.RedisReplica(t, alone, sandboxtest.RedisOptions{})
	if _, err := d.Session(t.Context(), replica); !fail.Is(err, fail.Conflict) {
		t.Errorf("a replica: %v", err)
	}

	for !strings.Contains(client(t, alone).Info(t.Context(), "replication").Val(), "state=online") {
		time.Sleep(5 * time.Millisecond)
	}

	// A master that becomes a replica says so at once.
	s, o := session(t, alone), observation.NewObserver()
	observe(t, s, o)

	host, port, _ := strings.Cut(replica.Address, ":")
	if err := client(t, alone).Do(t.Context(), "REPLICAOF", host, port).Err(); err != nil {
		t.Fatal(err)
	}

	if _, err := s.Observe(t.Context(), o); !fail.Is(err, fail.Conflict) {
		t.Errorf("a master that became a replica: %v", err)
	}

	over, stop := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer stop()

	if _, err := s.Observe(over, o); !fail.Is(err, fail.Stalled) {
		t.Errorf("an answer that takes too long: %v", err)
	}
}
