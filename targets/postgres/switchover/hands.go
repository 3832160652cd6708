package switchover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/handover"
	"drctl/targets/postgres/timelines"
)

const (
	// poll is how soon a server is asked again, and by how much later each time: a question takes its time.
	poll     = time.Millisecond
	pollMost = 5 * time.Millisecond
	// The defaults of a request.
	maxLag         = 16 << 20
	maxTransaction = 10 * time.Second
)

// Dial is how the driver reaches servers.
type Dial struct {
	// SQL opens a session with the server itself.
	SQL func(ctx context.Context, op string, in targets.Instance) (*pgx.Conn, error)
	// Log opens a replication session with a server of a version (server_version_num).
	Log func(ctx context.Context, op string, in targets.Instance, version int) (*pgconn.PgConn, error)
	// Explain turns an error of a server into one of ours; grant is the statement
	// that a lacking privilege needs.
	Explain func(op string, in targets.Instance, grant string, err error) error
}

// Options configure the hands.
type Options struct {
	Dial Dial
	// Slot is the archiver's replication slot.
	Slot string
	// Rewind runs pg_rewind with arguments and an environment.
	Rewind func(ctx context.Context, env []string, args ...string) ([]byte, error)
	// Lost reads what an old side has alone.
	Lost func(ctx context.Context, req handover.LossRequest) (handover.Loss, error)
}

// Switcher implements handover.Switcher.
type Switcher struct{ o Options }

// New makes it.
func New(o Options) *Switcher { return &Switcher{o} }

// Switch takes a shard in hand.
func (s *Switcher) Switch(req handover.Request) (handover.Switch, error) {
	const op = "switch"

	switch {
	case req.New.Address == "":
		return nil, fail.Newf(fail.Invalid, op, req.New.Shard.String(), "the new side has no address")
	case req.Old.Shard != req.New.Shard:
		return nil, fail.Newf(fail.Invalid, op, req.New.String(), "the old side is %s", req.Old)
	case req.Old.String() == req.New.String():
		return nil, fail.Newf(fail.Invalid, op, req.New.String(), "both sides are the same")
	}

	req.MaxLag = cmp.Or(req.MaxLag, maxLag)
	req.MaxTransaction = cmp.Or(req.MaxTransaction, maxTransaction)

	return &hands{o: s.o, req: req, old: &side{o: &s.o, in: req.Old}, new: &side{o: &s.o, in: req.New}}, nil
}

// hands are one shard's.
type hands struct {
	o        Options
	req      handover.Request
	old, new *side
	stopped  *handover.Stopped // once it is known
}

// Close ends the connections.
func (h *hands) Close() {
	h.old.close()
	h.new.close()
}

// Release does nothing: the writers that wait are kept by the caller.
func (h *hands) Release(context.Context) error { return nil }

// side is a server and the sessions with it, which are opened once and again when
// they broke.
type side struct {
	o    *Options
	in   targets.Instance
	conn *pgx.Conn
	log  *pgconn.PgConn
}

func (s *side) sql(ctx context.Context, op string) (*pgx.Conn, error) {
	if s.conn != nil && !s.conn.IsClosed() {
		return s.conn, nil
	}

	conn, err := s.o.Dial.SQL(ctx, op, s.in)
	if err == nil {
		s.conn = conn
	}

	return conn, err
}

func (s *side) session(ctx context.Context) (*pgx.Conn, error) { return s.sql(ctx, opPromote) }

// ask reads one row. A session that broke is opened again, once.
func (s *side) ask(ctx context.Context, op, grant, sql string, args []any, into ...any) error {
	for try := 0; ; try++ {
		conn, err := s.sql(ctx, op)
		if err != nil {
			return err
		}

		err = conn.QueryRow(ctx, sql, args...).Scan(into...)
		if err != nil && conn.IsClosed() && try == 0 && ctx.Err() == nil {
			continue
		}

		if err != nil {
			return s.o.Dial.Explain(op, s.in, grant, err)
		}

		return nil
	}
}

// run executes a statement.
func (s *side) run(ctx context.Context, op, grant, sql string, args ...any) error {
	conn, err := s.sql(ctx, op)
	if err != nil {
		return err
	}

	if _, err = conn.Exec(ctx, sql, args...); err != nil {
		return s.o.Dial.Explain(op, s.in, grant, err)
	}

	return nil
}

func (s *side) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()

	if s.conn != nil {
		_ = s.conn.Close(ctx)
	}

	if s.log != nil {
		_ = s.log.Close(ctx)
	}
	s.conn, s.log = nil, nil
}

// seen is what a server says of itself.
type seen struct {
	system  string
	standby bool
	version int
	flushed uint64 // replayed, for a standby
	pid     int    // of the session
}

