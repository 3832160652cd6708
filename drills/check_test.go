package drills

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
)

// platform is two real PostgreSQL shards and a real bucket, as a restore
// leaves them: 30 products with images, and money that sums up to 1000.
type platform struct {
	shards []targets.Instance
	bucket targets.Instance
}

func (p platform) all() []targets.Instance { return append(p.shards, p.bucket) }

func content(i int) []byte { return bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 700*(i+1)) }

func hash(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }

func execSQL(t *testing.T, in targets.Instance, sql string, args ...any) {
	t.Helper()

	c, err := pgx.Connect(context.Background(), sandboxtest.DSN(in, "shop"))
	if err != nil {
		t.Fatal(err)
	}

	defer func() { _ = c.Close(context.Background()) }()

	if _, err := c.Exec(context.Background(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, in targets.Instance, key string, b []byte) {
	t.Helper()

	_, err := sandboxtest.Client(in).PutObject(context.Background(), &s3.PutObjectInput{Bucket: &in.Database, Key: &key, Body: bytes.NewReader(b)})
	if err != nil {
		t.Fatal(err)
	}
}

func newPlatform(t *testing.T) platform {
	t.Helper()
	p := platform{bucket: sandboxtest.S3(t, false)}

	p.bucket.Role = targets.Sandbox
	for s := range 2 {
		in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Shard: fmt.Sprintf("orders/%d", s)})
		in.Role = targets.Sandbox
		p.shards = append(p.shards, in)
		execSQL(t, in, `CREATE TABLE account (id int PRIMARY KEY, cents numeric(20,2)); INSERT INTO account VALUES (1, 250.25), (2, 249.75)`)
		execSQL(t, in, `CREATE TABLE product (id int, image text, image_hash text)`)
	}

	for i := range 30 {
		key := fmt.Sprintf("products/%02d & ü.jpg", i)
		put(t, p.bucket, key, content(i))
		execSQL(t, p.shards[i%2], `INSERT INTO product VALUES ($1, $2, $3)`, i, key, hash(content(i)))
	}

	return p
}

func checksOf() Definition {
	return Definition{Name: "d", Group: "shop", Cut: Latest, Checks: Checks{
		Sums:    []Sum{{Name: "money", Target: "orders", Query: "SELECT sum(cents) FROM account", Want: "1000"}},
		Objects: []ObjectCheck{{Target: "media", From: "orders", Query: "SELECT image, image_hash FROM product"}}}}
}

func cross(t *testing.T, p platform, d Definition) (fs []targets.Finding, failed string) {
	t.Helper()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()

	fs, err := CrossCheck(ctx, d, p.all(), nil)
	if err != nil {
		t.Fatal(err)
	}

	for _, f := range fs {
		if f.Severity == targets.Failed {
			failed += fmt.Sprintf("%s | %s | %s | %s | %s\n", f.Check, f.Subject, f.Expected, f.Got, f.Detail)
		}
	}

	return fs, failed
}

