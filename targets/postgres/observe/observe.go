package observe

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"drctl/internal/fail"
	"drctl/internal/proof/clock"
	"drctl/targets/postgres/stretch"
	"drctl/targets/postgres/wal"
)

const (
	opObserve = "observe"
	// burst is how often a server is asked for one observation: the first answer
	// after a pause is often the slowest.
	burst = 3
	// question is one statement, so that it is one round trip.
	question = `SELECT pg_catalog.clock_timestamp(), pg_catalog.pg_current_wal_flush_lsn(), pg_catalog.pg_current_wal_insert_lsn(),
		pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn())`
)

// Observer is one start of an observer. It is safe for concurrent use.
type Observer struct {
	name  string
	epoch time.Time
}

// New starts an observer.
func New() *Observer { return &Observer{name: rand.Text(), epoch: time.Now()} }

// Name tells this observer from all others.
func (o *Observer) Name() string { return o.name }

// Now is the instant by the observer's monotonic clock.
func (o *Observer) Now() clock.Instant { return clock.Instant(time.Since(o.epoch)) }

// Sample asks a server three times and keeps the answer whose instant is known
// best. Each is one round trip. The session must be the server's own and not in the middle of
// a failed transaction. A server that is not a primary is a conflict, one that does
// not answer before the context ends stalled or unavailable.
func (o *Observer) Sample(ctx context.Context, conn *pgx.Conn) (stretch.Observation, error) {
	var (
		seen    [burst]stretch.Observation
		samples [burst]clock.Sample
	)

	for i := range seen {
		one, err := o.ask(ctx, conn.PgConn())
		if err != nil {
			return stretch.Observation{}, err
		}
		seen[i], samples[i] = one, one.Sample
	}

	best, _ := clock.Best(samples[:])
	for _, one := range seen {
		if one.Sample == best {
			return one, nil
		}
	}

	return stretch.Observation{}, fail.Newf(fail.Internal, opObserve, "", "the best of %d samples is none of them", burst)
}

// ask makes one round trip. The answer is in the server's own form: its text
// would round nothing, but depends on settings of the session.
func (o *Observer) ask(ctx context.Context, conn *pgconn.PgConn) (stretch.Observation, error) {
	var s stretch.Observation

	s.T0 = o.Now()
	res := conn.ExecParams(ctx, question, nil, nil, nil, []int16{pgx.BinaryFormatCode}).Read()
	s.T1 = o.Now()
	s.Wall = clock.Stamp(time.Now().UnixNano())

	if res.Err != nil {
		return s, unanswered(res.Err)
	}

	if err := decode(&s, res.Rows); err != nil {
		return s, fail.New(fail.Internal, opObserve, "", "", err)
	}

	return s, nil
}

// decode reads the only row of an answer.
func decode(s *stretch.Observation, rows [][][]byte) error {
	if len(rows) != 1 || len(rows[0]) != 4 || len(rows[0][0]) != 8 || len(rows[0][1]) != 8 || len(rows[0][2]) != 8 || len(rows[0][3]) != 24 {
		return fmt.Errorf("an answer of %d rows that is not one", len(rows))
	}
	row := rows[0]

	s.Stamp = clock.PostgresStamp(int64(binary.BigEndian.Uint64(row[0])))
	s.Flush = wal.LSN(binary.BigEndian.Uint64(row[1]))
	s.Insert = wal.LSN(binary.BigEndian.Uint64(row[2]))

	// The name of a segment begins with its timeline.
	timeline, err := strconv.ParseUint(string(row[3][:8]), 16, 32)
	s.Timeline = uint32(timeline)

	return err
}

// unanswered says why there is no answer.
func unanswered(err error) error {
	var refused *pgconn.PgError

	switch {
	case errors.As(err, &refused) && refused.Code == "55000": // it has no log of its own
		return fail.New(fail.Conflict, opObserve, "", "the server is in recovery; observe the primary", errors.New(refused.Message))
	case errors.As(err, &refused):
		return fail.New(fail.Unavailable, opObserve, "", "", fmt.Errorf("%s (SQLSTATE %s)", refused.Message, refused.Code))
	case errors.Is(err, context.DeadlineExceeded):
		return fail.New(fail.Stalled, opObserve, "", "the server did not answer in time; look at its load", err)
	}

	return fail.New(fail.Unavailable, opObserve, "", "the connection broke; check the server and its log", err)
}