func (s *side) look(ctx context.Context, op string) (seen, error) {
	var v seen
	var at string

	err := s.ask(ctx, op, s.grant("pg_monitor"), `SELECT (SELECT system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system()), pg_catalog.pg_is_in_recovery(),
		pg_catalog.current_setting('server_version_num')::int, CASE WHEN pg_catalog.pg_is_in_recovery()
		THEN coalesce(pg_catalog.pg_last_wal_replay_lsn(), '0/0') ELSE pg_catalog.pg_current_wal_flush_lsn() END::text, pg_catalog.pg_backend_pid()`, nil,
		&v.system, &v.standby, &v.version, &at, &v.pid)
	if err == nil {
		v.flushed, err = targets.ParseLSN(at)
	}

	return v, err
}

func (s *side) grant(role string) string {
	return "GRANT " + role + " TO " + pgx.Identifier{s.in.User}.Sanitize()
}

// point is where a server's log stands, with the ancestry of its timeline: what it
// has replayed, for a standby.
func (s *side) point(ctx context.Context, op string) (timelines.Point, error) {
	p, _, err := s.stands(ctx, op)
	return p, err
}

// stands is point and look of one moment. A server may be promoted between two
// questions, by a process that was killed after it had told it so: then both are
// asked again.
func (s *side) stands(ctx context.Context, op string) (p timelines.Point, v seen, err error) {
	if v, err = s.look(ctx, op); err != nil {
		return p, v, err
	}

	for {
		if p, err = s.located(ctx, op, v); err != nil {
			return p, v, err
		}
		before := v.standby

		if v, err = s.look(ctx, op); err != nil || v.standby == before {
			return p, v, err
		}
	}
}

// located opens a session for the log that broke again, once.
func (s *side) located(ctx context.Context, op string, v seen) (timelines.Point, error) {
	for try := 0; ; try++ {
		p, err := s.identify(ctx, op, v)
		if err != nil && s.log != nil && s.log.IsClosed() && try == 0 && ctx.Err() == nil {
			s.log = nil
			continue
		}

		return p, err
	}
}

func (s *side) identify(ctx context.Context, op string, v seen) (timelines.Point, error) {
	if s.log == nil || s.log.IsClosed() {
		conn, err := s.o.Dial.Log(ctx, op, s.in, v.version)
		if err != nil {
			return timelines.Point{}, err
		}
		s.log = conn
	}

	id, err := pglogrepl.IdentifySystem(ctx, s.log)
	if err != nil {
		return timelines.Point{}, s.o.Dial.Explain(op, s.in, "", err)
	}
	p := timelines.Point{System: id.SystemID, Timeline: uint32(id.Timeline), Offset: v.flushed}

	if p.Timeline > 1 {
		file, err := pglogrepl.TimelineHistory(ctx, s.log, id.Timeline)
		if err != nil {
			return p, s.o.Dial.Explain(op, s.in, "", err)
		}

		if p.History, err = timelines.Parse(file.Content); err != nil {
			return p, fail.New(fail.Corrupt, op, s.in.String(), "look at the history files in the server's pg_wal", err)
		}
	}

	return p, nil
}

// await asks until yes is true, ever less often.
func await(ctx context.Context, op string, in targets.Instance, what func() string, yes func() (bool, error)) error {
	for wait := poll; ; wait = min(wait+poll, pollMost) {
		ok, err := yes()
		if err == nil && ok {
			return nil
		}

		if err != nil && ctx.Err() == nil {
			return err
		}

		select {
		case <-ctx.Done():
			return fail.New(fail.Stalled, op, in.String(), "", fmt.Errorf("%s: %w", what(), context.Cause(ctx)))
		case <-time.After(wait):
		}
	}
}

// replayed waits until a standby has replayed up to a place.
func (s *side) replayed(ctx context.Context, op string, to uint64) (at uint64, err error) {
	err = await(ctx, op, s.in, func() string {
		return fmt.Sprintf("it has replayed up to %s, and is to come to %s", targets.FormatLSN(at), targets.FormatLSN(to))
	}, func() (bool, error) {
		var text string
		if err := s.ask(ctx, op, "", "SELECT coalesce(pg_catalog.pg_last_wal_replay_lsn(), '0/0')::text", nil, &text); err != nil {
			return false, err
		}

		at, err = targets.ParseLSN(text)

		return at >= to, err
	})

	return at, err
}

func position(p timelines.Point) targets.Position {
	return targets.Position{Kind: targets.Postgres, Timeline: targets.PostgresTimeline(p.System, p.Timeline), Offset: p.Offset}
}

// Standby opens a session with a standby: where it stands, and what asks it again
// how far it has replayed. Conflict when it is none.
func (s *Switcher) Standby(ctx context.Context, op string, in targets.Instance) (at timelines.Point, replayed func(context.Context) (uint64, error), done func(), err error) {
	one := &side{o: &s.o, in: in}

	at, v, err := one.stands(ctx, op)
	if err == nil && !v.standby {
		err = fail.New(fail.Conflict, op, in.String(), "see drctl status for who is the primary", errors.New("it is no standby"))
	}

	if err != nil {
		one.close()
		return at, nil, nil, err
	}

	return at, func(ctx context.Context) (uint64, error) {
		v, err := one.look(ctx, op)
		return v.flushed, err
	}, one.close, nil
}
