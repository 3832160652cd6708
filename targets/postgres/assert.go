package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"drctl/internal/servers"
	"drctl/targets"
	"drctl/targets/assert"
)

// assertTimeout bounds one configured query on the server.
const assertTimeout = 5 * time.Minute

// assertions runs the configured queries, each alone in a read-only
// transaction, in a session with the database's own search path.
func (v *verification) assertions(ctx context.Context) error {
	if len(v.want.Assertions) == 0 {
		return nil
	}

	conn, err := v.session(ctx, true)
	if err != nil {
		return err
	}
	defer closeConn(conn)

	if v.in.Role == targets.Sandbox {
		if _, err := conn.Exec(ctx, servers.RefuseForeignTables); err != nil {
			return queryError(opVerify, v.in, "", err)
		}
	}

	for _, a := range v.want.Assertions {
		start := time.Now()
		sum := sha256.Sum256([]byte(a.Query))
		f := targets.Finding{Check: "assertion " + a.Name, Subject: v.in.String(), Expected: a.Want, Query: hex.EncodeToString(sum[:])}

		got, err := ask(ctx, conn.PgConn(), a.Query)
		switch {
		case err != nil && (conn.IsClosed() || ctx.Err() != nil):
			return queryError(opVerify, v.in, "", err)
		case err != nil:
			f.Severity, f.Got, f.Detail = targets.Failed, "an error", queryError(opVerify, v.in, "", err).Error()
			if strings.Contains(f.Detail, "foreign table is restricted") {
				f.Detail = "the query reads another server through a foreign table, and so says nothing of what was restored"
			}
		default:
			f.Got, f.Severity = got, targets.Failed

			ok, why := assert.Meets(a.Want, got)
			if f.Detail = why; ok {
				f.Severity = targets.Passed
			}
		}
		f.Took = time.Since(start)
		v.out = append(v.out, f)
	}

	return nil
}

// ask returns the first column of the first row as text. The extended
// protocol admits one statement only, so a query cannot leave its transaction
// and go on.
func ask(ctx context.Context, pg *pgconn.PgConn, query string) (string, error) {
	begin := fmt.Sprintf("BEGIN READ ONLY; SET LOCAL statement_timeout = %d", assertTimeout.Milliseconds())
	if _, err := pg.Exec(ctx, begin).ReadAll(); err != nil {
		return "", err
	}

	got, err := firstValue(pg.ExecParams(ctx, query, nil, nil, nil, nil))
	if !pg.IsClosed() {
		if _, rerr := pg.Exec(ctx, "ROLLBACK").ReadAll(); err == nil {
			err = rerr
		}
	}

	return got, err
}

func firstValue(r *pgconn.ResultReader) (string, error) {
	got, rows := "", 0
	for r.NextRow() {
		if rows++; rows == 1 && len(r.Values()) > 0 {
			got = assert.Null
			if b := r.Values()[0]; b != nil {
				got = string(b)
			}
		}
	}

	if _, err := r.Close(); err != nil {
		return "", err
	}

	if rows == 0 {
		return "", fmt.Errorf("the query returned no row")
	}

	return got, nil
}
