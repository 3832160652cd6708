package shop

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"drctl/internal/lab/shop/journal"
	"drctl/internal/lab/shop/judge"
	"drctl/internal/lab/shop/stores"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/targets"
)

// platform starts two shards, a Redis master and a bucket, and sets them up.
func platform(t *testing.T, procs ...*servers.Server) Platform {
	t.Helper()

	p := Platform{Group: "shop", Gate: 1}
	for i := range 2 {
		o := sandboxtest.PostgresOptions{Shard: fmt.Sprintf("orders/%d", i)}
		if i < len(procs) {
			o.Proc = procs[i]
		}
		p.Postgres = append(p.Postgres, sandboxtest.Postgres(t, o))
	}
	p.Redis = []targets.Instance{sandboxtest.Redis(t, sandboxtest.RedisOptions{})}

	p.Media = sandboxtest.S3(t, true)
	for range 2 { // twice: it is idempotent
		if err := Setup(t.Context(), p, SetupOptions{Accounts: 200, SKUs: 200, PayloadBytes: 100 << 10}); err != nil {
			t.Fatal(err)
		}
	}

	return p
}

func options(p Platform, journal string) TrafficOptions {
	return TrafficOptions{Platform: p, Rate: 150, Clients: 4, Gate: true, Journal: journal, Duration: 2 * time.Second}
}

// quiet runs the traffic and fails the test when any operation failed.
func quiet(t *testing.T, o TrafficOptions) Summary {
	t.Helper()

	sum, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}

	if sum.Failed+sum.Unknown > 0 || sum.Acked == 0 || sum.Resolved != (Resolved{}) {
		t.Errorf("the traffic was disturbed: %+v", sum)
	}

	return sum
}

func now() targets.Cut {
	at := time.Now().UTC()
	return targets.Cut{ID: "test", Group: "shop", QuiescedAt: at, ReleasedAt: at}
}

func checked(t *testing.T, p Platform, cut targets.Cut, journals ...string) Report {
	t.Helper()

	rep, err := Check(t.Context(), CheckOptions{Cut: cut, Journals: journals, Platform: p})
	if err != nil {
		t.Fatal(err)
	}

	return rep
}

