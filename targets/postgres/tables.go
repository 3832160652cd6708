package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
	"drctl/targets"
)

// table is one relation that a barrier stops writers of.
type table struct {
	oid    uint32
	name   string // quoted and schema-qualified
	schema string // quoted
	// root: no parent of it is among the tables. Locking a parent locks its
	// partitions and children, also those that were made since.
	root      bool
	mayLock   bool // LOCK TABLE is allowed
	maySchema bool // the schema may be used
}

// quiesceTables resolves the instance's tables, with the partitions and
// children of each, in a fixed order.
func quiesceTables(ctx context.Context, op string, in targets.Instance, conn *pgx.Conn, version int) ([]table, error) {
	want := `SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND n.nspname NOT LIKE 'pg\_temp\_%' AND n.nspname NOT LIKE 'pg\_toast\_temp\_%'`

	args := []any{lockPrivileges(version)}
	if len(in.Tables) > 0 {
		missing, err := missingTables(ctx, conn, in.Tables)
		if err != nil {
			return nil, queryError(op, in, "", err)
		}

		if len(missing) > 0 {
			return nil, fail.New(fail.NotFound, op, in.String(), "correct the tables of the target in the configuration",
				fmt.Errorf("no such table in database %s: %s", in.Database, strings.Join(missing, ", ")))
		}
		want = `SELECT to_regclass(t)::oid FROM unnest($2::text[]) t
UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN want w ON w.oid = i.inhparent`
		args = append(args, in.Tables)
	}

	rows, err := conn.Query(ctx, `WITH RECURSIVE want(oid) AS (`+want+`)
SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname), quote_ident(n.nspname),
  NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i JOIN want w ON w.oid = i.inhparent JOIN pg_catalog.pg_class p ON p.oid = w.oid
    WHERE i.inhrelid = c.oid AND p.relkind IN ('r', 'p') AND p.relpersistence <> 't'),
  has_table_privilege(c.oid, $1), has_schema_privilege(n.oid, 'USAGE')
FROM want JOIN pg_catalog.pg_class c ON c.oid = want.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'`, args...)
	if err != nil {
		return nil, queryError(op, in, "", err)
	}

	tables, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (t table, err error) {
		err = r.Scan(&t.oid, &t.name, &t.schema, &t.root, &t.mayLock, &t.maySchema)
		return t, err
	})
	if err != nil {
		return nil, queryError(op, in, "", err)
	}

	slices.SortFunc(tables, func(a, b table) int { return strings.Compare(a.name, b.name) })

	return tables, nil
}

// lockPrivileges are the privileges of which LOCK TABLE ... IN SHARE MODE needs
// any one.
func lockPrivileges(version int) string {
	if version >= 170000 {
		return "MAINTAIN, UPDATE, DELETE, TRUNCATE"
	}

	return "UPDATE, DELETE, TRUNCATE"
}

// roots are the tables that a barrier names: the server locks what is below them,
// and asks for no privilege there.
func roots(tables []table) []table {
	return slices.DeleteFunc(slices.Clone(tables), func(t table) bool { return !t.root })
}

// maxGrants bounds the tables that one error names.
const maxGrants = 20

// lockGrants are the statements without which the user may not lock the tables.
func lockGrants(tables []table, user string, version int) (grants []string) {
	var schemas, names []string
	for _, t := range tables {
		if !t.maySchema && !slices.Contains(schemas, t.schema) {
			schemas = append(schemas, t.schema)
		}

		if !t.mayLock {
			names = append(names, t.name)
		}
	}

	if len(schemas) > 0 {
		grants = append(grants, "GRANT USAGE ON SCHEMA "+strings.Join(schemas, ", ")+" TO "+user)
	}

	if n := len(names); n > 0 {
		right := "UPDATE"
		if version >= 170000 {
			right = "MAINTAIN"
		}

		more := ""
		if n > maxGrants {
			names, more = names[:maxGrants], fmt.Sprintf(" (and on %d more tables)", n-maxGrants)
		}
		grants = append(grants, "GRANT "+right+" ON "+strings.Join(names, ", ")+" TO "+user+more)
	}

	return grants
}

