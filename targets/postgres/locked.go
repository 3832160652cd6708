package postgres

import (
	"context"
	"fmt"
	"time"

	"drctl/targets"
)

// far is from how long a round trip on it is said that the server is far.
const far = 5 * time.Millisecond

// notLockedSQL counts the tables that are not above or below one that is locked, and lists the other
// databases of the server.
const notLockedSQL = `SELECT current_database()::text,
  (SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND c.oid <> ALL ($1::oid[]) AND NOT c.relispartition
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')),
  coalesce((SELECT array_agg(d.datname::text) FROM (SELECT datname FROM pg_catalog.pg_database
    WHERE datallowconn AND NOT datistemplate AND datname <> current_database() ORDER BY datname LIMIT $2) d), '{}')`

// whatLocks notes what the barrier will lock, and what not.
func (m *member) whatLocks(ctx context.Context, op string) error {
	l := &m.what
	l.Tables, l.SHA256 = len(m.names), targets.HashNames(m.names)

	if err := m.conn.QueryRow(ctx, notLockedSQL, oidsOf(m.tables), targets.MaxDatabases).Scan(&l.Database, &l.Others, &l.Databases); err != nil {
		return queryError(op, m.in, "", err)
	}

	return nil
}

// Locked implements targets.Locker.
func (m *member) Locked() targets.LockedTables { return m.what }

// Warnings say which tables were written while the position was named, and that the server is far.
func (m *member) Warnings() (all []string) {
	if len(m.left) > 0 {
		all = append(all, "the writers of these tables were not stopped, because maintenance held them: "+listed(m.left))
	}

	if len(m.in.Tables) > 0 && m.what.Others > 0 {
		all = append(all, fmt.Sprintf("the writers of %d tables were not stopped, because the target does not list them", m.what.Others))
	}

	if m.what.RoundTrip > far {
		all = append(all, fmt.Sprintf("it is far: a round trip takes %s, and the writers of all shards wait for at least two of them", m.what.RoundTrip.Round(time.Millisecond)))
	}

	return all
}
