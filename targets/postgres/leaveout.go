package postgres

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
)

// maintainedSQL lists the tables whose locking would lock one that maintenance
// holds: itself, what is above it, and all that is below that. What maintenance
// holds lets writers write, and its end cannot be foreseen.
const maintainedSQL = `
WITH RECURSIVE held AS (
  SELECT l.relation AS oid, format('%s of %s (pid %s)', coalesce(substring(upper(a.query) FROM '^\s*(AUTOVACUUM|VACUUM|ANALYZE|REINDEX|CREATE|ALTER)\M'), 'maintenance'),
    l.relation::regclass, l.pid) AS who
  FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
  WHERE l.locktype = 'relation' AND l.granted AND l.mode = 'ShareUpdateExclusiveLock' AND l.relation = ANY($1::oid[]) AND l.pid <> pg_catalog.pg_backend_pid()
    AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())),
up AS (SELECT oid, who FROM held UNION SELECT i.inhparent, u.who FROM up u JOIN pg_catalog.pg_inherits i ON i.inhrelid = u.oid),
down AS (SELECT oid, who FROM up UNION SELECT i.inhrelid, d.who FROM down d JOIN pg_catalog.pg_inherits i ON i.inhparent = d.oid)
SELECT oid, min(who) FROM down GROUP BY oid`

// leaveOut takes the tables that maintenance holds from those whose writers are
// stopped, if the barrier can do without them, and says which.
func (m *member) leaveOut(ctx context.Context, op string) error {
	if !m.req.LeaveOut {
		return nil
	}

	rows, err := m.conn.Query(ctx, maintainedSQL, oidsOf(m.tables))
	if err != nil {
		return queryError(op, m.in, "", err)
	}
	held := map[uint32]string{}
	var oid uint32
	var who string

	if _, err := pgx.ForEachRow(rows, []any{&oid, &who}, func() error { held[oid] = who; return nil }); err != nil {
		return queryError(op, m.in, "", err)
	}

	m.tables = slices.DeleteFunc(m.tables, func(t table) bool {
		who, ok := held[t.oid]
		if ok && t.root {
			m.left = append(m.left, t.name+": "+who)
		}

		return ok
	})

	return nil
}

func oidsOf(tables []table) []uint32 {
	oids := make([]uint32, len(tables))
	for i, t := range tables {
		oids[i] = t.oid
	}

	return oids
}
