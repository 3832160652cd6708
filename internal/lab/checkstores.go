package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"drctl/internal/fail"
	"drctl/targets"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// object is a row that names an object.
type object struct {
	shard, key, sha string
	size            int64
}

// sums of one shard or of all.
type sums struct{ balance, stock, initBalance, initStock int64 }

// postgres reads every recovered shard, and the objects that its rows name.
func (c *check) postgres(ctx context.Context) error {
	var total sums
	var objects []object
	for _, name := range sortedKeys(c.opt.Postgres) {
		n, err := strconv.Atoi(name)
		if err != nil || n < 0 || n > 63 {
			return fail.Newf(fail.Invalid, "lab: check", name, "not the name of a shard of the lab")
		}
		s, rows, err := c.shard(ctx, n, c.opt.Postgres[name])
		if err != nil {
			return err
		}
		total.balance, total.stock = total.balance+s.balance, total.stock+s.stock
		total.initBalance, total.initStock = total.initBalance+s.initBalance, total.initStock+s.initStock
		objects = append(objects, rows...)
	}
	c.rep.Balance, c.rep.Stock = total.balance, total.stock
	defer func() { c.sum(total) }()
	if c.opt.S3 == nil {
		return nil
	}
	return c.objects(ctx, objects)
}

// sum compares sums over all shards with those of the beginning.
func (c *check) sum(t sums) {
	if c.shards == 0 || len(c.opt.Postgres) != c.shards {
		return
	}
	excusedMoney, excusedGoods := c.excused()
	if want := c.balance + excusedMoney; t.balance != want {
		c.rep.add(RuleSums, "money over all shards", "%d, was %d", t.balance, want)
	}
	if want := c.stock + excusedGoods; t.stock != want {
		c.rep.add(RuleSums, "stock over all shards", "%d, was %d", t.stock, want)
	}
	if t.initBalance != c.balance || t.initStock != c.stock {
		c.rep.add(RuleSums, "table meta", "it says %d and %d, the journal %d and %d", t.initBalance, t.initStock, c.balance, c.stock)
	}
}

// excused sums what plain transfers of unknown outcome left on one shard only.
func (c *check) excused() (money, goods int64) {
	for id, s := range c.found {
		o := c.ops[id]
		if o == nil || o.kind != Transfer || o.outcome != Unknown || o.style != Plain {
			continue
		}
		money += s.money[0] + s.money[1]
		goods += s.goods[0] + s.goods[1]
	}
	return money, goods
}

// shard reads one shard: its operations, its sums, what is left prepared.
func (c *check) shard(ctx context.Context, n int, in targets.Instance) (s sums, objects []object, err error) {
	conn, err := dial(ctx, in, "lab-check")
	if err != nil {
		return s, nil, err
	}
	defer closeConn(conn)
	wrap := func(err error) error {
		if err == nil {
			return nil
		}
		return fail.New(fail.Unavailable, "lab: check", in.String(), "", err)
	}
	var moved sums
	err = conn.rows(ctx, "SELECT id, money, goods FROM transfers", func(v [][]byte) error {
		t, err := c.mark(v[0], n)
		if err != nil {
			return err
		}
		k := 1
		money, goods := atoi(v[1]), atoi(v[2])
		if money < 0 {
			k = 0
		}
		t.money[k], t.goods[k] = money, goods
		moved.balance, moved.stock = moved.balance+money, moved.stock+goods
		return nil
	})
	if err != nil {
		return s, nil, wrap(err)
	}
	err = conn.rows(ctx, "SELECT id FROM orders", func(v [][]byte) error { _, err := c.mark(v[0], n); return err })
	if err != nil {
		return s, nil, wrap(err)
	}
	err = conn.rows(ctx, "SELECT op, key, sha256, size FROM product_images", func(v [][]byte) error {
		t, err := c.mark(v[0], n)
		if err != nil {
			return err
		}
		o := object{strconv.Itoa(n), string(v[1]), string(v[2]), atoi(v[3])}
		if id, err := uuid.ParseBytes(v[0]); err == nil && c.ops[id] != nil && c.ops[id].sha != o.sha {
			t.wrong = fmt.Sprintf("the row names SHA-256 %s, the client sent %s", o.sha, c.ops[id].sha)
		}
		objects = append(objects, o)
		return nil
	})
	if err != nil {
		return s, nil, wrap(err)
	}
	err = conn.rows(ctx, "SELECT gid FROM pg_prepared_xacts", func(v [][]byte) error {
		c.rep.add(RulePrepared, in.Shard.String(), "%s", v[0])
		return nil
	})
	if err != nil {
		return s, nil, wrap(err)
	}
	for _, q := range []struct {
		sql  string
		into *int64
	}{
		{"SELECT coalesce(sum(balance), 0) FROM accounts", &s.balance}, {"SELECT coalesce(sum(qty), 0) FROM stock", &s.stock},
		{"SELECT value FROM meta WHERE name = 'balance'", &s.initBalance}, {"SELECT value FROM meta WHERE name = 'stock'", &s.initStock},
	} {
		if *q.into, err = conn.number(ctx, q.sql); err != nil {
			return s, nil, wrap(err)
		}
	}
	// Within one shard a row and the money that it moved are one transaction.
	if s.balance != s.initBalance+moved.balance {
		c.rep.add(RuleSums, in.Shard.String(), "balance %d, its transfers make it %d", s.balance, s.initBalance+moved.balance)
	}
	if s.stock != s.initStock+moved.stock {
		c.rep.add(RuleSums, in.Shard.String(), "stock %d, its transfers make it %d", s.stock, s.initStock+moved.stock)
	}
	return s, objects, nil
}

