package stores

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"drctl/targets"
)

// Timeout is the longest that an operation waits for its servers.
const Timeout = 10 * time.Second

// What Setup puts into each row.
const (
	StartBalance = 1_000_000 // of each account
	StartQty     = 1_000_000 // on the shelf of each SKU
)

// ErrNotCommitted: the server answered COMMIT or PREPARE with ROLLBACK.
var ErrNotCommitted = errors.New("the server rolled the transaction back")

// Ready returns the connection at a place, and makes it if it is not there.
func Ready(ctx context.Context, in targets.Instance, at **pgx.Conn) (*pgx.Conn, error) {
	if *at != nil && !(*at).IsClosed() {
		return *at, nil
	}

	conn, err := Connect(ctx, in)
	if err != nil {
		return nil, err
	}
	*at = conn

	return conn, nil
}

// Run sends statements in one round trip and checks the last one's answer.
func Run(ctx context.Context, conn *pgx.Conn, tag, sql string) error {
	res, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return err
	}

	return answered(res[len(res)-1].CommandTag.String(), tag)
}

func answered(got, want string) error {
	if got != want {
		return fmt.Errorf("%w: answered %s, not %s", ErrNotCommitted, got, want)
	}

	return nil
}

// Place is where a record of a commit or a PREPARE lies in a server's log.
type Place struct {
	XID uint32 // of the transaction; 0 for COMMIT PREPARED
	// The record begins at or behind Low and before High; High is 0 if the
	// server did not say.
	Low, High uint64
}

const (
	before = "SELECT pg_current_wal_insert_lsn(), coalesce(pg_current_xact_id_if_assigned()::text, '')"
	after  = "SELECT pg_current_wal_insert_lsn()"
)

// Commit sends COMMIT, PREPARE TRANSACTION or COMMIT PREPARED, and asks before and
// after it how far the log has come, all in one round trip. An error means that the outcome is
// not known, or is ErrNotCommitted. What happens after the answer is no error. Through a pooler nothing is asked
// after it: that is a transaction of its own, which waits where the pooler was paused just then, and whoever asks
// would hold what he has open elsewhere.
func Commit(ctx context.Context, conn *pgx.Conn, tag, sql string, pooled bool) (p Place, err error) {
	line := conn.PgConn().StartPipeline(ctx)
	defer func() {
		// A pipeline that failed closes the connection.
		if cerr := line.Close(); err == nil && cerr != nil {
			p.High = 0
		}
	}()

	asks := []string{before, sql, after}
	if pooled {
		asks = asks[:2]
	}

	for _, q := range asks {
		line.SendQueryParams(q, nil, nil, nil, nil)

		if err := line.Sync(); err != nil {
			return p, err
		}
	}

	row, _, err := answer(line)
	if err != nil {
		return p, err
	}

	if p.Low, err = lsn(row[0]); err != nil {
		return p, err
	}

	if len(row[1]) > 0 {
		xid, err := strconv.ParseUint(string(row[1]), 10, 64)
		if err != nil {
			return p, err
		}
		p.XID = uint32(xid) // the log has no epoch
	}

	_, got, err := answer(line)
	if err == nil {
		err = answered(got, tag)
	}

	if err != nil {
		return p, err
	}

	if pooled {
		return p, nil
	}

	if row, _, err := answer(line); err == nil {
		p.High, _ = lsn(row[0])
	}

	return p, nil
}

// answer is the first row and the tag of the next statement of a pipeline.
func answer(line *pgconn.Pipeline) (row [][]byte, tag string, err error) {
	for {
		got, err := line.GetResults()
		if err != nil {
			return nil, "", err
		}

		switch r := got.(type) {
		case *pgconn.ResultReader:
			out := r.Read()
			if out.Err != nil {
				return nil, "", out.Err
			}

			if len(out.Rows) > 0 {
				row = out.Rows[0]
			}
			tag = out.CommandTag.String()
		case *pgconn.PipelineSync:
			return row, tag, nil
		default:
			return nil, "", errors.New("the server answered nothing")
		}
	}
}

func lsn(text []byte) (uint64, error) {
	high, low, ok := strings.Cut(string(text), "/")
	h, err := strconv.ParseUint(high, 16, 32)
	l, lerr := strconv.ParseUint(low, 16, 32)

	if !ok || err != nil || lerr != nil {
		return 0, fmt.Errorf("%q is no place in a log", text)
	}

	return h<<32 | l, nil
}

// Discard ends what is open on a connection after a failure.
func Discard(ctx context.Context, conn *pgx.Conn) {
	if conn == nil || conn.IsClosed() || conn.PgConn().TxStatus() == 'I' {
		return
	}

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()

	if Run(ctx, conn, "ROLLBACK", "ROLLBACK") != nil {
		_ = conn.Close(ctx)
	}
}

// Text escapes a text for a quoted SQL literal.
func Text(s string) string { return strings.ReplaceAll(s, "'", "''") }

// CartKey names a cart in Redis.
func CartKey(n int) string { return "cart:" + strconv.Itoa(n) }

// Ledger is the other database on the cluster of an instance.
func Ledger(in targets.Instance) targets.Instance {
	in.Database += "_ledger"
	return in
}
