package check

import (
	"context"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"drctl/internal/lab/shop/journal"
	"drctl/internal/lab/shop/judge"
	"drctl/internal/lab/shop/stores"
	"drctl/targets"
)

// stepKind says whether the steps of an operation have rows of their own.
func stepKind(kind string) bool {
	return slices.Contains([]string{journal.KindBooking, journal.KindSaga, journal.KindChain, journal.KindLedger, journal.KindBatch}, kind)
}

// readSteps reads the rows of steps, if the shop has any.
func readSteps(ctx context.Context, tx pgx.Tx) (map[stepKey]bool, error) {
	steps := map[stepKey]bool{}

	var made bool
	if err := tx.QueryRow(ctx, "SELECT to_regclass('steps') IS NOT NULL").Scan(&made); err != nil || !made {
		return steps, err
	}
	var id [16]byte
	var n int

	return steps, each(ctx, tx, "SELECT op, n FROM steps", []any{&id, &n}, func() error {
		steps[stepKey{id, n}] = true
		return nil
	})
}

// readLedger reads the other database of a cluster, if there is one.
func (s *shardState) readLedger(ctx context.Context, c *pgx.Conn, in targets.Instance) error {
	other := stores.Ledger(in)

	var made bool
	if err := c.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", other.Database).Scan(&made); err != nil || !made {
		return err
	}

	ledger, err := stores.Connect(ctx, other)
	if err != nil {
		return err
	}
	defer ledger.Close(context.WithoutCancel(ctx))

	return pgx.BeginTxFunc(ctx, ledger, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) (err error) {
		s.ledger, err = readSteps(ctx, tx)
		return err
	})
}

func (s *shardState) hasStep(id uuid.UUID, r *journal.Record, n int) bool {
	if n < len(r.Steps) && r.Steps[n].Database != "" {
		return s.ledger[stepKey{id, n}]
	}

	return s.steps[stepKey{id, n}]
}

// checkSteps is rule (c) for rows of steps: a batch has more rows than its step.
func (k *checker) checkSteps(shard int, rows map[stepKey]bool, database string) {
	for key := range rows {
		r, n := k.ops.sql[key.op], max(key.n, 0)
		row := fmt.Sprintf("step %d of %s on %s", key.n, key.op, k.Postgres[shard])

		switch {
		case r == nil || !stepKind(r.Kind) || n >= len(r.Steps) || r.Steps[n].Shard != shard || r.Steps[n].Database != database || key.n < 0 && r.Kind != journal.KindBatch:
			k.unknown(r, row)
		default:
			k.checked(RuleJournaled, 1)

			if r.Steps[n].SentNS == 0 {
				k.violation(RuleJournaled, row, "it is there, and the journal says that it was never committed")
			}
		}
	}
}

// state tells of each step whether it was found.
func (k *checker) state(found []*shardState) judge.State {
	prepared := map[judge.Doubtful]bool{}
	for i, s := range found {
		for _, gid := range s.prepared {
			prepared[judge.Doubtful{Shard: i, GID: gid}] = true
		}
	}

	return func(r *journal.Record, n int) judge.Presence {
		s := r.Steps[n]

		if s.Redis {
			return k.cartState(r)
		}

		id, err := uuid.Parse(r.ID)
		if err != nil {
			return judge.Unknown
		}
		shard, there := found[s.Shard], false

		switch {
		case stepKind(r.Kind):
			there = shard.hasStep(id, r, n)
		case r.Transfer():
			there = shard.legs[id][n] != nil
		case r.Kind == journal.KindOrder:
			_, there = shard.orders[id]
		case r.Kind == journal.KindImage:
			_, there = shard.images[r.Key]
		}

		switch {
		case there:
			return judge.In
		case s.GID != "" && prepared[judge.Doubtful{Shard: s.Shard, GID: s.GID}]:
			return judge.Prepared
		}

		return judge.Out
	}
}

// cartState: a cart has only its last change.
func (k *checker) cartState(r *journal.Record) judge.Presence {
	at, read := k.carts[r.Cart]

	switch {
	case !read:
		return judge.Unknown
	case r.Seq > at:
		return judge.Out
	case r.Status == journal.Acked:
		return judge.In
	}

	return judge.Unknown
}

// checkGrade is rule (k). What recovery did with what was in doubt can be seen by what
// is there, so that the claim's actions say nothing here.
func (k *checker) checkGrade(found []*shardState) error {
	var journals []iter.Seq2[journal.Record, error]
	for _, path := range k.Journals {
		journals = append(journals, journal.Read(path))
	}

	masters := len(k.Redis)
	if masters == 0 {
		masters = math.MaxInt // of carts nothing is known, and not that they are another's
	}

	h, err := judge.NewHistory(len(k.Postgres), masters, journals...)
	if err != nil {
		return err
	}
	claim := k.claim
	claim.Actions = nil

	v := judge.Judge(h, k.state(found), claim)
	k.checked(RuleGrade, v.Steps+v.Causes+v.Whole+v.Doubts)

	for _, f := range v.Faults {
		k.violation(RuleGrade, f.Subject, "%s: %s", f.About, f.Detail)
	}

	return nil
}
