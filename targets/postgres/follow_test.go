package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/targets"
	"drctl/targets/postgres"
)

const segment = 16 << 20

// fill writes about n bytes of log.
func fill(t testing.TB, c *pgx.Conn, n int) {
	t.Helper()
	run(t, c, "CREATE TABLE IF NOT EXISTS filler (b text)")
	run(t, c, "ALTER TABLE filler ALTER b SET STORAGE EXTERNAL")

	for n > 0 {
		k := min(n, 4<<20)
		run(t, c, "INSERT INTO filler SELECT repeat(md5(random()::text), 250) FROM generate_series(1, $1::int)", k/8000+1)
		n -= k
	}

	run(t, c, "TRUNCATE filler")
}

// sameAsServer compares the archive with the server's own WAL files and
// returns how many bytes were compared.
func sameAsServer(t *testing.T, a *archive, id string, in targets.Instance) int {
	t.Helper()

	_, tli, err := targets.ParsePostgresTimeline(id)
	if err != nil {
		t.Fatal(err)
	}

	a.mu.Lock()
	l := a.timelines[id]
	a.mu.Unlock()

	n := 0
	for _, p := range l.parts {
		end := p.from + uint64(len(p.data))
		for at := p.from; at < end; {
			stop := min(at-at%segment+segment, end)
			name := filepath.Join(in.DataDir, "pg_wal", segmentFile(tli, at))

			file, err := os.ReadFile(name)
			if errors.Is(err, os.ErrNotExist) {
				at = stop
				continue
			}

			if err != nil {
				t.Fatal(err)
			}

			got, err := a.bytes(id, at, stop)
			if err != nil {
				t.Fatal(err)
			}

			if !bytes.Equal(got, file[at%segment:at%segment+(stop-at)]) {
				t.Fatalf("%s differs from the archive between %s and %s", name, targets.FormatLSN(at), targets.FormatLSN(stop))
			}
			n += len(got)
			at = stop
		}
	}

	return n
}

func segmentFile(tli uint32, at uint64) string {
	const hex = "0123456789ABCDEF"
	put := func(n uint64) string {
		b := make([]byte, 8)
		for i := 7; i >= 0; i-- {
			b[i], n = hex[n&15], n>>4
		}

		return string(b)
	}

	return put(uint64(tli)) + put(at>>32) + put(at%(1<<32)/segment)
}

func TestFollowIsByteIdenticalAndResumes(t *testing.T) {
	t.Parallel()
	d, _ := driver(t)
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Settings: map[string]string{"wal_keep_size": "1GB"}})
	c := open(t, in)
	id := timelineOf(t, d, in)
	a := newArchive()
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, seed))

	errStop := errors.New("killed")
	for round := range 12 {
		// The archiver dies at a random byte, in the middle of the stream.
		stopAt := a.total + 1 + rng.IntN(5<<20)
		a.onWrite = func(total int) error {
			if total >= stopAt {
				return errStop
			}

			return nil
		}

		done := make(chan error, 1)
		go func() { done <- d.Follow(ctxFor(t, 2*time.Minute), in, a) }()

		for n := 0; ; n++ {
			if n < 40 { // more than enough: then it is only waited for
				fill(t, c, 1<<20)
			}

			select {
			case err := <-done:
				if !errors.Is(err, errStop) { // its time is over when nothing is streamed
					t.Fatalf("seed %d round %d: %v", seed, round, err)
				}
			case <-time.After(20 * time.Millisecond):
				continue
			}

			break
		}
	}
	a.onWrite = nil
	stop := follow(t, d, in, a)
	fill(t, c, 2*segment) // over several segments, however short the rounds were
	end := lsn(t, c, "SELECT pg_current_wal_flush_lsn()::text")
	a.reach(t, id, end)

	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Fatalf("a clean stop returned %v", err)
	}

	l := a.timelines[id]
	if l.start%segment != 0 || len(l.holes) != 0 || len(a.order) != 1 {
		t.Fatalf("start %s, holes %v, timelines %v", targets.FormatLSN(l.start), l.holes, a.order)
	}

	if n := sameAsServer(t, a, id, in); n != int(l.end()-l.start) || n < 2*segment {
		t.Fatalf("compared %d of %d bytes", n, l.end()-l.start)
	}
}