func exec(t *testing.T, in targets.Instance, sql string) {
	t.Helper()

	c, err := pgx.Connect(context.Background(), sandboxtest.DSN(in, in.Database))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())

	if _, err := c.PgConn().Exec(context.Background(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func scan[T any](t *testing.T, in targets.Instance, sql string) (v T) {
	t.Helper()

	c, err := pgx.Connect(context.Background(), sandboxtest.DSN(in, in.Database))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())

	if err := c.QueryRow(context.Background(), sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}

	return v
}

// lastOf returns the last acknowledged record of a kind.
func lastOf(t *testing.T, path string, kinds ...string) (last Record) {
	t.Helper()

	if last = findLast(t, path, kinds...); last.ID == "" {
		t.Fatalf("no %v in the journal", kinds)
	}

	return last
}

func findLast(t *testing.T, path string, kinds ...string) (last Record) {
	t.Helper()

	for r, err := range journal.Read(path) {
		if err != nil {
			t.Fatal(err)
		}

		if r.Status == journal.Acked && slices.Contains(kinds, r.Kind) {
			last = r
		}
	}

	return last
}

func TestCheckFindsEveryViolation(t *testing.T) {
	p := platform(t)
	path := filepath.Join(t.TempDir(), "journal")
	var seconds int
	o := options(p, path)
	o.Progress = func(s Second) { seconds++ }

	kinds := map[string]bool{} // on a slow machine they take longer to come
	for ; len(kinds) < 5 && o.Duration < 2*time.Minute; o.Duration *= 2 {
		for kind := range quiet(t, o).Kinds {
			kinds[kind] = true
		}
	}

	if seconds == 0 || len(kinds) != 5 {
		t.Errorf("%d seconds reported, kinds %v", seconds, kinds)
	}
	cut := now()

	rep := checked(t, p, cut, path)
	if !rep.OK || len(rep.NotChecked) > 0 || rep.LostAfterCut != 0 || rep.Checked[RuleAcked] == 0 || rep.Checked[RuleImages] == 0 || rep.Checked[RuleCarts] == 0 {
		t.Fatalf("quiet platform: %+v", rep)
	}
	move := lastOf(t, path, journal.KindMoney, journal.KindStock)
	order := lastOf(t, path, journal.KindOrder)
	cart := lastOf(t, path, journal.KindCart)
	image := lastOf(t, path, journal.KindImage)

	rdb, err := stores.OpenRedis(p.Redis[0])
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	media := sandboxtest.Client(p.Media)
	put := func(body []byte) {
		if _, err := media.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &p.Media.Database, Key: &image.Key, Body: bytes.NewReader(body)}); err != nil {
			t.Fatal(err)
		}
	}

	got, err := media.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &p.Media.Database, Key: &image.Key})
	if err != nil {
		t.Fatal(err)
	}

	var body bytes.Buffer
	if _, err := body.ReadFrom(got.Body); err != nil {
		t.Fatal(err)
	}
	setSeq := func(key string, v int64) func() {
		return func() {
			if err := rdb.Set(t.Context(), key, v, 0).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	last, _ := rdb.Get(t.Context(), stores.CartKey(cart.Cart)+":seq").Int64()
	debit := p.Postgres[move.Shards[0]]
	legRow := fmt.Sprintf("id = '%s' AND leg = 0", move.ID)
	sql := func(in targets.Instance, format string, args ...any) func() {
		return func() { exec(t, in, fmt.Sprintf(format, args...)) }
	}
	orphan := uuid.NewString()
	flipped := bytes.Clone(body.Bytes())
	flipped[len(flipped)/2] ^= 1
	credit := p.Postgres[move.Shards[1]]
	surplus := func(amount int) func() {
		insert := func(in targets.Instance, leg, amount int) {
			if amount*(2*leg-1) > 0 {
				exec(t, in, fmt.Sprintf("INSERT INTO transfers VALUES ('%s', %d, %d, 'money')", orphan, leg, amount))
			} else {
				exec(t, in, fmt.Sprintf("DELETE FROM transfers WHERE id = '%s'", orphan))
			}

			exec(t, in, fmt.Sprintf("UPDATE accounts SET balance = balance + %d WHERE id = 3", amount))
		}

		return func() { insert(debit, 0, -amount); insert(credit, 1, amount) }
	}
	// amounts makes a transfer larger, with the rows that it changed.
	amounts := func(by int) func() {
		table := map[string]string{journal.KindMoney: "accounts SET balance = balance + %d WHERE id = %d", journal.KindStock: "stock SET qty = qty + %d WHERE sku = %d"}[move.Kind]

		return func() {
			for n, in := range []targets.Instance{debit, credit} {
				d := (2*n - 1) * by
				exec(t, in, fmt.Sprintf("UPDATE transfers SET amount = amount + %d WHERE id = '%s'; UPDATE "+table, d, move.ID, d, move.Rows[n]))
			}
		}
	}
	for _, c := range []struct {
		name        string
		rules       []string
		plant, undo func()
	}{
		{"half a transfer", []string{RuleAcked, RuleRows, RuleWhole, RuleGrade}, sql(debit, "DELETE FROM transfers WHERE %s", legRow),
			sql(debit, "INSERT INTO transfers VALUES ('%s', 0, %d, '%s')", move.ID, -move.Amount, move.Kind)},
		{"unjournaled half", []string{RuleJournaled, RuleWhole}, sql(debit, "INSERT INTO transfers VALUES ('%s', 1, 3, 'money')", orphan),
			sql(debit, "DELETE FROM transfers WHERE id = '%s'", orphan)},
		{"halves that differ", []string{RuleJournaled, RuleRows, RuleWhole}, sql(debit, "UPDATE transfers SET amount = amount - 1 WHERE %s", legRow),
			sql(debit, "UPDATE transfers SET amount = amount + 1 WHERE %s", legRow)},
		{"lost order", []string{RuleAcked, RuleRows, RuleSums, RuleGrade}, sql(p.Postgres[order.Shards[0]], "DELETE FROM orders WHERE id = '%s'", order.ID),
			sql(p.Postgres[order.Shards[0]], "INSERT INTO orders VALUES ('%s', 1, %d, now())", order.ID, order.Rows[0])},
		{"balance", []string{RuleRows, RuleSums}, sql(debit, "UPDATE accounts SET balance = balance + 1 WHERE id = 7"),
			sql(debit, "UPDATE accounts SET balance = balance - 1 WHERE id = 7")},
		{"stock", []string{RuleRows, RuleSums}, sql(debit, "UPDATE stock SET qty = qty - 1 WHERE sku = 7"),
			sql(debit, "UPDATE stock SET qty = qty + 1 WHERE sku = 7")},
		{"an order's line", []string{RuleSums}, sql(p.Postgres[order.Shards[0]], "DELETE FROM order_lines WHERE id = '%s'", order.ID),
			sql(p.Postgres[order.Shards[0]], "INSERT INTO order_lines VALUES ('%s', %d)", order.ID, order.Rows[0])},
		{"prepared", []string{RulePrepared}, sql(debit, "BEGIN; UPDATE accounts SET balance = 0 WHERE id = 7; PREPARE TRANSACTION 'other'"),
			sql(debit, "ROLLBACK PREPARED 'other'")},
		{"old cart", []string{RuleCarts, RuleGrade}, setSeq(stores.CartKey(cart.Cart)+":seq", last-1), setSeq(stores.CartKey(cart.Cart)+":seq", last)},
		{"cart ahead", []string{RuleCarts}, setSeq(stores.CartKey(cart.Cart)+":seq", last+1), setSeq(stores.CartKey(cart.Cart)+":seq", last)},
		{"cart contents", []string{RuleCarts}, func() { rdb.HSet(t.Context(), stores.CartKey(cart.Cart), "seq", last+1) },
			func() { rdb.HSet(t.Context(), stores.CartKey(cart.Cart), "seq", last) }},
		{"altered object", []string{RuleImages}, func() { put(flipped) }, func() { put(body.Bytes()) }},
		{"missing object", []string{RuleImages}, func() {
			if _, err := media.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &p.Media.Database, Key: &image.Key}); err != nil {
				t.Fatal(err)
			}
		}, func() { put(body.Bytes()) }},
		// What follows keeps every sum, and both halves of every transfer.
		{"surplus transfer", []string{RuleJournaled, RuleRows}, surplus(9), surplus(-9)},
		{"surplus order", []string{RuleJournaled}, sql(debit, "INSERT INTO orders VALUES ('%s', 1, 7, now()); UPDATE stock SET qty = qty - 1 WHERE sku = 7; UPDATE stock SET qty = qty + 1 WHERE sku = -7", orphan),
			sql(debit, "DELETE FROM orders WHERE id = '%s'; UPDATE stock SET qty = qty + 1 WHERE sku = 7; UPDATE stock SET qty = qty - 1 WHERE sku = -7", orphan)},
		{"surplus image", []string{RuleJournaled}, func() {
			key := image.Key + "-copy"
			if _, err := media.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &p.Media.Database, Key: &key, Body: bytes.NewReader(body.Bytes())}); err != nil {
				t.Fatal(err)
			}
			exec(t, debit, fmt.Sprintf("INSERT INTO product_images VALUES ('%s', '%s', %d)", key, image.SHA, image.Size))
		}, sql(debit, "DELETE FROM product_images WHERE key LIKE '%%-copy'")},
		{"surplus cart", []string{RuleCarts}, func() { rdb.HSet(t.Context(), "cart:999", "seq", 1); setSeq("cart:999:seq", 1)() },
			func() { rdb.Del(t.Context(), "cart:999", "cart:999:seq") }},
		{"a key that is no cart", []string{RuleCarts}, setSeq("session", 1), func() { rdb.Del(t.Context(), "session") }},
		{"other amounts on both shards", []string{RuleJournaled}, amounts(5), amounts(-5)},
		{"money from shard to shard", []string{RuleRows}, func() {
			sql(p.Postgres[0], "UPDATE accounts SET balance = balance + 5 WHERE id = 7")()
			sql(p.Postgres[1], "UPDATE accounts SET balance = balance - 5 WHERE id = 7")()
		}, func() {
			sql(p.Postgres[0], "UPDATE accounts SET balance = balance - 5 WHERE id = 7")()
			sql(p.Postgres[1], "UPDATE accounts SET balance = balance + 5 WHERE id = 7")()
		}},
		{"an order of another product", []string{RuleJournaled, RuleRows, RuleSums}, sql(p.Postgres[order.Shards[0]], "UPDATE orders SET sku = sku %% 200 + 1 WHERE id = '%s'", order.ID),
			sql(p.Postgres[order.Shards[0]], "UPDATE orders SET sku = %d WHERE id = '%s'", order.Rows[0], order.ID)},
		{"an account for another", []string{RuleRows}, sql(debit, "UPDATE accounts SET id = 1000 WHERE id = 7"), sql(debit, "UPDATE accounts SET id = 7 WHERE id = 1000")},
		{"lost image row", []string{RuleAcked, RuleGrade}, sql(p.Postgres[image.Shards[0]], "DELETE FROM product_images WHERE key = '%s'", image.Key),
			sql(p.Postgres[image.Shards[0]], "INSERT INTO product_images VALUES ('%s', '%s', %d)", image.Key, image.SHA, image.Size)},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.plant()

			rep := checked(t, p, cut, path)
			if rep.OK || len(rep.ByRule) != len(c.rules) || len(rep.Violations) != rep.Total {
				t.Errorf("want violations of %v, got %+v", c.rules, rep)
			}

			for _, rule := range c.rules {
				if rep.ByRule[rule] == 0 {
					t.Errorf("%s was not found: %+v", rule, rep.Violations)
				}
			}

			c.undo()
		})
	}

	if rep := checked(t, p, cut, path); !rep.OK {
		t.Fatalf("after undoing: %+v", rep)
	}

	checkShowsNothing(t, p, cut, path)
	checkLeftPrepared(t, p, cut, path, move.Shards[0])
	// Traffic that went on after the cut: everything of it is surplus.
	o = options(p, path)
	o.Duration, o.Seed = time.Second, 7
	after := quiet(t, o)

	rep = checked(t, p, cut, path)
	if rep.OK || rep.ByRule[RuleLater] == 0 || rep.ByRule[RuleCarts] == 0 || rep.LostAfterCut != after.Acked || rep.LossWindow <= 0 {
		t.Errorf("operations after the cut: %+v; the traffic %+v", rep, after)
	}

	if rep := checked(t, p, now(), path); !rep.OK {
		t.Errorf("a later cut: %+v", rep)
	}

	barrier, err := Check(t.Context(), CheckOptions{Cut: now(), Journals: []string{path}, Platform: p, BarrierOnly: true})
	if err != nil || !slices.Equal(barrier.NotChecked, []string{RuleCarts, RuleImages}) {
		t.Errorf("barrier only: %+v, %v", barrier, err)
	}
}

