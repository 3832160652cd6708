package deadlock

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// lookEvery is how often it is looked. Each look holds up for microseconds whoever locks something.
	lookEvery = 5 * time.Millisecond
	// answerWithin is how long a look may take. Past it the session is given up.
	answerWithin = time.Second
	// name of the prepared statement.
	name = "drctl_deadlock"
)

// circleSQL ends the statement of a session that waits for a table, if somebody whom it waits for
// waits for it, and names the table and those that it is a part of.
const circleSQL = `
WITH RECURSIVE waits AS MATERIALIZED (
  SELECT relation AS oid FROM pg_catalog.pg_locks
  WHERE pid = $1 AND NOT granted AND locktype = 'relation'
    AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  LIMIT 1
), blockers(pid) AS (
  SELECT unnest(pg_catalog.pg_blocking_pids($1))
  UNION SELECT unnest(pg_catalog.pg_blocking_pids(b.pid)) FROM blockers b
), family(oid) AS (
  SELECT oid FROM waits
  UNION SELECT i.inhparent FROM pg_catalog.pg_inherits i JOIN family f ON f.oid = i.inhrelid
), names AS MATERIALIZED (
  SELECT array_agg(quote_ident(n.nspname) || '.' || quote_ident(c.relname)) AS names
  FROM family f JOIN pg_catalog.pg_class c ON c.oid = f.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
)
SELECT names, pg_catalog.pg_cancel_backend($1) FROM names
WHERE names IS NOT NULL AND EXISTS (SELECT FROM blockers WHERE pid = $1)`

// Lookout looks at one session from another one. It is not safe for concurrent use.
type Lookout struct {
	conn *pgx.Conn
	pid  int32 // who is looked at
}

// New makes a lookout that looks from a session of the same role, which it owns from then on, at the
// one with that process.
func New(ctx context.Context, conn *pgx.Conn, pid uint32) (*Lookout, error) {
	if _, err := conn.Prepare(ctx, name, circleSQL); err != nil {
		return nil, err
	}

	return &Lookout{conn: conn, pid: int32(pid)}, nil
}

// Found is a deadlock.
type Found struct {
	// Tables are what the session waited for, and those that it is a part of: quoted, with their schemas.
	Tables []string
}

// Watch looks until stop is called. When the session is in a deadlock, its statement is ended; the
// server says then that it was cancelled. Stop waits for a look that is under way, so that nothing that
// the session does later is ended, and returns what was found, or nil. A lookout whose session broke
// finds nothing.
func (l *Lookout) Watch() (stop func() *Found) {
	var (
		found *Found
		done  sync.WaitGroup
	)
	quit := make(chan struct{})

	done.Go(func() {
		t := time.NewTicker(lookEvery)
		defer t.Stop()

		for found == nil && !l.conn.IsClosed() {
			select {
			case <-quit:
				return
			case <-t.C:
				found = l.look()
			}
		}
	})

	return sync.OnceValue(func() *Found {
		close(quit)
		done.Wait()

		return found
	})
}

func (l *Lookout) look() *Found {
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()

	var (
		f     Found
		ended bool
	)

	if err := l.conn.QueryRow(ctx, name, l.pid).Scan(&f.Tables, &ended); err != nil || !ended {
		return nil // no row: it does not wait, or whom it waits for will let go
	}

	return &f
}

// Close drops the session without waiting for the server.
func (l *Lookout) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_ = l.conn.Close(ctx)
}