// TestCrossCheck runs the checks on whole stores and then plants one fault
// after the other: each must be found and named, and nothing else with it.
func TestCrossCheck(t *testing.T) {
	p, d := newPlatform(t), checksOf()

	fs, failed := cross(t, p, d)
	if failed != "" || len(fs) != 2 || fs[0].Got != "1000" || fs[1].Got != "30 whole objects" || fs[1].Query != QueryHash(d.Checks.Objects[0].Query) {
		t.Fatalf("whole stores: %+v", fs)
	}
	key := func(i int) string { return fmt.Sprintf("products/%02d & ü.jpg", i) }
	remove := func(i int) {
		k := key(i)
		if _, err := sandboxtest.Client(p.bucket).DeleteObject(context.Background(), &s3.DeleteObjectInput{Bucket: &p.bucket.Database, Key: &k}); err != nil {
			t.Fatal(err)
		}
	}
	flipped := content(8)

	flipped[100] ^= 1
	for _, c := range []struct {
		name        string
		plant, heal func()
		say         []string
		lines       int
	}{
		{"missing object", func() { remove(7) }, func() { put(t, p.bucket, key(7), content(7)) }, []string{key(7), "no such object", "1 missing"}, 2},
		{"one bit flipped", func() { put(t, p.bucket, key(8), flipped) }, func() { put(t, p.bucket, key(8), content(8)) }, []string{key(8), hash(flipped), hash(content(8)), "1 different"}, 2},
		{"cut off", func() { put(t, p.bucket, key(9), content(9)[:500]) }, func() { put(t, p.bucket, key(9), content(9)) }, []string{key(9), "1 different"}, 2},
		{"two objects swapped", func() { put(t, p.bucket, key(1), content(2)); put(t, p.bucket, key(2), content(1)) },
			func() { put(t, p.bucket, key(1), content(1)); put(t, p.bucket, key(2), content(2)) }, []string{key(1), key(2), "2 different"}, 3},
		{"a row's hash lost", func() { execSQL(t, p.shards[0], "UPDATE product SET image_hash = NULL WHERE id = 4") },
			func() { execSQL(t, p.shards[0], "UPDATE product SET image_hash = $1 WHERE id = 4", hash(content(4))) }, []string{key(4), "a row without a hash", "1 malformed"}, 2},
		{"a row's key lost", func() { execSQL(t, p.shards[0], "UPDATE product SET image = NULL WHERE id = 4") },
			func() { execSQL(t, p.shards[0], "UPDATE product SET image = $1 WHERE id = 4", key(4)) }, []string{"a row without a key"}, 2},
		{"a cent too few", func() { execSQL(t, p.shards[1], "UPDATE account SET cents = cents - 0.01 WHERE id = 1") },
			func() { execSQL(t, p.shards[1], "UPDATE account SET cents = cents + 0.01 WHERE id = 1") }, []string{"money", "999.99"}, 1},
		{"a table gone", func() { execSQL(t, p.shards[1], "ALTER TABLE product RENAME TO gone") },
			func() { execSQL(t, p.shards[1], "ALTER TABLE gone RENAME TO product") }, []string{"does not exist"}, 1},
		{"a shard without money", func() {
			execSQL(t, p.shards[1], "ALTER TABLE account RENAME TO full_account; CREATE TABLE account (LIKE full_account)")
		},
			func() { execSQL(t, p.shards[1], "DROP TABLE account; ALTER TABLE full_account RENAME TO account") }, []string{"money", "NULL", "orders/1", "returned nothing"}, 1},
		{"every row gone", func() {
			for _, s := range p.shards {
				execSQL(t, s, "ALTER TABLE product RENAME TO full_product; CREATE TABLE product (LIKE full_product)")
			}
		}, func() {
			for _, s := range p.shards {
				execSQL(t, s, "DROP TABLE product; ALTER TABLE full_product RENAME TO product")
			}
		}, []string{"no row names an object"}, 1},
	} {
		c.plant()

		_, failed := cross(t, p, d)
		for _, say := range c.say {
			if !strings.Contains(failed, say) {
				t.Errorf("%s: %q is not named in\n%s", c.name, say, failed)
			}
		}

		if n := strings.Count(failed, "\n"); n != c.lines {
			t.Errorf("%s: %d failed findings, want %d:\n%s", c.name, n, c.lines, failed)
		}

		c.heal()

		if _, failed := cross(t, p, d); failed != "" {
			t.Fatalf("%s is still found after it was healed: %s", c.name, failed)
		}
	}
}

// A sum that wants 0 is no proof when there is nothing to add.
func TestSumOfNothingFails(t *testing.T) {
	p := newPlatform(t)
	sum := Sum{Name: "conserved", Target: "orders", Query: "SELECT (SELECT sum(cents) FROM account) - 500", Want: "0"}

	d := Definition{Name: "d", Group: "shop", Cut: Latest, Checks: Checks{Sums: []Sum{sum}}}
	if _, failed := cross(t, p, d); failed != "" {
		t.Fatal(failed)
	}

	for _, s := range p.shards {
		execSQL(t, s, "DELETE FROM account")
	}

	if _, failed := cross(t, p, d); !strings.Contains(failed, "returned nothing") {
		t.Errorf("empty tables: %q", failed)
	}

	d.Checks.Sums[0].Query = "SELECT id FROM account"
	if _, failed := cross(t, p, d); !strings.Contains(failed, "no row") {
		t.Errorf("no row: %q", failed)
	}
}