// checkShowsNothing asks in ways in which nothing, or not everything, is compared.
func checkShowsNothing(t *testing.T, p Platform, cut targets.Cut, path string) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	if rep := checked(t, p, cut, empty); rep.OK || rep.ByRule[RuleAcked] == 0 {
		t.Errorf("an empty journal: %+v", rep)
	}
	early := cut
	early.QuiescedAt = cut.QuiescedAt.Add(-time.Hour)

	early.ReleasedAt = early.QuiescedAt
	if rep := checked(t, p, early, path); rep.OK || rep.ByRule[RuleAcked] == 0 {
		t.Errorf("a journal of later: %+v", rep)
	}
	early.ReleasedAt = cut.ReleasedAt.Add(time.Hour)

	early.QuiescedAt = cut.QuiescedAt
	if rep := checked(t, p, early, path); rep.OK || rep.ByRule[RuleBarrier] != 1 || rep.Total != 1 {
		t.Errorf("a barrier of an hour: %+v", rep)
	}
	part := p

	part.Redis, part.Media = nil, targets.Instance{}
	if rep := checked(t, part, cut, path); rep.OK || rep.Total != 0 || !slices.Equal(rep.NotChecked, []string{RuleCarts, RuleImages}) {
		t.Errorf("PostgreSQL alone: %+v", rep)
	}
}

