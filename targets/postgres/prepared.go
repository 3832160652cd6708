package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/targets"
)

// preparedSQL lists two-phase transactions that nobody has ended: whether each
// holds a lock that a barrier over the tables excludes, and how to name it.
const preparedSQL = `
SELECT format('%s in %s', p.gid, p.database), EXISTS (SELECT 1 FROM pg_catalog.pg_locks x
  JOIN pg_catalog.pg_locks l ON l.virtualtransaction = x.virtualtransaction AND l.pid IS NULL
  WHERE x.pid IS NULL AND x.locktype = 'transactionid' AND x.mode = 'ExclusiveLock' AND x.transactionid = p.transaction
    AND p.database = current_database() AND l.locktype = 'relation' AND l.relation = ANY($1::oid[])
    AND l.mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))
FROM pg_catalog.pg_prepared_xacts p ORDER BY p.prepared`

// prepared looks for two-phase transactions that are in doubt. A cut quiesces the
// tables of its own database, so that none has written there. Elsewhere in the
// cluster, and at an instant, one may have been in flight: it is told, because
// it holds its locks until somebody ends it.
func (v *verification) prepared(ctx context.Context) error {
	start := time.Now()

	var oids []uint32
	if v.in.Role == targets.Sandbox && !v.want.Instant {
		var err error
		if oids, err = v.quiesced(ctx); err != nil {
			return err
		}
	}

	rows, err := v.conn.Query(ctx, preparedSQL, oids)
	if err != nil {
		return queryError(opVerify, v.in, "", err)
	}
	var all, quiesced []string
	var name string

	var inside bool
	if _, err = pgx.ForEachRow(rows, []any{&name, &inside}, func() error {
		if all = append(all, name); inside {
			quiesced = append(quiesced, name)
		}
		return nil
	}); err != nil {
		return queryError(opVerify, v.in, "", err)
	}
	const check = "prepared-transactions"

	end := "; each holds its locks until it is ended: COMMIT PREPARED or ROLLBACK PREPARED, as its transaction manager says"
	switch {
	case len(quiesced) > 0:
		v.add(check, start, targets.Failed, "none that wrote to the quiesced tables", strconv.Itoa(len(quiesced)), listed(quiesced))
	case len(all) > 0:
		v.add(check, start, targets.Warned, "none", fmt.Sprintf("%d in doubt", len(all)), listed(all)+end)
	default:
		v.add(check, start, targets.Passed, "none", "0", "")
	}

	return nil
}

// quiesced are the tables that a cut quiesces, of those that are there: one of the
// configured list may be younger than the cut.
func (v *verification) quiesced(ctx context.Context) ([]uint32, error) {
	in := v.in
	if len(in.Tables) > 0 {
		missing, err := missingTables(ctx, v.conn, in.Tables)
		if err != nil {
			return nil, queryError(opVerify, in, "", err)
		}

		in.Tables = slices.DeleteFunc(slices.Clone(in.Tables), func(t string) bool { return slices.Contains(missing, t) })
		if len(in.Tables) == 0 {
			return nil, nil
		}
	}

	tables, err := quiesceTables(ctx, opVerify, in, v.conn, v.srv.version)
	if err != nil {
		return nil, err
	}

	oids := make([]uint32, len(tables))
	for i, t := range tables {
		oids[i] = t.oid
	}

	return oids, nil
}