func missingTables(ctx context.Context, conn *pgx.Conn, names []string) ([]string, error) {
	rows, err := conn.Query(ctx, `SELECT t FROM unnest($1::text[]) t LEFT JOIN pg_catalog.pg_class c ON c.oid = to_regclass(t)
WHERE c.oid IS NULL OR c.relkind NOT IN ('r', 'p')`, names)
	if err != nil {
		return nil, err
	}

	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// refuse looks for whoever would make the lock wait longer than the budget.
func (m *member) refuse(ctx context.Context) error {
	rows, err := m.conn.Query(ctx, blockersSQL, oidsOf(m.tables), m.req.Budget.Seconds())
	if err != nil {
		return queryError("cut: join", m.in, "", err)
	}
	defer rows.Close()

	if rows.Next() { // the first one is reason enough
		var kind, who, what, rel, mode string
		if err := rows.Scan(&kind, &who, &what, &rel, &mode); err != nil {
			return queryError("cut: join", m.in, "", err)
		}

		var hint string
		switch kind {
		case "prepared":
			hint = "commit or roll back the prepared transaction named, and have the transaction manager watched"
		case "maintenance":
			hint = "wait for it to end, or plan VACUUM, index builds and schema changes away from the cuts"
		default:
			hint = "wait for it, shorten it, or end it with pg_terminate_backend"
		}

		return fail.New(fail.Stalled, "cut: join", m.in.String(), hint, fmt.Errorf("%s holds %s on %s: %s", who, mode, rel, what))
	}

	return queryError("cut: join", m.in, "", rows.Err())
}

// blockersSQL lists holders of locks that conflict with SHARE: transactions
// and prepared transactions older than the budget, and vacuum or schema
// changes of any age, because their end cannot be foreseen. The text of a
// statement is other people's data: of it only the command's name is told.
const blockersSQL = `
WITH held AS (
  SELECT l.pid, l.virtualtransaction AS vxid, l.mode, l.relation::regclass::text AS rel
  FROM pg_catalog.pg_locks l
  WHERE l.locktype = 'relation' AND (l.granted OR l.mode <> 'RowExclusiveLock') AND l.relation = ANY($1::oid[])
    AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    AND l.mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))
SELECT 'prepared', format('prepared transaction %L of %s', p.gid, p.owner),
  format('prepared %s s ago', round(extract(epoch FROM clock_timestamp() - p.prepared)::numeric, 1)), h.rel, h.mode
FROM held h
JOIN pg_catalog.pg_locks x ON x.virtualtransaction = h.vxid AND x.pid IS NULL AND x.locktype = 'transactionid' AND x.mode = 'ExclusiveLock'
JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = x.transactionid
WHERE h.pid IS NULL AND clock_timestamp() - p.prepared > make_interval(secs => $2)
UNION ALL
SELECT CASE WHEN h.mode = 'RowExclusiveLock' THEN 'transaction' ELSE 'maintenance' END,
  format('pid %s (%s) of user %s', h.pid, coalesce(nullif(a.application_name, ''), a.backend_type, 'unknown'), coalesce(a.usename, 'unknown')),
  format('transaction is %s s old, %s since %s s; last command %s, query id %s',
    coalesce(round(extract(epoch FROM clock_timestamp() - a.xact_start)::numeric, 1)::text, '?'), coalesce(a.state, 'running'),
    coalesce(round(extract(epoch FROM clock_timestamp() - a.state_change)::numeric, 1)::text, '?'),
    coalesce(substring(upper(a.query) FROM '^\s*(SELECT|INSERT|UPDATE|DELETE|MERGE|WITH|COPY|TRUNCATE|LOCK|VACUUM|ANALYZE|REINDEX|CLUSTER|REFRESH|CREATE|ALTER|DROP|BEGIN|START|SAVEPOINT|FETCH|EXECUTE|CALL|DO)\M'), 'unknown'),
    coalesce(to_jsonb(a)->>'query_id', 'unknown')), h.rel, h.mode
FROM held h JOIN pg_catalog.pg_stat_activity a ON a.pid = h.pid
WHERE h.pid <> pg_catalog.pg_backend_pid()
  AND (h.mode <> 'RowExclusiveLock' OR clock_timestamp() - a.xact_start > make_interval(secs => $2))
LIMIT 1`