func TestStylesAndGateTogether(t *testing.T) {
	p := platform(t)
	dir := t.TempDir()
	var wg sync.WaitGroup
	var journals []string

	lanes := make([]TrafficOptions, 4)
	for lane := range lanes {
		o := options(p, filepath.Join(dir, fmt.Sprint(lane)))
		journals = append(journals, o.Journal)
		o.Style, o.Gate, o.Lane, o.Lanes = []string{TwoPhase, Plain}[lane%2], lane < 2, lane, 4
		o.Rate, o.Clients, o.Duration = 60, 3, 3*time.Second
		lanes[lane] = o
		wg.Go(func() { quiet(t, o) })
	}

	wg.Wait()
	// A slow machine may not have come to a cart in the lane that is left out below.
	for seed := int64(7); seed < 30 && findLast(t, journals[0], journal.KindCart).ID == ""; seed++ {
		lanes[0].Seed = seed
		quiet(t, lanes[0])
	}

	if rep := checked(t, p, now(), journals...); !rep.OK {
		t.Errorf("%+v", rep)
	}

	if rep := checked(t, p, now(), journals[1:]...); rep.OK || rep.ByRule[RuleJournaled] == 0 || rep.ByRule[RuleCarts] == 0 {
		t.Errorf("without one journal: %+v", rep)
	}
}

