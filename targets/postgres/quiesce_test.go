package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
	"drctl/targets/postgres"
)

func request(id string) targets.JoinRequest {
	return targets.JoinRequest{CutID: id, Group: "shop", Lease: 5 * time.Minute, Budget: time.Minute, Gate: true}
}

func join(t *testing.T, d *postgres.Driver, in targets.Instance, req targets.JoinRequest) targets.Member {
	t.Helper()

	m, err := tryJoin(t, d, in, req)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(m.Close)

	return m
}

// tryJoin joins, again while the round trips of a slow machine are too long for a short budget.
func tryJoin(t *testing.T, d *postgres.Driver, in targets.Instance, req targets.JoinRequest) (targets.Member, error) {
	t.Helper()
	ctx := ctxFor(t, 2*time.Minute)

	for {
		m, err := d.Join(ctx, in, req)
		if err == nil || !strings.Contains(err.Error(), "a round trip takes") || ctx.Err() != nil {
			return m, err
		}
	}
}

func quiesced(t *testing.T) (*postgres.Driver, targets.Instance, *pgx.Conn) {
	t.Helper()
	d, _ := driver(t)
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Settings: map[string]string{"deadlock_timeout": "10min"}}) // no wait is longer than half of it
	c := open(t, in)
	run(t, c, "CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL)")
	run(t, c, `CREATE TABLE "Odd ""Name" (id int)`)
	run(t, c, "CREATE TABLE parted (id int) PARTITION BY RANGE (id)")
	run(t, c, "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100)")
	run(t, c, "INSERT INTO account SELECT g, 100 FROM generate_series(1, 10) g")

	return d, in, c
}

// writes reports whether an update gets through within the limit.
func writes(t *testing.T, in targets.Instance, limit time.Duration) bool {
	t.Helper()
	c := open(t, in)

	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	_, err := c.Exec(ctx, "UPDATE account SET balance = balance + 1 WHERE id = 1")

	return err == nil
}

func gateFree(t *testing.T, in targets.Instance) bool {
	t.Helper()
	c := open(t, in)

	return value[bool](t, c, "SELECT pg_try_advisory_xact_lock_shared(hashtextextended('drctl/gate/shop', 0))")
}

func TestBarrierStopsWritersAndNamesThePosition(t *testing.T) {
	t.Parallel()
	d, in, c := quiesced(t)
	ctx := context.Background()

	m := join(t, d, in, request("20260101T000000.000Z-0001"))
	if err := m.LockGate(ctx, time.Minute); err != nil {
		t.Fatal(err)
	}

	if gateFree(t, in) {
		t.Fatal("the gate is not held")
	}

	if !writes(t, in, time.Minute) {
		t.Fatal("the gate alone stops a writer of one shard")
	}

	if err := m.Lock(ctx, time.Minute); err != nil {
		t.Fatal(err)
	}

	if n := value[int](t, c, "SELECT count(*)::int FROM pg_locks WHERE mode = 'ShareLock' AND locktype = 'relation' AND granted AND relation::regclass::text IN ('account', '\"Odd \"\"Name\"', 'parted', 'parted_1')"); n != 4 {
		t.Fatalf("%d tables are locked, want 4", n)
	}

	if writes(t, in, 100*time.Millisecond) {
		t.Fatal("a writer got through the barrier")
	}

	at, err := m.Mark(ctx)
	if err != nil {
		t.Fatal(err)
	}

	if at.RestorePoint != "drctl:20260101T000000.000Z-0001" || at.Offset == 0 || !strings.HasSuffix(at.Timeline, "-00000001") {
		t.Fatalf("position %+v", at)
	}

	if err := m.Release(ctx); err != nil {
		t.Fatal(err)
	}

	if err := m.Release(ctx); err != nil {
		t.Fatalf("the second release: %v", err)
	}

	if !writes(t, in, time.Minute) || !gateFree(t, in) {
		t.Fatal("still locked after the release")
	}

	if err := m.Settle(ctx); err != nil {
		t.Fatal(err)
	}

	if flushed := lsn(t, c, "SELECT pg_current_wal_flush_lsn()::text"); flushed < at.Offset {
		t.Fatalf("the mark at %s is not flushed, the server is at %s", targets.FormatLSN(at.Offset), targets.FormatLSN(flushed))
	}
}