// mark notes that an operation was found on a shard.
func (c *check) mark(id []byte, n int) (*seen, error) {
	u, err := uuid.ParseBytes(id)
	if err != nil {
		return nil, err
	}
	s := c.found[u]
	if s == nil {
		s = &seen{}
		c.found[u] = s
	}
	s.mask |= 1 << n
	return s, nil
}

// objects reads every object that a row names and hashes it.
func (c *check) objects(ctx context.Context, rows []object) error {
	client := s3Client(*c.opt.S3)
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, o := range rows {
		g.Go(func() error {
			n, sum, err := hashObject(ctx, client, c.opt.S3.Database, o.key)
			var missing *types.NoSuchKey
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.As(err, &missing):
				c.rep.add(RuleObject, o.key, "a row of shard %s names it and it is missing", o.shard)
			case err != nil:
				return fail.New(fail.Unavailable, "lab: check", c.opt.S3.String()+" "+o.key, "", err)
			case sum != o.sha || n != o.size:
				c.rep.add(RuleObject, o.key, "SHA-256 %s and %d bytes, the row of shard %s says %s and %d", sum, n, o.shard, o.sha, o.size)
			}
			c.rep.Objects++
			c.rep.Bytes += n
			return nil
		})
	}
	return g.Wait()
}

func hashObject(ctx context.Context, client *s3.Client, bucket, key string) (int64, string, error) {
	out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String(key)})
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = out.Body.Close() }()
	h := sha256.New()
	n, err := io.Copy(h, out.Body)
	return n, hex.EncodeToString(h.Sum(nil)), err
}

// redis compares every cart with what was acknowledged and what was sent.
func (c *check) redis(ctx context.Context) error {
	for _, name := range sortedKeys(c.opt.Redis) {
		in := c.opt.Redis[name]
		n, err := strconv.Atoi(name)
		if err != nil {
			return fail.Newf(fail.Invalid, "lab: check", name, "not the name of a shard of the lab")
		}
		client := redisClient(in)
		for cart, b := range c.carts {
			if c.cartAt[cart] != n {
				continue
			}
			v, err := client.HMGet(ctx, cartKey(cart), "seq", "check").Result()
			if err != nil {
				_ = client.Close()
				return fail.New(fail.Unavailable, "lab: check", in.String(), "", err)
			}
			c.rep.Carts++
			c.cart(in, cart, *b, v)
		}
		if err := client.Close(); err != nil {
			return fail.New(fail.Internal, "lab: check", in.String(), "", err)
		}
	}
	return nil
}

func (c *check) cart(in targets.Instance, cart int, b bounds, v []any) {
	subject := in.Shard.String() + " " + cartKey(cart)
	text, _ := v[0].(string)
	seq, err := strconv.ParseInt(text, 10, 64)
	if text != "" && err != nil {
		c.rep.add(RuleCart, subject, "its number is %q", text)
		return
	}
	switch {
	case seq < b.atLeast:
		c.rep.add(RuleCart, subject, "at write %d, write %d was acknowledged before the fence", seq, b.atLeast)
	case seq > b.atMost:
		c.rep.add(RuleCart, subject, "at write %d, no write after %d was sent before the release", seq, b.atMost)
	}
	if sum, _ := v[1].(string); seq > 0 && sum != cartCheck(cart, seq) {
		c.rep.add(RuleCart, subject, "its contents do not belong to write %d", seq)
	}
}
