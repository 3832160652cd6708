package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"drctl/internal/fail"
	"drctl/internal/retry"
	"drctl/targets"
	"drctl/targets/postgres/sqlstate"
	"drctl/targets/postgres/timelines"
)

const (
	opFollow = "stream"
	// slotWait is how long a slot that another session holds is waited for: the
	// server needs a moment to notice that the session before is gone.
	slotWait = 8 * time.Second
	// moveWait bounds the moving of the slot, for which the stream rests.
	moveWait = 10 * time.Second
	// advanceFunction moves it.
	advanceFunction = "pg_replication_slot_advance(name, pg_lsn)"
)

var errRemoved = errors.New("the server has removed the log that the archive needs next")

// follower is one run of Follow.
type follower struct {
	d       *Driver
	in      targets.Instance
	archive targets.Archive
	sql     *pgx.Conn // moves the slot
	repl    *pgconn.PgConn
	srv     server
	hist    timelines.History // of the server's current timeline
	files   map[uint32][]byte
}

// Follow streams the server's WAL into the archive. See targets.Follower.
//
// When the server no longer has the bytes that follow the archive's tail, it goes
// on at the oldest that it has. That leaves a hole in the stream: only a base
// behind it leads to what follows. A server of another cluster than the archived
// one begins a new timeline. Both are logged as errors.
func (d *Driver) Follow(ctx context.Context, in targets.Instance, archive targets.Archive) error {
	f := &follower{d: d, in: in, archive: archive, files: map[uint32][]byte{}}
	err := f.run(ctx)
	f.close()

	if ctx.Err() != nil {
		return ctx.Err()
	}

	return err
}

func (f *follower) close() {
	if f.repl != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		_ = f.repl.Close(ctx)
	}

	if f.sql != nil {
		closeConn(f.sql)
	}
}

func (f *follower) run(ctx context.Context) error {
	slot, err := f.prepare(ctx)
	if err != nil {
		return err
	}

	tli, from, err := f.start(ctx, slot)
	if err != nil {
		return err
	}

	skipped := false
	for {
		if err := f.begin(ctx, tli, from); err != nil {
			return err
		}

		next, err := f.stream(ctx, tli, from)
		if errors.Is(err, errRemoved) && !skipped {
			if tli, from, err = f.skip(ctx, tli, from); err != nil {
				return err
			}
			skipped = true

			continue
		}

		if err != nil {
			return err
		}
		skipped = false
		// The server forgets by position, not by timeline. That is safe: of a new
		// timeline nothing is durable before all of the older ones is.
		f.d.log.InfoContext(ctx, "stream: timeline ended", "instance", f.in.String(), "timeline", tli, "at", targets.FormatLSN(next.End), "next", next.Timeline)

		if err := f.reload(ctx); err != nil {
			return err
		}
		tli, from = next.Timeline, timelines.SegmentStart(next.End, f.srv.segmentSize)
	}
}

// prepare connects both sessions, and makes the slot when it is missing.
func (f *follower) prepare(ctx context.Context) (slotState, error) {
	conn, err := f.session(ctx)
	if err != nil {
		return slotState{}, err
	}

	if err := direct(ctx, opFollow, f.in, conn); err != nil {
		return slotState{}, err
	}

	if f.srv, err = readServer(ctx, opFollow, f.in, conn); err != nil {
		return slotState{}, err
	}

	slot, err := readSlot(ctx, opFollow, f.in, conn, f.d.slot)
	if err != nil {
		return slot, err
	}

	if slot.found && slot.kind != "physical" {
		return slot, fail.New(fail.Conflict, opFollow, f.in.String(), "configure another slot name, or drop the slot", fmt.Errorf("replication slot %q is %s, not physical", f.d.slot, slot.kind))
	}

	if slot.found && (slot.status == "lost" || slot.restart == 0) {
		f.d.log.ErrorContext(ctx, "stream: the replication slot is lost, or keeps nothing, and is made again", "instance", f.in.String(), "slot", f.d.slot)

		if _, err := conn.Exec(ctx, "SELECT pg_drop_replication_slot($1)", f.d.slot); err != nil {
			return slot, queryError(opFollow, f.in, "ALTER ROLE "+quoteIdent(f.in.User)+" REPLICATION", err)
		}
		slot.found = false
	}

	if !slot.found {
		_, err := conn.Exec(ctx, "SELECT pg_create_physical_replication_slot($1, true)", f.d.slot)
		if err != nil && sqlstate.Of(err) != "42710" {
			return slot, f.slotError(err)
		}

		if slot, err = readSlot(ctx, opFollow, f.in, conn, f.d.slot); err != nil {
			return slot, err
		}

		f.d.log.InfoContext(ctx, "stream: replication slot made", "instance", f.in.String(), "slot", f.d.slot, "from", targets.FormatLSN(slot.restart))
	}

	if f.repl, err = walsender(ctx, opFollow, f.in, f.srv.version); err != nil {
		return slot, err
	}

	return slot, f.loadHistory(ctx)
}

