package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"drctl/targets"
	"drctl/targets/postgres/timelines"
)

const (
	statusEvery = time.Second
	// askEvery is how often the server is asked for a sign of life, deadAfter
	// how long it may owe one.
	askEvery  = 5 * time.Second
	deadAfter = 20 * time.Second
	// slotEvery is the shortest time between two interruptions of the stream in
	// which the slot is moved.
	slotEvery = 5 * time.Second
)

// errSlotDue ends a stream whose slot is to be moved.
var errSlotDue = errors.New("the slot is to be moved")

// sender is the client side of one running START_REPLICATION. One goroutine
// reads from the server and writes into the archive, which may block it; the
// other one acknowledges, so that back pressure never looks like silence.
//
// It never reports a flush position. A client that does is a candidate for
// synchronous_standby_names = '*' or ANY n (*): commits would wait for the
// vaults, and count as replicated while no standby has them. No application
// name is safe from '*'. But only a flush position moves the slot that the
// stream uses, so the slot is moved in between, by SQL: the stream is ended for
// a moment when that lets the server remove another segment.
type sender struct {
	conn    net.Conn
	front   *pgproto3.Frontend
	archive targets.Archive
	pos     uint64 // next byte expected; reading goroutine only
	due     uint64 // the slot is to be moved once this is durable
	// stand is for how long the archive may stand still before a server that is
	// stopped no longer waits for it. Durable is what was durable last, and moved
	// when that changed; of the acknowledging goroutine.
	stand   time.Duration
	durable uint64
	moved   time.Time

	mu    sync.Mutex // guards writes to conn
	ended bool       // CopyDone was sent: nothing may follow it; guarded by mu
	asked chan struct{}
}

// newSender follows a stream from a position. due is the durable position at
// which the stream is ended with errSlotDue.
func newSender(repl *pgconn.PgConn, archive targets.Archive, from, due uint64, stand time.Duration) *sender {
	return &sender{stand: stand, moved: time.Now(), conn: repl.Conn(), front: repl.Frontend(), archive: archive, pos: from, due: due, asked: make(chan struct{}, 1)}
}

// run returns the next timeline and where it begins, or an error.
func (s *sender) run(ctx context.Context) (timelines.Switch, error) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { s.acknowledge(ctx, done) })
	next, err := s.read(ctx)

	close(done)
	wg.Wait()

	if ctx.Err() != nil {
		// The last acknowledgement; the server keeps less for us.
		_ = s.status(false)
		return timelines.Switch{}, ctx.Err()
	}
	_ = s.conn.SetDeadline(time.Time{})
	// An archive that has given up is why acknowledge woke the reader.
	if aerr := s.archive.Err(); aerr != nil && err != nil {
		return timelines.Switch{}, aerr
	}

	return next, err
}

// acknowledge reports what is durable, at once and at least every second, and
// wakes the reader when the context ends or the archive has given up.
func (s *sender) acknowledge(ctx context.Context, done <-chan struct{}) {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	lastAsk := time.Now()

	notBefore := lastAsk.Add(slotEvery)
	for {
		select {
		case <-done:
			return
		case <-ctx.Done():
			_ = s.conn.SetReadDeadline(time.Unix(1, 0))
			return
		case <-tick.C:
		case <-s.archive.Advanced():
		case <-s.asked:
		}

		if s.archive.Err() != nil {
			_ = s.conn.SetReadDeadline(time.Unix(1, 0))
			return
		}

		ask := time.Since(lastAsk) >= askEvery
		if ask {
			lastAsk = time.Now()
		}

		err := s.status(ask)
		if err == nil && s.archive.Durable() >= s.due && time.Now().After(notBefore) {
			err = s.finish()
		}

		if err != nil {
			// The reader meets the same broken connection and reports it.
			_ = s.conn.SetReadDeadline(time.Unix(1, 0))
			return
		}
	}
}

// status sends a standby status update that claims only what is durable, as
// written: a server that is stopped waits until all of its log is. While the
// archive stands still, because a vault is away, that would be for ever: then
// it is told what was received. Neither moves the slot.
func (s *sender) status(ask bool) error {
	written := s.archive.Durable()
	if written != s.durable {
		s.durable, s.moved = written, time.Now()
	}

	if tail, ok := s.archive.Tail(); ok && tail.Offset > written && time.Since(s.moved) > s.stand {
		written = tail.Offset
	}
	msg := make([]byte, 34) // flushed and applied stay 0: not valid
	msg[0] = pglogrepl.StandbyStatusUpdateByteID
	binary.BigEndian.PutUint64(msg[1:], written)
	y2k := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	binary.BigEndian.PutUint64(msg[25:], uint64(time.Since(y2k).Microseconds()))

	if ask {
		msg[33] = 1
	}

	buf, err := (&pgproto3.CopyData{Data: msg}).Encode(nil)
	if err != nil {
		return err
	}

	s.mu.Lock()
	defer s.mu.Unlock()

	if s.ended {
		return nil
	}

	return s.write(buf)
}

