package indoubt

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/targets"
)

// Transaction is one that is prepared in a server.
type Transaction struct {
	GID      targets.GID
	Database string
	Prepared time.Time // by the clock of the server that prepared it
	// Writes says that it holds locks of writers on one of the tables asked for.
	Writes bool
}

// String names it, safe to print.
func (t Transaction) String() string { return fmt.Sprintf("%q in database %q", t.GID, t.Database) }

// listSQL lists what is prepared in the whole cluster.
const listSQL = `
SELECT p.gid, coalesce(p.database::text, ''), p.prepared, EXISTS (SELECT 1 FROM pg_catalog.pg_locks x
  JOIN pg_catalog.pg_locks l ON l.virtualtransaction = x.virtualtransaction AND l.pid IS NULL
  WHERE x.pid IS NULL AND x.locktype = 'transactionid' AND x.mode = 'ExclusiveLock' AND x.transactionid = p.transaction
    AND p.database = current_database() AND l.locktype = 'relation' AND l.relation = ANY($1::oid[])
    AND l.mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))
FROM pg_catalog.pg_prepared_xacts p ORDER BY p.prepared`

// List asks for all that are prepared, and which of them write to the tables of the
// session's database. The error is the server's own.
func List(ctx context.Context, conn *pgx.Conn, tables []uint32) (all []Transaction, err error) {
	// A gid is in the encoding of its database, whichever that is: no conversion
	// must touch it.
	if _, err := conn.Exec(ctx, "SET client_encoding = 'SQL_ASCII'"); err != nil {
		return nil, err
	}

	rows, err := conn.Query(ctx, listSQL, tables)
	if err != nil {
		return nil, err
	}

	all, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (t Transaction, err error) {
		err = r.Scan((*string)(&t.GID), &t.Database, &t.Prepared, &t.Writes)
		return t, err
	})
	if err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, "RESET client_encoding")

	return all, err
}

// literal writes a gid in ASCII alone, so that it is the same bytes whatever the
// session's and the database's encodings are.
func literal(g targets.GID) string {
	var b strings.Builder
	b.WriteString("E'")

	for _, c := range []byte(g) {
		switch {
		case c == '\'':
			b.WriteString("''")
		case c == '\\':
			b.WriteString(`\\`)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}

	b.WriteByte('\'')

	return b.String()
}
