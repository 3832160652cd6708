package postgres

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"drctl/internal/fail"
	"drctl/targets"
)

const (
	// headLimit is how much of the tar stream is looked at for the backup label,
	// which is its first member.
	headLimit = 64 << 10
	// tarEnd ends an archive: two empty blocks.
	tarEnd = 1024
)

// wire lets the server send the base as one tar stream.
func (b *baseRun) wire(ctx context.Context) error {
	spaces, err := readSpaces(ctx, opBase, b.in, b.conn)
	if err != nil {
		return err
	}

	if len(spaces) > 0 {
		return fail.New(fail.Unsupported, opBase, b.in.String(), "set data_dir of the instance and run the worker where it can be read",
			fmt.Errorf("the server has %d tablespaces outside its data directory, which cannot be sent in one stream", len(spaces)))
	}

	conn, err := walsender(ctx, opBase, b.in, b.srv.version)
	if err != nil {
		return err
	}

	src := newWireBase(ctx, conn, b.in, b.srv.version)
	defer src.close()

	b.req.Progress.Report("checkpoint", 0, 0)

	if err := src.start(b.req.ID); err != nil {
		return err
	}

	saved, err := b.to.SaveStream(ctx, wireName, src, b.req.Progress)
	if v := src.verdict.Load(); v != nil && *v != io.EOF {
		return *v
	}

	if err != nil {
		return err
	}
	b.a.Snapshot, b.a.Path, b.a.Bytes, b.a.BytesAdded = saved.Snapshot, saved.Path, saved.Bytes, saved.BytesAdded
	b.leftOut(ctx, src.skipped.other)

	if err := b.sameServer(ctx); err != nil {
		return err
	}

	l, err := src.label()
	if err != nil {
		return fail.New(fail.Internal, opBase, b.in.String(), "", err)
	}

	return b.positions(l, src.end)
}

// wireBase is a base that the server sends, as a reader of its tar stream. It
// ends with io.EOF only when the server has reported success and left nothing of
// the database out.
//
// It speaks BASE_BACKUP itself, for two reasons. pg_basebackup without the log
// waits until the server's own archive has it: for ever, when that is broken. And
// it tells only in the server's language what the server left out.
type wireBase struct {
	ctx     context.Context //nolint:containedctx // lives as long as the call
	in      targets.Instance
	version int
	conn    *pgconn.PgConn
	wake    func() bool

	rest      []byte // of the message at hand; valid until the next is received
	copying   bool
	archives  int
	positions int // of the start and the end
	skipped   strays

	head []byte
	end  uint64 // where the backup ended, once it has
	err  error  // io.EOF at the end; of the reading goroutine

	verdict atomic.Pointer[error] // err, for others
}

func newWireBase(ctx context.Context, conn *pgconn.PgConn, in targets.Instance, version int) *wireBase {
	s := &wireBase{ctx: ctx, in: in, version: version, conn: conn}
	s.wake = context.AfterFunc(ctx, func() { _ = conn.Conn().SetDeadline(time.Unix(1, 0)) })

	return s
}

func (s *wireBase) close() {
	s.wake()

	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_ = s.conn.Close(ctx) // the server ends an unfinished backup
}

// start asks for the base and waits for its first bytes: before them comes a
// checkpoint, which may be refused.
func (s *wireBase) start(id string) error {
	command := "BASE_BACKUP (LABEL " + quoteLiteral("drctl "+id) + ", CHECKPOINT 'fast', WAIT false)"
	if s.version < 150000 {
		command = "BASE_BACKUP LABEL " + quoteLiteral("drctl "+id) + " FAST NOWAIT"
	}
	front := s.conn.Frontend()
	front.SendQuery(&pgproto3.Query{String: command})

	if err := front.Flush(); err != nil {
		return s.failed(err)
	}

	for len(s.rest) == 0 && s.err == nil {
		s.err = s.next()
	}

	return s.err
}

func (s *wireBase) Read(p []byte) (int, error) {
	for len(s.rest) == 0 && s.err == nil {
		if s.err = s.next(); s.err != nil {
			s.verdict.Store(&s.err)
		}
	}

	if len(s.rest) == 0 {
		return 0, s.err
	}
	n := copy(p, s.rest)

	s.rest = s.rest[n:]
	if len(s.head) < headLimit {
		s.head = append(s.head, p[:min(n, headLimit-len(s.head))]...)
	}

	return n, nil
}