func TestBarrierLockHeldBySomebodyElse(t *testing.T) {
	t.Parallel()
	d, in, _ := quiesced(t)
	ctx := context.Background()
	m := join(t, d, in, request("20260101T000000.000Z-0002"))
	holder := open(t, in)
	run(t, holder, "BEGIN")
	run(t, holder, "UPDATE parted SET id = id")

	if err := m.LockGate(ctx, time.Minute); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	wantCode(t, m.Lock(ctx, 50*time.Millisecond), fail.Stalled, "orders/0@east")

	if took := time.Since(start); took > time.Minute { // the lease is five
		t.Fatalf("the lock gave up after %s, the wait was 50ms", took)
	}

	if !writes(t, in, time.Minute) {
		t.Fatal("a failed lock left a table locked")
	}

	if gateFree(t, in) {
		t.Fatal("a failed lock let go of the gate")
	}

	run(t, holder, "COMMIT")

	if err := m.Lock(ctx, time.Minute); err != nil {
		t.Fatalf("the retry: %v", err)
	}

	if _, err := m.Mark(ctx); err != nil {
		t.Fatal(err)
	}

	if err := m.Release(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestBarrierGateHeldShared(t *testing.T) {
	t.Parallel()
	d, in, _ := quiesced(t)
	ctx := context.Background()
	app := open(t, in)
	run(t, app, "SELECT pg_advisory_lock_shared(hashtextextended($1, 0))", postgres.GateKey("shop"))
	m := join(t, d, in, request("20260101T000000.000Z-0003"))
	wantCode(t, m.LockGate(ctx, 50*time.Millisecond), fail.Stalled)
	run(t, app, "SELECT pg_advisory_unlock_all()")

	if err := m.LockGate(ctx, time.Minute); err != nil {
		t.Fatal(err)
	}

	if err := m.Release(ctx); err != nil {
		t.Fatal(err)
	}
}

// A gate that went with its transaction is taken again, not taken for held.
func TestALostGateIsNoGate(t *testing.T) {
	t.Parallel()
	d, in, _ := quiesced(t)
	ctx := ctxFor(t, 2*time.Minute)

	m := join(t, d, in, request("20260101T000000.000Z-0004"))
	for _, err := range []error{m.LockGate(ctx, time.Minute), m.Lock(ctx, time.Minute)} {
		if err != nil {
			t.Fatal(err)
		}
	}

	if err := postgres.Within(ctx, m, "ROLLBACK TO SAVEPOINT drctl; RELEASE SAVEPOINT drctl"); err != nil {
		t.Fatal(err)
	}

	if err := m.Unlock(ctx); err == nil { // it ends the transaction
		t.Fatal("let go of what was not held")
	}

	if !gateFree(t, in) {
		t.Fatal("the gate is still held")
	}

	if err := m.LockGate(ctx, time.Minute); err != nil {
		t.Fatal(err)
	}

	if gateFree(t, in) {
		t.Error("the gate counts as held, and is free")
	}
}

// The question of who holds the gate is cut off: the release says that the
// member is of no use, so that the next attempt joins again.
func TestBarrierQuestionCutOff(t *testing.T) {
	t.Parallel()
	d, in, c := quiesced(t)
	m := join(t, d, in, request("20260101T000000.000Z-0001"))
	holder := open(t, in)
	run(t, holder, "SELECT pg_advisory_lock_shared(hashtextextended('drctl/gate/shop', 0))")
	run(t, c, "BEGIN")
	run(t, c, "LOCK TABLE pg_catalog.pg_database IN ACCESS EXCLUSIVE MODE") // the question waits for it

	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()

	wantCode(t, m.LockGate(ctx, 50*time.Millisecond), fail.Stalled, "orders/0")
	wantCode(t, m.Release(t.Context()), fail.Stalled, "orders/0")
}

func TestJoinRefusesEarly(t *testing.T) {
	t.Parallel()
	d, in, c := quiesced(t)
	req := request("20260101T000000.000Z-0004")
	try := func() error {
		m, err := tryJoin(t, d, in, req)
		if m != nil {
			m.Close()
		}

		return err
	}
	long := open(t, in)
	run(t, long, "SET application_name = 'batch'")
	run(t, long, "BEGIN")
	run(t, long, "UPDATE account /* card 4111-1111 */ SET balance = 0 WHERE id = 3")

	if err := try(); err != nil {
		t.Fatalf("a young transaction: %v", err)
	}

	req.Budget = time.Second
	time.Sleep(1200 * time.Millisecond)
	err := try()
	wantCode(t, err, fail.Stalled, "batch", "account", "of user "+in.User, "idle in transaction since", "last command UPDATE", "query id")

	if strings.Contains(err.Error(), "4111") || strings.Contains(err.Error(), "SET balance") {
		t.Errorf("the error holds somebody's statement: %v", err)
	}

	run(t, long, "ROLLBACK")

	run(t, long, "BEGIN")
	run(t, long, "UPDATE account SET balance = 0 WHERE id = 3")
	run(t, long, "PREPARE TRANSACTION 'orphan-17'")
	time.Sleep(1200 * time.Millisecond)
	wantCode(t, try(), fail.Stalled, "orphan-17")
	run(t, long, "ROLLBACK PREPARED 'orphan-17'")

	run(t, long, "BEGIN")
	run(t, long, "LOCK TABLE account IN SHARE UPDATE EXCLUSIVE MODE") // what VACUUM takes
	wantCode(t, try(), fail.Stalled, "ShareUpdateExclusiveLock")
	run(t, long, "ROLLBACK")

	bad := in
	bad.Tables = []string{"public.account", "public.nowhere"}
	_, err = tryJoin(t, d, bad, req)
	wantCode(t, err, fail.NotFound, "public.nowhere")

	run(t, c, "CREATE ROLE weak LOGIN PASSWORD '"+sandboxtest.Password+"'")
	bad = in
	bad.User = "weak"
	_, err = tryJoin(t, d, bad, req)
	// Everything that is missing is named at once, before anything is locked.
	wantCode(t, err, fail.Denied, `GRANT EXECUTE ON FUNCTION pg_create_restore_point(text) TO "weak"`, `GRANT pg_monitor TO "weak"`,
		`GRANT UPDATE ON public."Odd ""Name", public.account, public.parted TO "weak"`)
	run(t, c, "GRANT EXECUTE ON FUNCTION pg_create_restore_point(text) TO weak")
	run(t, c, "GRANT pg_monitor TO weak")
	run(t, c, `GRANT UPDATE ON public."Odd ""Name", public.account, public.parted TO weak`)
	join(t, d, bad, req)
}

// A partition that is made after the grants is locked with its parent, whose
// privileges it does not inherit.
func TestNewPartitionNeedsNoGrant(t *testing.T) {
	t.Parallel()
	d, in, c := quiesced(t)
	run(t, c, "CREATE ROLE weak LOGIN PASSWORD '"+sandboxtest.Password+"'")
	run(t, c, "GRANT pg_monitor TO weak")
	run(t, c, "GRANT EXECUTE ON FUNCTION pg_create_restore_point(text) TO weak")
	run(t, c, "GRANT UPDATE ON parted TO weak")
	run(t, c, "CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (100) TO (200)")
	in.User, in.Tables = "weak", []string{"public.parted"}
	m := join(t, d, in, request("20260101T000000.000Z-0011"))
	run(t, c, "CREATE TABLE parted_3 PARTITION OF parted FOR VALUES FROM (200) TO (300)")

	if err := m.Lock(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}

	if n := value[int](t, c, "SELECT count(*)::int FROM pg_locks WHERE mode = 'ShareLock' AND granted AND relation::regclass::text LIKE 'parted%'"); n != 4 {
		t.Errorf("%d of the table and its three partitions are locked", n)
	}
}

// A transaction that writes the barrier's tables in another order is in a
// deadlock with it. Who must give up is the barrier, whatever the server's
// deadlock_timeout, and the next time it locks in the order of the transaction.
func TestBarrierLearnsTheOrderOfWrites(t *testing.T) {
	t.Parallel()
	d, _ := driver(t)
	// The barrier waits for half of it, and everybody else for all: a client that stands still for less is no victim.
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Settings: map[string]string{"deadlock_timeout": "6s"}})

	c := open(t, in)
	for _, name := range []string{"a", "b", "c"} {
		run(t, c, "CREATE TABLE "+name+" (id int)")
	}
	app := open(t, in)
	// transaction writes c and then, when it may go on, a; it is in the middle when begun returns.
	transaction := func(goOn func()) (end chan error) {
		run(t, app, "BEGIN; INSERT INTO c VALUES (1)")

		end = make(chan error, 1)
		go func() {
			goOn()

			_, err := app.Exec(context.Background(), "INSERT INTO a VALUES (1)")
			if err == nil {
				_, err = app.Exec(context.Background(), "COMMIT")
			}

			end <- err
		}()

		return end
	}

	m := join(t, d, in, request("20260101T000000.000Z-0012"))
	if err := m.LockGate(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}

	tried := make(chan struct{})
	watch := open(t, in)
	end := transaction(func() { // the barrier waits by then, or has given up
		for !value[bool](t, watch, "SELECT EXISTS (SELECT FROM pg_locks WHERE mode = 'ShareLock' AND relation = 'c'::regclass AND NOT granted)") {
			select {
			case <-tried:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	err := m.Lock(t.Context(), time.Minute)

	close(tried)
	wantCode(t, err, fail.Stalled, "public.c", "orders/0@east")

	if err := <-end; err != nil {
		t.Fatalf("the application's transaction: %v", err)
	}
	// Now c is locked first, with nothing held that the transaction needs. Its
	// time is longer than the barrier's first wait, so it takes more than one try.
	again := make(chan struct{})
	end = transaction(func() { <-again })

	wait := 50 * time.Millisecond
	for tries := 1; m.Lock(t.Context(), wait) != nil; tries++ {
		if n := value[int](t, c, "SELECT count(*)::int FROM pg_locks WHERE mode = 'ShareLock' AND relation IN ('a'::regclass, 'b'::regclass, 'c'::regclass)"); n != 0 {
			t.Fatalf("%d tables are locked after a failed try", n)
		}

		switch tries {
		case 1:
			close(again)

			wait = time.Minute
		case 20:
			t.Fatal("the tables are never locked")
		}
	}

	if err := <-end; err != nil {
		t.Fatalf("the application's transaction: %v", err)
	}

	if err := m.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}

	if gateFree(t, in) {
		t.Fatal("the unlock let go of the gate")
	}

	run(t, app, "INSERT INTO a VALUES (2)")

	// Another barrier of the same driver knows it: it waits for c and holds nothing else.
	if err := m.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	m = join(t, d, in, request("20260101T000000.000Z-0013"))
	run(t, app, "BEGIN; INSERT INTO c VALUES (1)")

	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)

		for {
			if err := m.Lock(context.Background(), 90*time.Millisecond); err == nil {
				t.Error("c was locked while it was written")
			}

			select {
			case <-stop:
				return
			default:
			}
		}
	}()

	for range 1000 {
		var waiting, holding int

		err := c.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE NOT granted AND relation = 'c'::regclass), count(*) FILTER (WHERE granted)
FROM pg_locks WHERE mode = 'ShareLock' AND relation IN ('a'::regclass, 'b'::regclass, 'c'::regclass)`).Scan(&waiting, &holding)
		if err != nil {
			t.Fatal(err)
		}

		if waiting > 0 {
			if holding > 0 {
				t.Errorf("%d tables are locked while the barrier waits for c", holding)
			}

			break
		}

		time.Sleep(5 * time.Millisecond)
	}

	close(stop)
	<-ended
	run(t, app, "ROLLBACK")
}

// A deadlock that is there is found at once where the role may set deadlock_timeout, long
// before the wait is over, and shows what to lock first.
func TestBarrierFindsADeadlockAtOnce(t *testing.T) {
	t.Parallel()

	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Settings: map[string]string{"deadlock_timeout": "10min"}})
	inADeadlock(t, in, in, "deadlock detected")
}

// It is found from the side where the role may not, by its own tries and in every version, also where the
// server cannot tell which table of several was waited for.
func TestBarrierFindsADeadlockFromTheSide(t *testing.T) {
	t.Parallel()

	majors := []int{15, 13, 14, 18}
	for _, major := range majors[:sandboxtest.Size(2, 4)] {
		for _, block := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d, blocks %t", major, block), func(t *testing.T) {
				t.Parallel()
				tools := toolsOf(t, major)
				in := sandboxtest.Start(t, tools, sandboxtest.NewCluster(t, tools, 1<<20), sandboxtest.PostgresOptions{Shard: "orders/0", Settings: map[string]string{"deadlock_timeout": "10min"}})
				c := open(t, in)
				run(t, c, "CREATE ROLE weak LOGIN PASSWORD '"+sandboxtest.Password+"'")
				run(t, c, "GRANT pg_monitor TO weak")
				run(t, c, "GRANT EXECUTE ON FUNCTION pg_create_restore_point(text) TO weak")
				run(t, c, "ALTER DEFAULT PRIVILEGES GRANT UPDATE ON TABLES TO weak")

				if !block {
					run(t, c, "REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC")
				}
				weak := in
				weak.User = "weak"

				if _, err := open(t, weak).Exec(t.Context(), "SET deadlock_timeout = 5"); err == nil {
					t.Fatal("the role may set deadlock_timeout")
				}

				inADeadlock(t, in, weak, "in a deadlock")
			})
		}
	}
}

// inADeadlock brings a barrier of one role into a deadlock with transactions of another, whose
// detection by the server takes far longer than the test.
func inADeadlock(t *testing.T, in, as targets.Instance, words string) {
	t.Helper()
	d, _ := driver(t)

	c := open(t, in)
	for _, name := range []string{"a", "b", "c"} {
		run(t, c, "CREATE TABLE "+name+" (id int)"+map[string]string{"c": " PARTITION BY RANGE (id)"}[name])
	}

	run(t, c, "CREATE TABLE c_1 PARTITION OF c FOR VALUES FROM (0) TO (10)") // the barrier may wait for either
	app, between := open(t, in), open(t, in)
	run(t, app, "BEGIN; INSERT INTO c VALUES (1)")
	run(t, between, "BEGIN; INSERT INTO b VALUES (1)")

	waits := func(table, mode string) {
		t.Helper()

		for try := 0; value[int](t, c, "SELECT count(*)::int FROM pg_locks WHERE relation = $1::text::regclass AND mode = $2 AND NOT granted", table, mode) == 0; try++ {
			if try == 6000 {
				t.Fatalf("nobody waits for %s", table)
			}

			time.Sleep(5 * time.Millisecond)
		}
	}

	m := join(t, d, as, targets.JoinRequest{CutID: "20260101T000000.000Z-0016", Group: "shop", Lease: 5 * time.Minute, Budget: time.Minute})

	locked := make(chan error, 1)
	go func() { locked <- m.Lock(context.Background(), 4*time.Minute) }()

	waits("b", "ShareLock") // it has a

	wrote := make(chan error, 1)
	go func() {
		_, err := app.Exec(context.Background(), "INSERT INTO a VALUES (1)")
		wrote <- err
	}()

	waits("a", "RowExclusiveLock")
	run(t, between, "COMMIT") // now it wants c

	wantCode(t, <-locked, fail.Stalled, "public.c", words)

	if err := <-wrote; err != nil {
		t.Errorf("the application's transaction: %v", err)
	}

	run(t, app, "COMMIT")

	if err := m.Lock(t.Context(), time.Minute); err != nil {
		t.Error(err)
	}
}

// So many tables that the server's lock table would be full are refused before
// anything is locked.
func TestTooManyTablesForTheLockTable(t *testing.T) {
	t.Parallel()
	d, _ := driver(t)
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Settings: map[string]string{"max_locks_per_transaction": "10", "max_connections": "20", "max_prepared_transactions": "0"}})

	c := open(t, in)
	for i := range 11 {
		run(t, c, fmt.Sprintf("DO 'BEGIN FOR i IN 1..10 LOOP EXECUTE format(''CREATE TABLE t_%d_%%s (id int)'', i); END LOOP; END'", i))
	}
	_, err := d.Join(ctxFor(t, 2*time.Minute), in, request("20260101T000000.000Z-0014"))
	wantCode(t, err, fail.Exhausted, "110 tables", "max_locks_per_transaction")
	in.Tables = []string{"public.t_0_1"}
	join(t, d, in, request("20260101T000000.000Z-0015"))
}