// A barrier's exclusive gate is a stall, never a failure.
func TestGateHoldsTransfersUp(t *testing.T) {
	p := platform(t)
	o := options(p, filepath.Join(t.TempDir(), "journal"))

	c, err := pgx.Connect(t.Context(), sandboxtest.DSN(p.Postgres[p.Gate], "shop"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	const count = "SELECT count(*) FROM transfers"

	if _, err := c.Exec(t.Context(), "SELECT pg_advisory_lock(hashtextextended('drctl/gate/shop', 0))"); err != nil {
		t.Fatal(err)
	}

	done := make(chan Summary)
	go func() { done <- quiet(t, o) }()

	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if scan[bool](t, p.Postgres[p.Gate], "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)") {
			break
		}

		if time.Now().After(end) {
			t.Fatal("nobody waits for the gate")
		}
	}
	before := scan[int](t, p.Postgres[0], count)

	time.Sleep(300 * time.Millisecond)

	if after := scan[int](t, p.Postgres[0], count); after != before {
		t.Errorf("%d transfers went past the gate", after-before)
	}

	if _, err := c.Exec(t.Context(), "SELECT pg_advisory_unlock_all()"); err != nil {
		t.Fatal(err)
	}

	if sum := <-done; sum.Max < 250*time.Millisecond {
		t.Errorf("the wait for the gate is not in the latency: %+v", sum)
	}
}

// checkLeftPrepared leaves a transaction prepared: only a cut that is not proven, and says that it leaves
// this one, may do so.
func checkLeftPrepared(t *testing.T, p Platform, cut targets.Cut, path string, shard int) {
	t.Helper()

	exec(t, p.Postgres[shard], "BEGIN; UPDATE accounts SET balance = 0 WHERE id = 7; PREPARE TRANSACTION 'left'")
	defer exec(t, p.Postgres[shard], "ROLLBACK PREPARED 'left'")

	for _, c := range []struct {
		grade  judge.Grade
		action judge.Action
		faults int
	}{{judge.Ordered, judge.Leave, 0}, {judge.Ordered, "", 1}, {judge.Proven, judge.Leave, 1}} {
		claim := &judge.Claim{Grade: c.grade, Actions: map[judge.Doubtful]judge.Action{{Shard: shard, GID: "left"}: c.action}}

		rep, err := Check(t.Context(), CheckOptions{Cut: cut, Journals: []string{path}, Platform: p, Claim: claim})
		if err != nil || rep.ByRule[RulePrepared] != c.faults {
			t.Errorf("%s, %q: %d faults, want %d, %v", c.grade, c.action, rep.ByRule[RulePrepared], c.faults, err)
		}
	}
}
