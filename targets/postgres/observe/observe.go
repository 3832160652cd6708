package observe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"drctl/internal/fail"
	"drctl/internal/observation"
	"drctl/internal/proof/clock"
	"drctl/targets"
)

const (
	opObserve = "observe"
	// burst is how often a server is asked for one observation: the first answer
	// after a pause is often the slowest.
	burst = 3
	// question is one statement, so that it is one round trip.
	question = `SELECT pg_catalog.clock_timestamp(), pg_catalog.pg_current_wal_flush_lsn(), pg_catalog.pg_current_wal_insert_lsn(),
		pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn())`
	// identity names the cluster and this run of its server.
	identity = `SELECT system_identifier::pg_catalog.text, pg_catalog.pg_postmaster_start_time() FROM pg_catalog.pg_control_system()`
	// limit bounds every answer, on the server's side.
	limit = `SET statement_timeout = '5s'`
	// closing is how long a server may take to hear of the end of a session.
	closing = 200 * time.Millisecond
)

// Session asks one server over one connection. It implements observation.Session.
type Session struct {
	conn    *pgx.Conn
	subject string // names the instance in errors
	system  string
	server  string
}

// Open begins to ask a server over a connection, which has to be the server's own
// and which the session closes from then on. After an error it is still the
// caller's; the error is as the server gave it.
func Open(ctx context.Context, conn *pgx.Conn, subject string) (*Session, error) {
	s := &Session{conn: conn, subject: subject}

	if _, err := conn.Exec(ctx, limit); err != nil {
		return nil, err
	}

	var started time.Time
	if err := conn.QueryRow(ctx, identity).Scan(&s.system, &started); err != nil {
		return nil, err
	}
	s.server = s.system + " since " + started.UTC().Format(time.RFC3339Nano)

	return s, nil
}

// Server names the cluster and when its server was started.
func (s *Session) Server() string { return s.server }

// Close ends the connection. It may be repeated.
func (s *Session) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	_ = s.conn.Close(ctx)
}

// Observe asks the server three times and keeps the answer whose instant is known
// best. Each is one round trip. A server that is not a primary is a conflict, one that does
// not answer before the context ends stalled or unavailable.
func (s *Session) Observe(ctx context.Context, by *observation.Observer) (observation.Observation, error) {
	var best observation.Observation

	for i := range burst {
		one, err := s.ask(ctx, by)
		if err != nil {
			return observation.Observation{}, err
		}

		if i == 0 || one.T1-one.T0 < best.T1-best.T0 {
			best = one
		}
	}

	return best, nil
}

// ask makes one round trip. The answer is in the server's own form: its text
// would round nothing, but depends on settings of the session.
func (s *Session) ask(ctx context.Context, by *observation.Observer) (observation.Observation, error) {
	var o observation.Observation

	o.T0 = by.Now()
	res := s.conn.PgConn().ExecParams(ctx, question, nil, nil, nil, []int16{pgx.BinaryFormatCode}).Read()

	now := time.Now() // one reading for both: nothing comes between
	o.T1, o.Wall = by.At(now), clock.Stamp(now.UnixNano())

	if res.Err != nil {
		return o, s.unanswered(res.Err)
	}

	if err := s.decode(&o, res.Rows); err != nil {
		return o, fail.New(fail.Internal, opObserve, s.subject, "", err)
	}

	return o, nil
}

// decode reads the only row of an answer.
func (s *Session) decode(o *observation.Observation, rows [][][]byte) error {
	if len(rows) != 1 || len(rows[0]) != 4 || len(rows[0][0]) != 8 || len(rows[0][1]) != 8 || len(rows[0][2]) != 8 || len(rows[0][3]) != 24 {
		return fmt.Errorf("an answer of %d rows that is not one", len(rows))
	}
	row := rows[0]

	o.Stamp = clock.PostgresStamp(int64(binary.BigEndian.Uint64(row[0])))
	o.Flushed = binary.BigEndian.Uint64(row[1])
	o.Inserted = binary.BigEndian.Uint64(row[2])

	// The name of a segment begins with its timeline.
	timeline, err := strconv.ParseUint(string(row[3][:8]), 16, 32)
	o.Timeline = targets.PostgresTimeline(s.system, uint32(timeline))

	return err
}

// unanswered says why there is no answer.
func (s *Session) unanswered(err error) error {
	var refused *pgconn.PgError

	switch {
	case errors.As(err, &refused) && refused.Code == "55000": // it has no log of its own
		return fail.New(fail.Conflict, opObserve, s.subject, "the server is in recovery; observe the primary", errors.New(refused.Message))
	case errors.As(err, &refused):
		return fail.New(fail.Unavailable, opObserve, s.subject, "", fmt.Errorf("%s (SQLSTATE %s)", refused.Message, refused.Code))
	case errors.Is(err, context.DeadlineExceeded):
		return fail.New(fail.Stalled, opObserve, s.subject, "the server did not answer in time; look at its load", err)
	}

	return fail.New(fail.Unavailable, opObserve, s.subject, "the connection broke; check the server and its log", err)
}