// next takes one message in. It leaves bytes in rest, or returns how the base ended.
func (s *wireBase) next() error {
	msg, err := s.conn.Frontend().Receive()
	if err != nil {
		return s.failed(err)
	}

	switch msg := msg.(type) {
	case *pgproto3.CopyOutResponse:
		s.copying = true
		if s.version < 150000 { // later ones name each archive
			s.archives++
		}
	case *pgproto3.CopyData:
		err = s.copyData(msg.Data)
	case *pgproto3.CopyDone:
		s.copying = false
		if s.version < 150000 { // later ones send it themselves
			s.rest = make([]byte, tarEnd)
		}
	case *pgproto3.DataRow:
		err = s.position(msg.Values)
	case *pgproto3.NoticeResponse:
		s.notice(msg)
		err = s.skipped.check(s.in) // at once, before the rest is moved
	case *pgproto3.ErrorResponse:
		err = pgconn.ErrorResponseToPgError(msg)
	case *pgproto3.ReadyForQuery:
		return s.finish()
	case *pgproto3.RowDescription, *pgproto3.CommandComplete, *pgproto3.ParameterStatus:
	default:
		err = fmt.Errorf("unexpected %T in a base", msg)
	}

	if err == nil && s.archives > 1 {
		err = fmt.Errorf("the server sends %d archives: a tablespace was made meanwhile", s.archives)
	}

	if err != nil {
		return s.failed(err)
	}

	return nil
}

// copyData takes in what an archive consists of. From version 15 on a first
// byte tells what it is.
func (s *wireBase) copyData(data []byte) error {
	if s.version < 150000 {
		s.rest = data
		return nil
	}

	if len(data) == 0 {
		return fmt.Errorf("empty message in a base")
	}

	switch data[0] {
	case 'n':
		s.archives++
	case 'd':
		s.rest = data[1:]
	case 'p', 'm': // progress and manifest, not asked for
	default:
		return fmt.Errorf("unknown message %q in a base", data[0])
	}

	return nil
}

// position takes in the position at which the backup began or ended. The rows
// of the result between them, the tablespaces, have three columns.
func (s *wireBase) position(row [][]byte) (err error) {
	if len(row) != 2 {
		return nil
	}

	s.positions++
	s.end, err = targets.ParseLSN(string(row[0]))

	return err
}

// skippedPath finds the path in a warning, in whatever language that is.
var skippedPath = regexp.MustCompile(`\./([^"»«“”„]+)`)

// notice looks for what the server leaves out of a base, which it only warns of.
func (s *wireBase) notice(n *pgproto3.NoticeResponse) {
	if n.Routine != "sendDir" {
		return
	}

	m := skippedPath.FindStringSubmatch(n.Message)
	switch {
	case m == nil:
		s.skipped.add(n.Message, "left out by the server", true)
	case !strings.HasPrefix(m[1], ".s.PGSQL."):
		s.skipped.add(m[1], "a symbolic link or a special file", inSystem(m[1]))
	}
}

// finish judges a base that has arrived.
func (s *wireBase) finish() error {
	if s.positions != 2 || s.archives != 1 || s.copying {
		return s.failed(fmt.Errorf("the server ended the base before its end"))
	}

	return io.EOF
}

// failed says why there is no base.
func (s *wireBase) failed(err error) error {
	if s.ctx.Err() != nil {
		return fail.New(fail.CodeOf(s.ctx.Err()), opBase, s.in.String(), "", s.ctx.Err())
	}

	var fe *fail.Error
	if errors.As(err, &fe) {
		return err
	}

	refused := queryError(opBase, s.in, "ALTER ROLE "+quoteIdent(s.in.User)+" REPLICATION", err)
	if errors.As(refused, &fe) && fe.Hint == "" {
		fe.Hint = "no base was taken; look at the server's log"
	}

	return refused
}

// label returns the backup label from the head of the stream.
func (s *wireBase) label() ([]byte, error) {
	r := tar.NewReader(bytes.NewReader(s.head))
	for {
		h, err := r.Next()
		if err != nil {
			return nil, fmt.Errorf("no backup_label at the head of the stream: %w", err)
		}

		if strings.TrimPrefix(h.Name, "./") == fileLabel {
			return io.ReadAll(r)
		}
	}
}