// session returns the session for SQL, a new one when it broke.
func (f *follower) session(ctx context.Context) (*pgx.Conn, error) {
	if f.sql != nil && !f.sql.IsClosed() {
		return f.sql, nil
	}

	conn, err := connect(ctx, opFollow, f.in)
	if err == nil {
		f.sql = conn
	}

	return conn, err
}

func (f *follower) slotError(err error) error {
	switch sqlstate.Of(err) {
	case "53400":
		return fail.New(fail.Exhausted, opFollow, f.in.String(), "raise max_replication_slots and restart the server, or drop a slot that nobody needs", err)
	case "55000":
		return fail.New(fail.Unsupported, opFollow, f.in.String(), "set wal_level = replica and max_replication_slots > 0, and restart the server", err)
	}

	return queryError(opFollow, f.in, "ALTER ROLE "+quoteIdent(f.in.User)+" REPLICATION", err)
}

// reload learns the server's timeline again after a switch.
func (f *follower) reload(ctx context.Context) error {
	id, err := pglogrepl.IdentifySystem(ctx, f.repl)
	if err != nil {
		return queryError(opFollow, f.in, "", err)
	}
	f.srv.tli = uint32(id.Timeline)

	return f.loadHistory(ctx)
}

func (f *follower) loadHistory(ctx context.Context) error {
	content, err := f.historyFile(ctx, f.srv.tli)
	if err != nil {
		return err
	}

	f.hist, err = timelines.Parse(content)
	if err != nil {
		return fail.New(fail.Corrupt, opFollow, f.in.String(), "look at the history files in the server's pg_wal", err)
	}

	return nil
}

// historyFile fetches a timeline's history file; the first timeline has none.
func (f *follower) historyFile(ctx context.Context, tli uint32) ([]byte, error) {
	if tli == 1 {
		return nil, nil
	}

	if b, ok := f.files[tli]; ok {
		return b, nil
	}

	r, err := pglogrepl.TimelineHistory(ctx, f.repl, int32(tli))
	if err != nil {
		return nil, queryError(opFollow, f.in, "", err)
	}
	f.files[tli] = append([]byte(nil), r.Content...)

	return f.files[tli], nil
}

