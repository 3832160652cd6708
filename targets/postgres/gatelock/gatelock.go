package gatelock

import (
	"context"

	"github.com/jackc/pgx/v5"

	"drctl/targets"
)

// DB is a session of the gate's database.
type DB interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// holderSQL names the session that has held the gate for longest, and for how
// many seconds: those of its transaction, which is as old at least.
const holderSQL = `
SELECT format('pid %s (%s), %s since %s s', l.pid, coalesce(nullif(a.application_name, ''), 'unknown'), coalesce(a.state, 'current'),
  round(extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.state_change))::numeric, 1)),
  coalesce(extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.state_change))::float8, 0)
FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.pid <> pg_catalog.pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  AND ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended($1, 0)
ORDER BY coalesce(a.xact_start, a.state_change) LIMIT 1`

// Holder names who has held the gate of a key for longest, and for how many seconds. The error is
// pgx.ErrNoRows when nobody holds it.
func Holder(ctx context.Context, db DB, key string) (who string, age float64, err error) {
	err = db.QueryRow(ctx, holderSQL, key).Scan(&who, &age)
	return who, age, err
}

// useSQL counts the sessions that hold the gate or wait for it. Advisory locks are of one
// database: the same key in another one is another lock.
const useSQL = `
SELECT count(*) FILTER (WHERE d.datname = current_database())::int,
  coalesce(array_agg(DISTINCT d.datname::text) FILTER (WHERE d.datname <> current_database()), '{}')
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_database d ON d.oid = l.database
WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.pid <> pg_catalog.pg_backend_pid()
  AND ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended($1, 0)`

// Use tells how many others use the gate of a key now, and in which other databases its key is held.
func Use(ctx context.Context, db DB, key string) (use targets.GateUse, err error) {
	err = db.QueryRow(ctx, useSQL, key).Scan(&use.Holders, &use.Elsewhere)
	return use, err
}
