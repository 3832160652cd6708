package ending

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/handover"
	"drctl/targets/postgres/indoubt"
	"drctl/targets/postgres/switchover"
)

const opEnd = "prepared transactions"

// Ender implements handover.Ender.
type Ender struct{ Dial switchover.Dial }

var _ handover.Ender = Ender{}

// Doubts implements handover.Ender.
func (s Ender) Doubts(ctx context.Context, in targets.Instance) (out []handover.Doubt, err error) {
	conn, err := s.Dial.SQL(ctx, opEnd, in)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))

	all, err := indoubt.List(ctx, conn, nil)
	if err != nil {
		return nil, s.Dial.Explain(opEnd, in, "", err)
	}

	for _, t := range all {
		out = append(out, handover.Doubt{GID: t.GID, Since: t.Prepared, Text: t.String()})
	}

	return out, nil
}

// End implements handover.Ender.
func (s Ender) End(ctx context.Context, in targets.Instance, list []targets.InDoubt) ([]targets.Finding, error) {
	open := func(ctx context.Context, database string) (*pgx.Conn, error) {
		to := in
		if database != "" {
			to.Database = database
		}

		return s.Dial.SQL(ctx, opEnd, to)
	}

	out, err := indoubt.Resolve(ctx, indoubt.Server{Subject: in.String(), Open: open}, indoubt.Want{List: list})

	return out, s.Dial.Explain(opEnd, in, "", err)
}

// Now implements handover.Ender.
func (s Ender) Now(ctx context.Context, in targets.Instance) (at targets.Position, err error) {
	conn, err := s.sender(ctx, in)
	if err != nil {
		return at, err
	}
	defer conn.Close(context.WithoutCancel(ctx))

	id, err := pglogrepl.IdentifySystem(ctx, conn)
	if err != nil {
		return at, s.Dial.Explain(opEnd, in, "", err)
	}

	return targets.Position{Kind: targets.Postgres, Timeline: targets.PostgresTimeline(id.SystemID, uint32(id.Timeline)), Offset: uint64(id.XLogPos)}, nil
}

// sender opens a session for the log.
func (s Ender) sender(ctx context.Context, in targets.Instance) (*pgconn.PgConn, error) {
	version, err := s.version(ctx, in)
	if err != nil {
		return nil, err
	}

	return s.Dial.Log(ctx, opEnd, in, version)
}

// Log implements handover.Ender. It needs no slot: what the server has already is asked for.
func (s Ender) Log(ctx context.Context, in targets.Instance, part targets.Span) (io.ReadCloser, error) {
	_, tli, err := targets.ParsePostgresTimeline(part.Timeline)
	if err != nil {
		return nil, fail.New(fail.Invalid, opEnd, in.String(), "", err)
	}

	conn, err := s.sender(ctx, in)
	if err != nil {
		return nil, err
	}
	r := &sent{ctx: ctx, conn: conn, at: part.From, to: part.To, explain: func(err error) error { return s.Dial.Explain(opEnd, in, "", err) }}

	conn.Frontend().SendQuery(&pgproto3.Query{String: fmt.Sprintf("START_REPLICATION PHYSICAL %s TIMELINE %d", pglogrepl.LSN(part.From), tli)})

	if err := conn.Frontend().Flush(); err != nil {
		return nil, errors.Join(r.explain(err), r.Close())
	}

	return r, nil
}

func (s Ender) version(ctx context.Context, in targets.Instance) (v int, err error) {
	conn, err := s.Dial.SQL(ctx, opEnd, in)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))

	err = conn.QueryRow(ctx, "SELECT pg_catalog.current_setting('server_version_num')::int").Scan(&v)

	return v, s.Dial.Explain(opEnd, in, "", err)
}

// sent is log that a server sends.
type sent struct {
	ctx      context.Context
	conn     *pgconn.PgConn
	explain  func(error) error
	at, to   uint64
	rest     []byte
	finished bool
}

// Read implements io.Reader.
func (r *sent) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.at >= r.to || r.finished {
			return 0, io.EOF
		}

		if err := r.receive(); err != nil {
			return 0, err
		}
	}

	n := copy(p, r.rest)
	r.rest = r.rest[n:]

	return n, nil
}

// receive takes one message.
func (r *sent) receive() error {
	msg, err := r.conn.ReceiveMessage(r.ctx)
	if err != nil {
		return r.explain(err)
	}

	switch m := msg.(type) {
	case *pgproto3.ErrorResponse:
		return r.explain(pgconn.ErrorResponseToPgError(m))
	case *pgproto3.CopyDone, *pgproto3.CommandComplete, *pgproto3.ReadyForQuery:
		r.finished = true // the timeline ends here
	case *pgproto3.CopyData:
		if len(m.Data) == 0 || m.Data[0] != pglogrepl.XLogDataByteID {
			return nil
		}

		x, err := pglogrepl.ParseXLogData(m.Data[1:])
		if err != nil || uint64(x.WALStart) != r.at {
			return fail.New(fail.Corrupt, opEnd, "", "", errors.Join(err, fmt.Errorf("the server sent %s where %s was to come", x.WALStart, pglogrepl.LSN(r.at))))
		}
		r.rest = append([]byte(nil), x.WALData[:min(uint64(len(x.WALData)), r.to-r.at)]...)
		r.at += uint64(len(r.rest))
	}

	return nil
}

// Close ends the session.
func (r *sent) Close() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), 200*time.Millisecond)
	defer cancel()

	_ = r.conn.Close(ctx) // one that was broken off has nothing more to say

	return nil
}
