package check

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"drctl/internal/lab/shop/journal"
	"drctl/internal/lab/shop/judge"
	"drctl/internal/lab/shop/stores"
	"drctl/targets"
)

// shardState is what one recovered shard holds.
type shardState struct {
	legs     map[uuid.UUID][2]*legRow
	orders   map[uuid.UUID]int // the SKU
	images   map[string]imageRow
	prepared []string
	// accounts and stock are the rows: balances by account, pieces by SKU.
	accounts, stock map[int]int64
	// now and first are the sums of balances and stock; sold is of the sold rows.
	now, first map[string]int64
	sold       int64
	// lines counts what a trigger adds for each order.
	lines int64
	// steps are of the shop's database and of the other one.
	steps, ledger map[stepKey]bool
}

// stepKey is a row of the parts beyond the shop's basics.
type stepKey struct {
	op uuid.UUID
	n  int
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
			return stores.Failure("shop: check", in, err)
		})
	}

	return found, g.Wait()
}

// readShard reads everything in one snapshot.
func readShard(ctx context.Context, in targets.Instance) (*shardState, error) {
	c, err := stores.Connect(ctx, in)
	if err != nil {
		return nil, err
	}
	defer c.Close(context.WithoutCancel(ctx))
	s := &shardState{legs: map[uuid.UUID][2]*legRow{}, orders: map[uuid.UUID]int{}, images: map[string]imageRow{},
		accounts: map[int]int64{}, stock: map[int]int64{}}

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
			err = each(ctx, tx, "SELECT id, sku FROM orders", []any{&id, &leg}, func() error { s.orders[id] = leg; return nil })
		}

		if err == nil {
			err = each(ctx, tx, "SELECT id, balance FROM accounts", []any{&leg, &n}, func() error { s.accounts[leg] = n; return nil })
		}

		if err == nil {
			err = each(ctx, tx, "SELECT sku, qty FROM stock", []any{&leg, &n}, func() error { s.stock[leg] = n; return nil })
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

		if err == nil {
			s.steps, err = readSteps(ctx, tx)
		}

		return err
	})
	if err == nil {
		err = s.readLedger(ctx, c, in)
	}

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

	if err == nil {
		err = tx.QueryRow(ctx, "SELECT count(*) FROM order_lines l JOIN orders o USING (id) WHERE l.sku = o.sku").Scan(&s.lines)
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
func (k *checker) parts(id uuid.UUID, r *journal.Record, found []*shardState) (there, of int, where string) {
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
		case r.Transfer():
			legs := found[shard].legs[id]
			note(n < 2 && legs[n] != nil, shard, fmt.Sprintf("leg %d", n))
		case stepKind(r.Kind):
			note(found[shard].hasStep(id, r, n), shard, fmt.Sprintf("step %d", n))
		case r.Kind == journal.KindOrder:
			_, ok := found[shard].orders[id]
			note(ok, shard, "order")
		case r.Kind == journal.KindImage:
			_, ok := found[shard].images[r.Key]
			note(ok, shard, "row")
		}
	}

	return there, of, strings.Join(at, ", ")
}

// checkPresence is rules (a) and (b). A journal that says nothing about the time
// before the barrier would let everything pass.
func (k *checker) checkPresence(found []*shardState) {
	for id, r := range k.ops.sql {
		there, of, where := k.parts(id, r, found)
		if at := r.Acked(); at > 0 && at < k.quiesced {
			k.checked(RuleAcked, 1)

			if there < of {
				k.violation(RuleAcked, r.Kind+" "+r.ID, "acknowledged %s before the barrier; %d of %d parts are there (%s)", ago(k.quiesced-at), there, of, where)
			}
		}

		if r.CommitNS > k.released {
			k.checked(RuleLater, 1)

			if there > 0 {
				k.violation(RuleLater, r.Kind+" "+r.ID, "its commit was sent %s after the release; there is %s", ago(r.CommitNS-k.released), where)
			}
		}
	}

	if k.rep.Checked[RuleAcked] == 0 {
		k.violation(RuleAcked, "the journal", "it holds no operation that was acknowledged before the barrier: nothing was compared")
	}
}

// checkJournaled is rule (c), from the rows to the journal. A row of the shop is
// journaled before its commit is sent, so each has its record.
func (k *checker) checkJournaled(found []*shardState) {
	images := map[string]*journal.Record{}
	for _, r := range k.ops.sql {
		if r.Kind == journal.KindImage && r.Key != "" {
			images[r.Key] = r
		}
	}

	for i, s := range found {
		at := " on " + k.Postgres[i].String()
		for id, legs := range s.legs {
			for n, row := range legs {
				if row == nil {
					continue
				}

				r := k.ops.sql[id]
				if r != nil && r.Transfer() && r.Shards[n] == i {
					amount := r.Amount
					if n == 0 {
						amount = -amount
					}

					k.same(r, fmt.Sprintf("leg %d of transfer %s%s", n, id, at), legRow{amount, r.Kind}, *row)

					continue
				}

				k.unknown(r, fmt.Sprintf("leg %d of transfer %s%s", n, id, at))
			}
		}

		for id, sku := range s.orders {
			if r := k.ops.sql[id]; r != nil && r.Kind == journal.KindOrder && r.Shards[0] == i {
				k.same(r, "order "+id.String()+at, r.Rows[0], sku)
			} else {
				k.unknown(r, "order "+id.String()+at)
			}
		}

		k.checkSteps(i, s.steps, "")
		k.checkSteps(i, s.ledger, stores.Ledger(k.Postgres[i]).Database)

		for key, row := range s.images {
			if r := images[key]; r != nil && r.Shards[0] == i {
				k.same(r, "image row "+key+at, imageRow{r.SHA, r.Size}, row)
			} else {
				k.unknown(r, "image row "+key+at)
			}
		}
	}
}