func TestFollowAcknowledgesOnlyWhatIsDurable(t *testing.T) {
	t.Parallel()
	d, _ := driver(t)
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	c := open(t, in)
	id := timelineOf(t, d, in)
	a := newArchive()
	a.auto = false
	follow(t, d, in, a)
	fill(t, c, 2<<20)
	end := lsn(t, c, "SELECT pg_current_wal_flush_lsn()::text")
	a.reach(t, id, end)
	const told = "SELECT coalesce((SELECT write_lsn FROM pg_stat_replication WHERE application_name = 'drctl'), '0/0')::text"

	time.Sleep(1500 * time.Millisecond)

	if at := lsn(t, c, told); at > a.timelines[id].start {
		t.Fatalf("the server was told %s, nothing was durable beyond %s", targets.FormatLSN(at), targets.FormatLSN(a.timelines[id].start))
	}
	half := a.timelines[id].start + (end-a.timelines[id].start)/2
	a.mu.Lock()
	a.durable[id] = half
	a.mu.Unlock()
	a.signal()

	for try := 0; lsn(t, c, told) != half; try++ {
		if try == 4000 {
			t.Fatalf("the server was told %s, want %s", targets.FormatLSN(lsn(t, c, told)), targets.FormatLSN(half))
		}

		time.Sleep(25 * time.Millisecond)
	}

	if at := lsn(t, c, "SELECT restart_lsn::text FROM pg_replication_slots WHERE slot_name = 'drctl'"); at > half {
		t.Fatalf("the slot lets go of %s", targets.FormatLSN(at))
	}
}

// The slot moves while the stream goes on, never beyond what is durable, and
// the stream stays byte-identical over every interruption.
func TestFollowMovesTheSlot(t *testing.T) {
	t.Parallel()
	d, _ := driver(t)
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Settings: map[string]string{"wal_keep_size": "1GB"}})
	c := open(t, in)
	id := timelineOf(t, d, in)
	a := newArchive()
	follow(t, d, in, a)

	const slot = "SELECT coalesce((SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = 'drctl'), '0/0')::text"
	for range 3 {
		fill(t, c, 2*segment)
		end := lsn(t, c, "SELECT pg_current_wal_flush_lsn()::text")
		a.reach(t, id, end)

		for try := 0; lsn(t, c, slot) < end-end%segment; try++ {
			if try == 6000 {
				t.Fatalf("the slot is at %s, durable is %s", targets.FormatLSN(lsn(t, c, slot)), targets.FormatLSN(end))
			}

			time.Sleep(20 * time.Millisecond)
		}

		if at := lsn(t, c, slot); at > a.Durable() {
			t.Fatalf("the slot lets go of %s, durable is %s", targets.FormatLSN(at), targets.FormatLSN(a.Durable()))
		}
	}
	// What is durable no more (a vault was emptied) moves nothing back.
	was, low := lsn(t, c, slot), a.timelines[id].start
	a.mu.Lock()
	a.auto, a.durable[id] = false, low
	a.mu.Unlock()
	a.signal()

	for try := 0; lsn(t, c, "SELECT coalesce((SELECT write_lsn FROM pg_stat_replication WHERE application_name = 'drctl'), '0/0')::text") != low; try++ {
		if try == 6000 {
			t.Fatal("the archiver does not report what is durable")
		}

		time.Sleep(20 * time.Millisecond)
	}

	if at := lsn(t, c, slot); at < was {
		t.Fatalf("the slot went back from %s to %s", targets.FormatLSN(was), targets.FormatLSN(at))
	}

	if n := sameAsServer(t, a, id, in); n < 6*segment || len(a.timelines[id].holes) != 0 {
		t.Fatalf("compared %d bytes, holes %v", n, a.timelines[id].holes)
	}
}

