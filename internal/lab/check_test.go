package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"drctl/internal/sandbox"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
)

// expect fails unless exactly the rules were violated.
func expect(t *testing.T, rep Report, rules ...string) {
	t.Helper()
	var got, want []string
	for _, r := range sortedKeys(rep.Count) {
		got = append(got, r[:1])
	}
	want = append(want, rules...)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("rules %v, want %v\n%s", got, want, rep.Summary())
	}
}

func sqlOn(t *testing.T, in targets.Instance, sql string) {
	t.Helper()
	c, err := dial(context.Background(), in, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer closeConn(c)
	if err := c.exec(context.Background(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func text(t *testing.T, in targets.Instance, sql string) (s string) {
	t.Helper()
	c, err := dial(context.Background(), in, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer closeConn(c)
	if err := c.rows(context.Background(), sql, func(v [][]byte) error { s = string(v[0]); return nil }); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestCheckerFindsPlantedDamage breaks each promise on real servers and
// repairs it again: a check that never fails is no evidence.
func TestCheckerFindsPlantedDamage(t *testing.T) {
	ctx := context.Background()
	p, _ := shop(t, 2, 1, true)
	journal := filepath.Join(t.TempDir(), "journal")
	traffic1(t, p, journal, 1500*time.Millisecond, Mix, true)
	cut := cutNow()
	opt := p.checkOptions(cut, journal)
	expect(t, mustCheck(t, opt))
	pg := p.Orders[0]

	t.Run("a: an acknowledged order is missing", func(t *testing.T) {
		id := text(t, pg, "SELECT id FROM orders LIMIT 1")
		sqlOn(t, pg, "CREATE TABLE kept AS SELECT * FROM orders WHERE id = '"+id+"'; DELETE FROM orders WHERE id = '"+id+"'")
		defer sqlOn(t, pg, "INSERT INTO orders SELECT * FROM kept; DROP TABLE kept")
		rep := mustCheck(t, opt)
		expect(t, rep, "a")
		if !strings.Contains(rep.Summary(), id) {
			t.Errorf("the order is not named: %s", rep.Summary())
		}
	})
	t.Run("a: a transfer has another amount", func(t *testing.T) {
		id := text(t, pg, "SELECT id FROM transfers LIMIT 1")
		sqlOn(t, pg, "UPDATE transfers SET goods = goods + 1 WHERE id = '"+id+"'")
		defer sqlOn(t, pg, "UPDATE transfers SET goods = goods - 1 WHERE id = '"+id+"'")
		expect(t, mustCheck(t, opt), "a", "d")
	})
	t.Run("b: a cut in the past", func(t *testing.T) {
		old := opt
		old.Cut.FencedAt, old.Cut.ReleasedAt = cut.FencedAt.Add(-time.Second), cut.FencedAt.Add(-time.Second)
		rep := mustCheck(t, old)
		expect(t, rep, "b", "f")
		if rep.After == 0 || rep.Before == 0 {
			t.Errorf("%+v", rep)
		}
	})
	t.Run("c: half a transfer", func(t *testing.T) {
		id := text(t, pg, "SELECT id FROM transfers LIMIT 1")
		sqlOn(t, pg, "CREATE TABLE kept AS SELECT * FROM transfers WHERE id = '"+id+"'; DELETE FROM transfers WHERE id = '"+id+"'")
		defer sqlOn(t, pg, "INSERT INTO transfers SELECT * FROM kept; DROP TABLE kept")
		expect(t, mustCheck(t, opt), "a", "c", "d") // the money moved without its row
	})
	t.Run("d: money out of nowhere", func(t *testing.T) {
		sqlOn(t, pg, "UPDATE accounts SET balance = balance + 1 WHERE id = 3")
		defer sqlOn(t, pg, "UPDATE accounts SET balance = balance - 1 WHERE id = 3")
		expect(t, mustCheck(t, opt), "d")
	})
	t.Run("d: stock vanishes", func(t *testing.T) {
		sqlOn(t, pg, "UPDATE stock SET qty = qty - 1 WHERE sku = 3")
		defer sqlOn(t, pg, "UPDATE stock SET qty = qty + 1 WHERE sku = 3")
		expect(t, mustCheck(t, opt), "d")
	})
	t.Run("e: a prepared transaction", func(t *testing.T) {
		sqlOn(t, pg, "BEGIN; UPDATE accounts SET balance = balance + 1 WHERE id = 3; PREPARE TRANSACTION 'left'")
		defer sqlOn(t, pg, "ROLLBACK PREPARED 'left'")
		expect(t, mustCheck(t, opt), "e")
	})
	t.Run("f: carts", func(t *testing.T) { plantInCarts(t, p, opt) })
	t.Run("g: objects", func(t *testing.T) { plantInObjects(t, p, opt) })
	t.Run("h: failed and present", func(t *testing.T) {
		id := "00000000-0000-4000-8000-00000000000a"
		j, err := OpenJournal(journal)
		if err != nil {
			t.Fatal(err)
		}
		j.Append(Record{ID: id, Kind: Order, Outcome: Failed, Shards: []int{0}, Begin: 1})
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		expect(t, mustCheck(t, opt))
		sqlOn(t, pg, "INSERT INTO orders VALUES ('"+id+"', 1, 1, 1, 1)")
		defer sqlOn(t, pg, "DELETE FROM orders WHERE id = '"+id+"'")
		expect(t, mustCheck(t, opt), "h")
	})
	t.Run("i: nobody's row", func(t *testing.T) {
		sqlOn(t, pg, "INSERT INTO orders VALUES ('00000000-0000-4000-8000-00000000000b', 1, 1, 1, 1)")
		defer sqlOn(t, pg, "DELETE FROM orders WHERE id = '00000000-0000-4000-8000-00000000000b'")
		expect(t, mustCheck(t, opt), "i")
		partial := opt
		partial.Partial = true
		expect(t, mustCheck(t, partial))
	})
	expect(t, mustCheck(t, opt)) // everything was repaired
	if _, err := Check(ctx, CheckOptions{Journal: journal}); err == nil {
		t.Error("a cut without times was taken")
	}
}

func plantInCarts(t *testing.T, p Platform, opt CheckOptions) {
	ctx := context.Background()
	c := redisClient(p.Carts[0])
	defer func() { _ = c.Close() }()
	keys, err := c.Keys(ctx, "cart:*").Result()
	if err != nil || len(keys) == 0 {
		t.Fatal(keys, err)
	}
	was := c.HGetAll(ctx, keys[0]).Val()
	back := func() {
		if err := c.Del(ctx, keys[0]).Err(); err != nil {
			t.Fatal(err)
		}
		for k, v := range was {
			if err := c.HSet(ctx, keys[0], k, v).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var n int
	if _, err := fmt.Sscanf(keys[0], "cart:%d", &n); err != nil {
		t.Fatal(err)
	}
	var seq int64
	if _, err := fmt.Sscan(was["seq"], &seq); err != nil {
		t.Fatal(err)
	}
	for name, plant := range map[string]func() error{
		"lost":           func() error { return c.Del(ctx, keys[0]).Err() },
		"too old":        func() error { return c.HSet(ctx, keys[0], "seq", seq-1, "check", cartCheck(n, seq-1)).Err() },
		"too new":        func() error { return c.HSet(ctx, keys[0], "seq", seq+1, "check", cartCheck(n, seq+1)).Err() },
		"wrong contents": func() error { return c.HSet(ctx, keys[0], "check", "x").Err() },
	} {
		if err := plant(); err != nil {
			t.Fatal(err)
		}
		rep := mustCheck(t, opt)
		back()
		if rep.Count[RuleCart] != 1 || len(rep.Count) != 1 {
			t.Errorf("%s: %s", name, rep.Summary())
		}
	}
}

func plantInObjects(t *testing.T, p Platform, opt CheckOptions) {
	ctx := context.Background()
	key := text(t, p.Orders[0], "SELECT key FROM product_images LIMIT 1")
	c := s3Client(p.Media)
	bucket := aws.String(p.Media.Database)
	get, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	var body bytes.Buffer
	if _, err := body.ReadFrom(get.Body); err != nil {
		t.Fatal(err)
	}
	put := func(b []byte) {
		t.Helper()
		if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: &key, Body: bytes.NewReader(b)}); err != nil {
			t.Fatal(err)
		}
	}
	flipped := slices.Clone(body.Bytes())
	flipped[len(flipped)/2] ^= 1
	put(flipped)
	expect(t, mustCheck(t, opt), "g")
	put(flipped[:len(flipped)-1])
	expect(t, mustCheck(t, opt), "g")
	if _, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: &key}); err != nil {
		t.Fatal(err)
	}
	rep := mustCheck(t, opt)
	expect(t, rep, "g")
	if !strings.Contains(rep.Summary(), key) {
		t.Errorf("the object is not named: %s", rep.Summary())
	}
	put(body.Bytes())
	expect(t, mustCheck(t, opt))
}

// TestCheckerFindsShardsOfDifferentInstants recovers one shard to an older
// point than the other, as a backup without a fence would.
func TestCheckerFindsShardsOfDifferentInstants(t *testing.T) {
	ctx := context.Background()
	p, procs := shop(t, 2, 0, false)
	journal := filepath.Join(t.TempDir(), "journal")
	traffic1(t, p, journal, 700*time.Millisecond, Mix, true)
	early := cutNow()
	// Shard 0 as it is now, copied while it is stopped.
	if err := procs[0].Stop(ctx); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(sandboxtest.Dir(t), "old")
	if out, err := exec.Command("cp", "-a", p.Orders[0].DataDir, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Remove(filepath.Join(dir, "postmaster.opts")); err != nil {
		t.Fatal(err)
	}
	again, err := restart(t, p.Orders[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = again.Kill() })
	old := p.Orders[0]
	proc, err := sandboxtest.Tools(t).StartPostgres(ctx, sandbox.PostgresSpec{Dir: dir,
		Settings: map[string]string{"max_prepared_transactions": "64", "fsync": "off", "max_connections": "60"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proc.Kill() })
	old.Address = proc.Address

	traffic1(t, p, journal, 700*time.Millisecond, Mix, true)
	late := cutNow()
	torn := p
	torn.Orders = []targets.Instance{old, p.Orders[1]}

	rep := mustCheck(t, torn.checkOptions(late, journal))
	expect(t, rep, "a", "c", "d")
	rep = mustCheck(t, torn.checkOptions(early, journal))
	expect(t, rep, "b", "c", "d")
	if rep.Count[RuleHalf] < 5 {
		t.Errorf("only %d half transfers found", rep.Count[RuleHalf])
	}
	if len(rep.Violations) > 3*10 {
		t.Errorf("the list of violations is not bounded: %d", len(rep.Violations))
	}
	expect(t, mustCheck(t, p.checkOptions(late, journal)))
}