// What a server answers about the data is told from a question that could not be
// asked, and no question changes anything.
func TestAnswers(t *testing.T) {
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	in.Role = targets.Sandbox
	execSQL(t, in, "CREATE TABLE account (id int PRIMARY KEY); INSERT INTO account SELECT generate_series(1, 5000)")

	q, err := ConnectPostgres(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()

	sum := func(ctx context.Context, query string) (targets.Finding, error) {
		return RunSum(ctx, Sum{Name: "s", Target: "orders", Query: query, Want: "5000"}, []Querier{q})
	}
	for _, c := range []struct {
		query string
		pass  bool
		got   string
	}{
		{"SELECT count(*) FROM account", true, "5000"},
		{"SELECT id FROM account ORDER BY id DESC", true, "5000"}, // rows left unread
		{"SELECT max(id) FROM account WHERE id < 0", false, "NULL"},
		{"SELECT id FROM account WHERE id < 0", false, "no row"},
		{"SELECT 'many'", false, "many"},
		{"SELECT * FROM nothing", false, "an error"},
		{"SELECT 1/0", false, "an error"},
		{"DELETE FROM account RETURNING 5000", false, "an error"}, // the session is read-only
		{"SELECT count(*) FROM account", true, "5000"},
	} {
		f, err := sum(context.Background(), c.query)
		if err != nil {
			t.Fatal(err)
		}

		if (f.Severity == targets.Passed) != c.pass || f.Got != c.got || f.Query != QueryHash(c.query) {
			t.Errorf("%s: %+v", c.query, f)
		}
	}

	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()

	if f, err := sum(ctx, "SELECT pg_sleep(60)"); err == nil {
		t.Errorf("a question that got no answer in time is a finding: %+v", f)
	}
}

func TestAbandonedRowsDoNotBreakTheSession(t *testing.T) {
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	in.Role = targets.Sandbox

	q, err := ConnectPostgres(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	start := time.Now()

	for range 3 {
		for row, err := range q.Rows(context.Background(), "SELECT generate_series(1, 50000000)") {
			if err != nil || *row[0] != "1" {
				t.Fatal(row, err)
			}

			break
		}
	}

	v, _, err := first(context.Background(), q, "SELECT 7")
	if err != nil || v == nil || *v != "7" {
		t.Fatal(v, err)
	}

	if took := time.Since(start); took > 2*time.Minute {
		t.Errorf("leaving three large results took %v", took)
	}
}

func TestOnlySandboxesAreTouched(t *testing.T) {
	// Nothing listens there: a connection would be refused, not denied.
	for _, role := range []targets.Role{targets.Primary, targets.Standby, ""} {
		in := targets.Instance{Kind: targets.Postgres, Shard: targets.ShardID{Target: "orders", Shard: "0"}, Role: role, Address: "127.0.0.1:1", Database: "shop"}
		if _, err := CrossCheck(context.Background(), checksOf(), []targets.Instance{in}, nil); !fail.Is(err, fail.Denied) {
			t.Errorf("role %q: %v", role, err)
		}

		if _, err := ConnectPostgres(context.Background(), in); !fail.Is(err, fail.Denied) {
			t.Errorf("role %q: %v", role, err)
		}

		in.Kind = targets.S3
		if _, err := ConnectBucket(in); !fail.Is(err, fail.Denied) {
			t.Errorf("role %q: %v", role, err)
		}
	}
}

func TestChecksThatCannotBeDoneAreErrors(t *testing.T) {
	box := func(kind targets.Kind, shard string) targets.Instance {
		return sandboxInstance(kind, shard, map[bool]string{true: "http://127.0.0.1:1", false: "127.0.0.1:1"}[kind == targets.S3], "")
	}

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()

	if _, err := CrossCheck(ctx, checksOf(), []targets.Instance{box(targets.Postgres, "orders/0"), box(targets.S3, "media/0")}, nil); !fail.Is(err, fail.Unavailable) {
		t.Errorf("a server that is down: %v", err)
	}

	if _, err := CrossCheck(ctx, checksOf(), nil, nil); !fail.Is(err, fail.Invalid) {
		t.Errorf("nothing restored: %v", err)
	}
	pg := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	pg.Role = targets.Sandbox
	execSQL(t, pg, "CREATE TABLE product AS SELECT 'k' AS image, repeat('0', 64) AS image_hash; CREATE TABLE account AS SELECT 1000 AS cents")

	if _, err := CrossCheck(ctx, checksOf(), []targets.Instance{pg, box(targets.S3, "media/0")}, nil); !fail.Is(err, fail.Unavailable) {
		t.Errorf("a bucket that is down: %v", err)
	}
	pg.Password = targets.NewSecret("wrong")

	_, err := CrossCheck(ctx, checksOf(), []targets.Instance{pg}, nil)
	if !fail.Is(err, fail.Denied) || strings.Contains(fmt.Sprint(err), "wrong") && strings.Contains(fmt.Sprint(err), "password=") {
		t.Errorf("a wrong password: %v", err)
	}
}

type fakeObjects map[string]string

func (fakeObjects) String() string { return "fake" }

func (f fakeObjects) Open(_ context.Context, key string) (io.ReadCloser, error) {
	v, ok := f[key]
	switch {
	case !ok:
		return nil, fail.New(fail.NotFound, "open", key, "", nil)
	case v == "broken":
		return io.NopCloser(io.MultiReader(strings.NewReader("x"), failing{})), nil
	case v == "damaged":
		return nil, fail.New(fail.Corrupt, "open", key, "", nil)
	}

	return io.NopCloser(strings.NewReader(v)), nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func rowsOf(kv ...string) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for i := 0; i+1 < len(kv); i += 2 {
			if !yield(Row{&kv[i], &kv[i+1]}, nil) {
				return
			}
		}
	}
}

func TestObjectCheckCorners(t *testing.T) {
	ctx := context.Background()
	h := hash([]byte("v"))

	res, err := RunObjectCheck(ctx, rowsOf("a", h, "b", `\x`+strings.ToUpper(h), "c", h, "d", h, "e", "abc", "f", h), fakeObjects{"a": "v", "b": "v", "c": "broken", "d": "damaged"}, ObjectOptions{})
	if err != nil || res.Whole != 2 || res.Unreadable != 2 || res.Malformed != 1 || res.Missing != 1 || res.Findings[0].Severity != targets.Failed {
		t.Errorf("%+v %v", res, err)
	}

	var many []string
	for i := range 500 {
		many = append(many, fmt.Sprintf("k%03d", i), h)
	}

	res, err = RunObjectCheck(ctx, rowsOf(many...), fakeObjects{}, ObjectOptions{Report: 5})
	if err != nil || res.Missing != 500 || len(res.Findings) != 6 || !strings.Contains(res.Findings[0].Detail, "495 of them are not listed") || res.Findings[1].Subject != "fake k000" || res.Findings[5].Subject != "fake k004" {
		t.Errorf("%+v %v", res, err)
	}
	one := "x"

	res, err = RunObjectCheck(ctx, func(yield func(Row, error) bool) { yield(Row{&one}, nil) }, fakeObjects{}, ObjectOptions{})
	if err != nil || res.Malformed != 1 {
		t.Errorf("a query with one column: %+v %v", res, err)
	}

	if res, err = RunObjectCheck(ctx, rowsOf(), fakeObjects{}, ObjectOptions{AllowEmpty: true}); err != nil || res.Findings[0].Severity != targets.Passed {
		t.Errorf("an allowed emptiness: %+v %v", res, err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()

	if _, err := RunObjectCheck(cancelled, rowsOf("a", h), fakeObjects{"a": "v"}, ObjectOptions{}); err == nil {
		t.Error("a cancelled check ended well")
	}

	res, err = RunObjectCheck(ctx, rowsOf("a", h, "b", h), AnyOf(fakeObjects{"a": "v"}, fakeObjects{"b": "v"}), ObjectOptions{})
	if err != nil || res.Whole != 2 {
		t.Errorf("two buckets: %+v %v", res, err)
	}
}

// An object whose key the sandbox's server cannot hold is read where it lies.
func TestBucketOpensOddKeys(t *testing.T) {
	in := sandboxtest.S3(t, false)
	in.Role = targets.Sandbox

	b, err := ConnectBucket(in)
	if err != nil {
		t.Fatal(err)
	}
	aside := in
	aside.Database = targets.OddBucket
	sandboxtest.Bucket(t, aside, false)
	put(t, in, "p/q", []byte("another"))
	put(t, aside, targets.OddName("p//q"), []byte("odd"))
	put(t, aside, targets.OddName("a\ufffd"), []byte("unnameable"))
	put(t, aside, targets.OddName("a\x01"), []byte("control"))

	for key, want := range map[string]string{"p//q": "odd", "p/q": "another", "a\ufffd": "unnameable", "a\x01": "control"} {
		r, err := b.Open(context.Background(), key)
		if err != nil {
			t.Fatal(key, err)
		}
		got, err := io.ReadAll(r)
		_ = r.Close()

		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", key, got, err)
		}
	}
}
