package shop

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"drctl/targets"
)

// shardState is what one recovered shard holds.
type shardState struct {
	legs     map[uuid.UUID][2]*legRow
	orders   map[uuid.UUID]bool
	images   map[string]imageRow
	prepared []string
	// now and first are the sums of balances and stock; sold is of the sold rows.
	now, first map[string]int64
	sold       int64
}

type legRow struct {
	amount int64
	kind   string
}

type imageRow struct {
	sha  string
	size int64
}

func (k *checker) readShards(ctx context.Context) ([]*shardState, error) {
	found := make([]*shardState, len(k.Postgres))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i, in := range k.Postgres {
		g.Go(func() (err error) {
			found[i], err = readShard(gctx, in)
			return failure("shop: check", in, err)
		})
	}
	return found, g.Wait()
}

// readShard reads everything in one snapshot.
func readShard(ctx context.Context, in targets.Instance) (*shardState, error) {
	c, err := connectPostgres(ctx, in)
	if err != nil {
		return nil, err
	}
	defer c.Close(context.WithoutCancel(ctx))
	s := &shardState{legs: map[uuid.UUID][2]*legRow{}, orders: map[uuid.UUID]bool{}, images: map[string]imageRow{}}
	err = pgx.BeginTxFunc(ctx, c, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		var id [16]byte
		var leg int
		var text, kind string
		var n int64
		err := each(ctx, tx, "SELECT id, leg, amount, kind FROM transfers", []any{&id, &leg, &n, &kind}, func() error {
			if leg < 0 || leg > 1 {
				return fmt.Errorf("transfer %s has a leg %d", uuid.UUID(id), leg)
			}
			legs := s.legs[id]
			legs[leg] = &legRow{n, kind}
			s.legs[id] = legs
			return nil
		})
		if err == nil {
			err = each(ctx, tx, "SELECT id FROM orders", []any{&id}, func() error { s.orders[id] = true; return nil })
		}
		if err == nil {
			err = each(ctx, tx, "SELECT key, sha256, size FROM product_images", []any{&text, &kind, &n}, func() error {
				s.images[text] = imageRow{kind, n}
				return nil
			})
		}
		if err == nil {
			err = each(ctx, tx, "SELECT gid FROM pg_prepared_xacts", []any{&text}, func() error {
				s.prepared = append(s.prepared, text)
				return nil
			})
		}
		if err == nil {
			err = s.readSums(ctx, tx)
		}
		return err
	})
	return s, err
}

func (s *shardState) readSums(ctx context.Context, tx pgx.Tx) error {
	s.first, s.now = map[string]int64{}, map[string]int64{}
	var name string
	var n int64
	err := each(ctx, tx, "SELECT name, value FROM meta", []any{&name, &n}, func() error { s.first[name] = n; return nil })
	if err == nil {
		err = each(ctx, tx, `SELECT 'balance', coalesce(sum(balance), 0)::bigint FROM accounts
			UNION ALL SELECT 'stock', coalesce(sum(qty), 0)::bigint FROM stock`, []any{&name, &n}, func() error { s.now[name] = n; return nil })
	}
	if err == nil {
		err = tx.QueryRow(ctx, "SELECT coalesce(sum(qty), 0)::bigint FROM stock WHERE sku < 0").Scan(&s.sold)
	}
	return err
}

func each(ctx context.Context, tx pgx.Tx, sql string, into []any, f func() error) error {
	rows, err := tx.Query(ctx, sql)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, into, f)
	return err
}

// halves tells which parts of an operation are there: of a transfer both legs,
// of the others one part.
func (k *checker) parts(id uuid.UUID, r *Record, found []*shardState) (there, of int, where string) {
	var at []string
	note := func(ok bool, shard int, what string) {
		of++
		if ok {
			there++
			at = append(at, what+" on "+k.Postgres[shard].String())
		}
	}
	for n, shard := range r.Shards {
		switch {
		case r.transfer():
			legs := found[shard].legs[id]
			note(n < 2 && legs[n] != nil, shard, fmt.Sprintf("leg %d", n))
		case r.Kind == KindOrder:
			note(found[shard].orders[id], shard, "order")
		case r.Kind == KindImage:
			_, ok := found[shard].images[r.Key]
			note(ok, shard, "row")
		}
	}
	return there, of, strings.Join(at, ", ")
}

// checkPresence is rules (a) and (b).
func (k *checker) checkPresence(found []*shardState) {
	for id, r := range k.ops.sql {
		there, of, where := k.parts(id, r, found)
		if at := r.acked(); at > 0 && at < k.fenced {
			k.checked(RuleAcked, 1)
			if there < of {
				k.violation(RuleAcked, r.Kind+" "+r.ID, "acknowledged %s before the fence; %d of %d parts are there (%s)", ago(k.fenced-at), there, of, where)
			}
		}
		if r.CommitNS > k.released {
			k.checked(RuleLater, 1)
			if there > 0 {
				k.violation(RuleLater, r.Kind+" "+r.ID, "its commit was sent %s after the release; there is %s", ago(r.CommitNS-k.released), where)
			}
		}
	}
}

func ago(ns int64) time.Duration { return time.Duration(ns).Round(time.Microsecond) }

// checkWhole is rules (c) and (e).
func (k *checker) checkWhole(found []*shardState) {
	type transfer struct {
		rows   [2]*legRow
		shards [2]int
		extra  bool
	}
	all := map[uuid.UUID]*transfer{}
	for i, s := range found {
		for id, legs := range s.legs {
			t := all[id]
			if t == nil {
				t = &transfer{}
				all[id] = t
			}
			for n, row := range legs {
				if row == nil {
					continue
				}
				t.extra = t.extra || t.rows[n] != nil
				t.rows[n], t.shards[n] = row, i
			}
		}
		for _, gid := range s.prepared {
			k.violation(RulePrepared, gid, "left prepared on %s", k.Postgres[i])
		}
	}
	k.checked(RulePrepared, len(found))
	k.checked(RuleWhole, len(all))
	for id, t := range all {
		subject := "transfer " + id.String()
		switch {
		case t.rows[0] == nil:
			k.violation(RuleWhole, subject, "only the credit is there, on %s", k.Postgres[t.shards[1]])
		case t.rows[1] == nil:
			k.violation(RuleWhole, subject, "only the debit is there, on %s", k.Postgres[t.shards[0]])
		case t.extra:
			k.violation(RuleWhole, subject, "one half is there on several shards")
		case t.rows[0].amount+t.rows[1].amount != 0 || t.rows[0].kind != t.rows[1].kind:
			k.violation(RuleWhole, subject, "its halves do not match: %d %s and %d %s", t.rows[0].amount, t.rows[0].kind, t.rows[1].amount, t.rows[1].kind)
		}
	}
}

// checkSums is rule (d).
func (k *checker) checkSums(found []*shardState) {
	for _, name := range []string{"balance", "stock"} {
		var now, begin int64
		for i, s := range found {
			v, ok := s.first[name]
			if !ok {
				k.violation(RuleSums, name, "%s does not know its first sum", k.Postgres[i])
			}
			begin += v
			now += s.now[name]
		}
		k.checked(RuleSums, 1)
		if now != begin {
			k.violation(RuleSums, name, "the sum over all shards is %d, and was %d (%+d)", now, begin, now-begin)
		}
	}
	for i, s := range found {
		k.checked(RuleSums, 1)
		if s.sold != int64(len(s.orders)) {
			k.violation(RuleSums, "orders on "+k.Postgres[i].String(), "%d orders are there and %d pieces are sold", len(s.orders), s.sold)
		}
	}
}