// start decides where to go on.
func (f *follower) start(ctx context.Context, slot slotState) (tli uint32, from uint64, err error) {
	fresh := slot.restart
	if fresh == 0 {
		fresh = f.srv.lsn
	}
	fresh = timelines.SegmentStart(fresh, f.srv.segmentSize)

	tail, ok := f.archive.Tail()
	if !ok {
		return f.hist.At(fresh, f.srv.tli), fresh, nil
	}

	sys, old, err := targets.ParsePostgresTimeline(tail.Timeline)
	if err != nil {
		return 0, 0, fail.New(fail.Corrupt, opFollow, f.in.String(), "", err)
	}

	log := f.d.log.With("instance", f.in.String(), "archived", tail.Timeline, "server", f.srv.timeline())
	if sys != f.srv.systemID {
		log.ErrorContext(ctx, "stream: the server belongs to another cluster than the archived one; a new timeline begins and needs a new base")
		return f.hist.At(fresh, f.srv.tli), fresh, nil
	}

	if old == f.srv.tli && !f.srv.standby && f.srv.lsn < tail.Offset {
		// A primary sends only what it has flushed. What it writes now is not what
		// is archived, and would be joined to it in the middle of a record.
		return 0, 0, fail.New(fail.Conflict, opFollow, f.in.String(),
			"it was put back to an earlier state, or this is an old copy of it; if it is the primary to go on with, give it a timeline of its own: stop it, put an empty standby.signal into its data directory, start it and run SELECT pg_promote()",
			fmt.Errorf("the server's log ends at %s, the archive has it up to %s on the same timeline %d", targets.FormatLSN(f.srv.lsn), targets.FormatLSN(tail.Offset), old))
	}

	if old == f.srv.tli {
		return old, tail.Offset, nil
	}

	if old > f.srv.tli {
		return 0, 0, fail.New(fail.Conflict, opFollow, f.in.String(), "this looks like a former primary that a failover left behind; point the instance at the new primary",
			fmt.Errorf("the server is on timeline %d, the archive is already on timeline %d", f.srv.tli, old))
	}

	if i := f.hist.Find(old); i >= 0 {
		if tail.Offset < f.hist[i].End {
			return old, tail.Offset, nil
		}
		// The archived timeline must be the server's own of this number before
		// the next one is taken for its child.
		if err := f.begin(ctx, old, tail.Offset); err != nil {
			return 0, 0, err
		}

		next := f.srv.tli
		if i+1 < len(f.hist) {
			next = f.hist[i+1].Timeline
		}

		return next, timelines.SegmentStart(f.hist[i].End, f.srv.segmentSize), nil
	}

	log.ErrorContext(ctx, "stream: the server's timeline does not come from the archived one; it is archived beside it and needs a new base")

	return f.srv.tli, max(timelines.SegmentStart(f.hist.Begin(), f.srv.segmentSize), fresh), nil
}

// skip finds the oldest bytes that the server still keeps for us.
func (f *follower) skip(ctx context.Context, tli uint32, from uint64) (uint32, uint64, error) {
	// A walsender that has raised an error in the middle of a copy is closed.
	f.close()

	slot, err := f.prepare(ctx)
	if err != nil {
		return 0, 0, err
	}

	oldest := timelines.SegmentStart(slot.restart, f.srv.segmentSize)
	if slot.restart == 0 || oldest <= from {
		// The slot promises what the server does not have: it was moved back by
		// an earlier acknowledgement. What is flushed now exists.
		oldest = timelines.SegmentStart(f.srv.lsn, f.srv.segmentSize)
	}

	next := f.hist.At(oldest, f.srv.tli)
	if next == tli && oldest <= from {
		return 0, 0, fail.New(fail.NotFound, opFollow, f.in.String(), "look at pg_wal on the server", errRemoved)
	}

	f.d.log.ErrorContext(ctx, "stream: the server has removed log that was not archived; the stream has a hole, take a new base",
		"instance", f.in.String(), "timeline", tli, "hole_from", targets.FormatLSN(from), "hole_to", targets.FormatLSN(oldest), "goes_on_timeline", next)

	return next, oldest, nil
}

// begin opens the timeline of a timeline in the archive.
func (f *follower) begin(ctx context.Context, tli uint32, from uint64) error {
	content, err := f.historyFile(ctx, tli)
	if err != nil {
		return err
	}

	var parent targets.Position
	if content != nil {
		h, err := timelines.Parse(content)
		if err != nil {
			return fail.New(fail.Corrupt, opFollow, f.in.String(), "look at the history files in the server's pg_wal", err)
		}
		parent, _ = h.Parent(f.srv.systemID)
	}

	return f.archive.Begin(ctx, targets.PostgresTimeline(f.srv.systemID, tli), from, parent, content)
}

// stream follows a timeline until it ends. The slot is moved before it begins
// and whenever more of the log may go.
func (f *follower) stream(ctx context.Context, tli uint32, from uint64) (timelines.Switch, error) {
	for {
		moved, next, err := f.open(ctx, tli, from)
		if err != nil || next.Timeline != 0 {
			return next, err
		}
		s := newSender(f.repl, f.archive, from, timelines.SegmentStart(moved, f.srv.segmentSize)+f.srv.segmentSize, f.d.stand)

		next, err = s.run(ctx)
		if !errors.Is(err, errSlotDue) {
			return next, f.streamError(err)
		}
		from = s.pos
	}
}