// finish ends the stream from this side, unless it has been.
func (s *sender) finish() error {
	buf, err := (&pgproto3.CopyDone{}).Encode(nil)
	if err != nil {
		return err
	}

	s.mu.Lock()
	defer s.mu.Unlock()

	if s.ended {
		return nil
	}
	s.ended = true

	return s.write(buf)
}

// write needs mu.
func (s *sender) write(buf []byte) error {
	_ = s.conn.SetWriteDeadline(time.Now().Add(deadAfter))
	_, err := s.conn.Write(buf)

	return err
}

func (s *sender) receive(ctx context.Context) (pgproto3.BackendMessage, error) {
	_ = s.conn.SetReadDeadline(time.Now().Add(deadAfter))
	// The context may have ended between its goroutine's deadline and ours.
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	msg, err := s.front.Receive()

	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() && ctx.Err() == nil {
		return nil, fmt.Errorf("the server has been silent for %s: %w", deadAfter, err)
	}

	return msg, err
}

func (s *sender) read(ctx context.Context) (timelines.Switch, error) {
	for {
		msg, err := s.receive(ctx)
		if err != nil {
			return timelines.Switch{}, err
		}

		switch msg := msg.(type) {
		case *pgproto3.CopyData:
			if err := s.copyData(ctx, msg.Data); err != nil {
				return timelines.Switch{}, err
			}
		case *pgproto3.CopyDone:
			return s.end(ctx)
		case *pgproto3.ErrorResponse:
			return timelines.Switch{}, pgconn.ErrorResponseToPgError(msg)
		case *pgproto3.CommandComplete:
			return timelines.Switch{}, fmt.Errorf("the server is shutting down and ended the stream")
		case *pgproto3.NoticeResponse, *pgproto3.ParameterStatus:
		default:
			return timelines.Switch{}, fmt.Errorf("unexpected %T in the stream", msg)
		}
	}
}

func (s *sender) copyData(ctx context.Context, data []byte) error {
	if len(data) == 0 {
		return fmt.Errorf("empty message in the stream")
	}

	switch data[0] {
	case pglogrepl.XLogDataByteID:
		if len(data) < 25 {
			return fmt.Errorf("short message in the stream")
		}

		at := binary.BigEndian.Uint64(data[1:])
		if at != s.pos {
			return fmt.Errorf("the server sent %s when %s was due", targets.FormatLSN(at), targets.FormatLSN(s.pos))
		}

		if err := s.archive.Write(ctx, at, data[25:]); err != nil {
			return err
		}
		s.pos += uint64(len(data) - 25)
	case pglogrepl.PrimaryKeepaliveMessageByteID:
		k, err := pglogrepl.ParsePrimaryKeepaliveMessage(data[1:])
		if err != nil {
			return err
		}

		if k.ReplyRequested {
			select {
			case s.asked <- struct{}{}:
			default:
			}
		}
	default:
		return fmt.Errorf("unknown message %q in the stream", data[0])
	}

	return nil
}

// end answers the server's CopyDone and reads which timeline comes next. There
// is none when the stream ended because the slot is to be moved.
func (s *sender) end(ctx context.Context) (timelines.Switch, error) {
	s.mu.Lock()
	ours := s.ended
	s.mu.Unlock()

	if err := s.finish(); err != nil {
		return timelines.Switch{}, err
	}

	var next timelines.Switch
	for {
		msg, err := s.receive(ctx)
		if err != nil {
			return next, err
		}

		switch msg := msg.(type) {
		case *pgproto3.DataRow:
			if len(msg.Values) == 2 {
				tli, terr := strconv.ParseUint(string(msg.Values[0]), 10, 32)

				lsn, lerr := targets.ParseLSN(string(msg.Values[1]))
				if err := errors.Join(terr, lerr); err != nil {
					return next, err
				}
				next = timelines.Switch{Timeline: uint32(tli), End: lsn}
			}
		case *pgproto3.ErrorResponse:
			return next, pgconn.ErrorResponseToPgError(msg)
		case *pgproto3.ReadyForQuery:
			if next.Timeline == 0 && ours {
				return next, errSlotDue
			}

			if next.Timeline == 0 {
				return next, fmt.Errorf("the server ended the stream without naming the next timeline")
			}

			return next, nil
		}
	}
}