// Commits never wait for the archive nor count as replicated because of it,
// whatever synchronous_standby_names says, and whenever it begins to say so.
func TestFollowIsNoSynchronousStandby(t *testing.T) {
	t.Parallel()
	d, _ := driver(t)
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	c := open(t, in)
	run(t, c, "CREATE TABLE entry (n int)")
	id := timelineOf(t, d, in)
	a := newArchive()
	follow(t, d, in, a) // before any standby: the first of equals is preferred
	a.reach(t, id, lsn(t, c, "SELECT pg_current_wal_flush_lsn()::text"))

	var proc servers.Server
	sandboxtest.Standby(t, in, sandboxtest.PostgresOptions{Proc: &proc})
	const state = "SELECT coalesce((SELECT sync_state FROM pg_stat_replication WHERE application_name = 'drctl' AND state = 'streaming'), '')"

	names := []string{"*", "FIRST 1 (*)", "ANY 1 (*)", "drctl", "FIRST 2 (drctl, *)"}
	for _, n := range names[:3] {
		setNames(t, c, n)
		a.mu.Lock()
		a.auto = false // a commit that waits for the vaults waits for ever
		a.mu.Unlock()

		if _, err := c.Exec(ctxFor(t, 2*time.Minute), "INSERT INTO entry VALUES (1)"); err != nil {
			t.Fatalf("%s: a commit waits for the vaults: %v", n, err)
		}

		if s := value[string](t, c, state); s != "async" {
			t.Fatalf("%s: the archiver is %q", n, s)
		}
	}

	// Without the standby no commit is acknowledged, however durable it is in the vaults.
	if err := proc.Kill(); err != nil {
		t.Fatal(err)
	}

	for _, n := range names {
		setNames(t, c, n)
		a.mu.Lock()
		a.auto = true
		a.mu.Unlock()
		client := open(t, in)
		done := make(chan error, 1)

		ctx, cancel := context.WithCancel(context.Background())
		go func() { _, err := client.Exec(ctx, "INSERT INTO entry VALUES (2)"); done <- err }()

		for try := 0; value[int](t, c, "SELECT count(*)::int FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == 0; try++ {
			if try == 6000 {
				t.Fatalf("%s: the commit does not wait", n)
			}

			time.Sleep(10 * time.Millisecond)
		}

		end := lsn(t, c, "SELECT pg_current_wal_flush_lsn()::text")
		for try := 0; lsn(t, c, "SELECT coalesce((SELECT write_lsn FROM pg_stat_replication WHERE application_name = 'drctl'), '0/0')::text") < end; try++ {
			if try == 6000 {
				t.Fatalf("%s: the archiver has not reported %s", n, targets.FormatLSN(end))
			}

			time.Sleep(20 * time.Millisecond)
		}

		select {
		case err := <-done:
			t.Fatalf("%s: the archiver acknowledged a commit in place of a standby: %v", n, err)
		default:
		}

		if s := value[string](t, c, state); s != "async" {
			t.Fatalf("%s: the archiver is %q", n, s)
		}

		cancel()
		<-done
	}
}

// A server that is stopped while a vault is away does not wait for ever: it
// keeps its log for the slot.
func TestFollowLetsAServerStop(t *testing.T) {
	t.Parallel()
	d, _ := driver(t)
	postgres.StandStill(d, 500*time.Millisecond)
	var proc servers.Server
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Proc: &proc})
	c := open(t, in)
	a := newArchive()
	follow(t, d, in, a)
	a.reach(t, timelineOf(t, d, in), lsn(t, c, "SELECT pg_current_wal_flush_lsn()::text"))
	a.mu.Lock()
	a.auto = false // nothing becomes durable any more
	a.mu.Unlock()
	fill(t, c, 1<<20)
	_ = c.Close(context.Background())

	if err := proc.Signal(syscall.SIGINT); err != nil { // a fast shutdown
		t.Fatal(err)
	}

	for try := 0; proc.Alive(); try++ {
		if try == 6000 {
			t.Fatal("the server waits for the archive")
		}

		time.Sleep(20 * time.Millisecond)
	}
}

// setNames sets synchronous_standby_names while the servers run.
func setNames(t *testing.T, c *pgx.Conn, names string) {
	t.Helper()
	run(t, c, "SET synchronous_commit = local")
	run(t, c, "ALTER SYSTEM SET synchronous_standby_names = '"+names+"'")
	run(t, c, "SELECT pg_reload_conf()")

	for try := 0; value[string](t, c, "SHOW synchronous_standby_names") != names; try++ {
		if try == 6000 {
			t.Fatalf("%s is not set", names)
		}

		time.Sleep(10 * time.Millisecond)
	}

	run(t, c, "RESET synchronous_commit")
}

func TestFollowSlotInUse(t *testing.T) {
	t.Parallel()
	d, _ := driver(t)
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	a := newArchive()
	follow(t, d, in, a)

	c := open(t, in)
	for try := 0; !value[bool](t, c, "SELECT coalesce((SELECT active FROM pg_replication_slots), false)"); try++ {
		if try == 6000 {
			t.Fatal("the slot is not active")
		}

		time.Sleep(20 * time.Millisecond)
	}

	wantCode(t, d.Follow(ctxFor(t, 2*time.Minute), in, newArchive()), fail.Conflict, "another archiver")
}