// open moves the slot to what is durable, which it returns, and begins to
// stream. The timeline that comes next is returned instead when there is
// nothing to stream any more. A slot that a session before still holds is
// waited for.
func (f *follower) open(ctx context.Context, tli uint32, from uint64) (moved uint64, next timelines.Switch, err error) {
	tries := retry.Policy{First: 250 * time.Millisecond, For: slotWait, If: slotHeld}.Start()
	for {
		moved = f.archive.Durable()

		err := f.moveSlot(ctx, moved)
		if !slotHeld(err) {
			if ctx.Err() == nil {
				err = f.slotStays(ctx, err)
				targets.Hindered(f.archive, err)
			}

			err = pglogrepl.StartReplication(ctx, f.repl, f.d.slot, pglogrepl.LSN(from),
				pglogrepl.StartReplicationOptions{Timeline: int32(tli), Mode: pglogrepl.PhysicalReplication})
			if err == nil {
				targets.Streaming(f.archive)
				return moved, next, nil
			}

			if tli, at, ok := pglogrepl.IsErrEndTimeline(err); ok {
				return moved, timelines.Switch{Timeline: uint32(tli), End: uint64(at)}, nil
			}

			if slotHeld(err) {
				// StartReplication returns at the error, before the server's ReadyForQuery.
				if _, err := f.repl.ReceiveMessage(ctx); err != nil {
					return moved, next, queryError(opFollow, f.in, "", err)
				}
			}
		}

		if err := tries.Again(ctx, err); ctx.Err() != nil {
			return moved, next, ctx.Err()
		} else if err != nil {
			return moved, next, f.streamError(err)
		}
	}
}

// slotHeld reports whether another session holds the slot.
func slotHeld(err error) bool { return sqlstate.Of(err) == "55006" }

// moveSlot lets the server remove its log before a position. It never moves
// the slot back.
func (f *follower) moveSlot(ctx context.Context, to uint64) error {
	ctx, cancel := context.WithTimeout(ctx, moveWait)
	defer cancel()

	for try := 1; ; try++ {
		conn, err := f.session(ctx)
		if err != nil {
			return err
		}

		_, err = conn.Exec(ctx, "SELECT pg_replication_slot_advance(slot_name, $2::pg_lsn) FROM pg_replication_slots WHERE slot_name = $1 AND restart_lsn < $2::pg_lsn",
			f.d.slot, targets.FormatLSN(to))
		if err == nil || !conn.IsClosed() || try == 2 { // an idle session may have been ended
			return err
		}
	}
}

// slotStays is the error of a slot that could not be moved.
func (f *follower) slotStays(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	err = queryError(opFollow, f.in, "GRANT EXECUTE ON FUNCTION "+advanceFunction+" TO "+quoteIdent(f.in.User), err)
	f.d.log.WarnContext(ctx, "stream: the server keeps more log than needed: the slot could not be moved, which is tried again", "instance", f.in.String(), "err", err)

	return err
}

func (f *follower) streamError(err error) error {
	if err == nil {
		return nil
	}

	var fe *fail.Error
	if errors.As(err, &fe) {
		return err
	}

	code, text := sqlstate.Of(err), err.Error()
	switch {
	case code == "58P01" || strings.Contains(text, "has already been removed"):
		return fail.New(fail.NotFound, opFollow, f.in.String(), "take a new base: the stream has a hole", fmt.Errorf("%w: %w", errRemoved, err))
	case code == "55006":
		return fail.New(fail.Conflict, opFollow, f.in.String(), fmt.Sprintf("another archiver reads replication slot %q; stop it, or end its dead session with pg_terminate_backend(active_pid)", f.d.slot), err)
	case code == "55000" && strings.Contains(text, "lost"), strings.Contains(text, "can no longer get changes"), strings.Contains(text, "invalidated"):
		return fail.New(fail.NotFound, opFollow, f.in.String(), "take a new base: the stream has a hole", fmt.Errorf("%w: %w", errRemoved, err))
	}

	return queryError(opFollow, f.in, "ALTER ROLE "+quoteIdent(f.in.User)+" REPLICATION", err)
}