// unknown reports a row that no record accounts for.
func (k *checker) unknown(r *journal.Record, row string) {
	k.checked(RuleJournaled, 1)

	if r == nil {
		k.violation(RuleJournaled, row, "no journal has it, although everything is journaled before its commit is sent")
	} else {
		k.violation(RuleJournaled, row, "the journal has the %s %s on shards %v", r.Kind, r.ID, r.Shards)
	}
}

// same holds a row against its record.
func (k *checker) same(r *journal.Record, row string, want, got any) {
	k.checked(RuleJournaled, 1)

	switch {
	case want != got:
		k.violation(RuleJournaled, row, "it holds %v, and the journal says %v", got, want)
	case r.Status == journal.Failed || r.CommitNS == 0:
		k.violation(RuleJournaled, row, "it is there, and the journal says that it was never committed")
	}
}

// checkRows is rule (e): the rows that operations changed against the operations
// that are there, row by row, so that one row's surplus cannot make up for
// another's loss.
func (k *checker) checkRows(found []*shardState) {
	for i, s := range found {
		accounts, stock := firstRows(s.first["balance"]/stores.StartBalance, stores.StartBalance), firstRows(s.first["stock"]/stores.StartQty, stores.StartQty)
		for sku := range len(stock) {
			stock[-1-sku] = 0 // sold
		}

		for id, legs := range s.legs {
			r := k.ops.sql[id]
			for n, row := range legs {
				switch {
				case row == nil || r == nil || len(r.Rows) != 2: // told by other rules
				case row.kind == journal.KindMoney:
					accounts[r.Rows[n]] += row.amount
				default:
					stock[r.Rows[n]] += row.amount
				}
			}
		}

		for _, sku := range s.orders {
			stock[sku]--
			stock[-sku]++
		}

		k.reconcile(fmt.Sprintf("account %%d on %s", k.Postgres[i]), accounts, s.accounts)
		k.reconcile(fmt.Sprintf("stock of SKU %%d on %s", k.Postgres[i]), stock, s.stock)
	}
}

// firstRows are n rows from 1 as Setup makes them.
func firstRows(n, each int64) map[int]int64 {
	out := map[int]int64{}
	for i := range n {
		out[int(i)+1] = each
	}

	return out
}

func (k *checker) reconcile(name string, want, got map[int]int64) {
	k.checked(RuleRows, len(want))

	for row, v := range want {
		if have, ok := got[row]; !ok {
			k.violation(RuleRows, fmt.Sprintf(name, row), "the row is missing; it should hold %d", v)
		} else if have != v {
			k.violation(RuleRows, fmt.Sprintf(name, row), "it holds %d, and the operations that are there make it %d (%+d)", have, v, have-v)
		}
	}

	for row, have := range got {
		if _, ok := want[row]; !ok {
			k.violation(RuleRows, fmt.Sprintf(name, row), "no such row was made; it holds %d", have)
		}
	}
}

func ago(ns int64) time.Duration { return time.Duration(ns).Round(time.Microsecond) }

// checkWhole is rules (d) and (g).
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
			// A cut that is not proven may not know what is to be done with one; then it says so.
			if k.claim.Grade == judge.Ordered && k.claim.Actions[judge.Doubtful{Shard: i, GID: gid}] == judge.Leave {
				continue
			}

			k.violation(RulePrepared, gid, "left prepared on %s", k.Postgres[i])
		}
	}

	k.checked(RulePrepared, len(found))
	k.checked(RuleWhole, len(all))

	if k.claim.Grade == judge.Ordered {
		return // halves are allowed
	}

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

// checkSums is rule (f).
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

		if now != begin && k.claim.Grade != judge.Ordered {
			k.violation(RuleSums, name, "the sum over all shards is %d, and was %d (%+d)", now, begin, now-begin)
		}
	}

	for i, s := range found {
		k.checked(RuleSums, 1)

		if s.sold != int64(len(s.orders)) {
			k.violation(RuleSums, "orders on "+k.Postgres[i].String(), "%d orders are there and %d pieces are sold", len(s.orders), s.sold)
		}

		if s.lines != int64(len(s.orders)) {
			k.violation(RuleSums, "order lines on "+k.Postgres[i].String(), "%d orders are there and %d lines of them", len(s.orders), s.lines)
		}
	}
}
