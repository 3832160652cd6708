package loss

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/handover"
	"drctl/targets/postgres/localwal"
	"drctl/targets/postgres/postmaster"
	"drctl/targets/postgres/wal"
)

const (
	op   = "loss"
	most = 1000
)

// Read says what was lost. With the old side's directory its log is read behind the
// fork to its end, and given to the request's Tail where that lacks it; the server must
// not run. Connect opens sessions with the new primary, which knows the names of tables.
func Read(ctx context.Context, req handover.LossRequest, connect Connect) (handover.Loss, error) {
	out := handover.Loss{Part: targets.Span{Timeline: req.Fork.Timeline, From: req.Fork.Offset, To: max(req.Fork.Offset, req.Flushed.Offset)}}
	out.Bytes = out.Part.To - out.Part.From

	if req.Old.DataDir == "" {
		return out, nil
	}

	if srv, err := postmaster.Find(req.Old.DataDir); err == nil {
		return out, fail.New(fail.Conflict, op, req.Old.String(), "stop it first: its log grows", fmt.Errorf("it runs (process %d)", srv.Pid))
	} else if !fail.Is(err, fail.NotFound) {
		return out, err
	}

	log, st, err := localwal.Of(req.Old.DataDir)
	if err != nil {
		return out, err
	}

	of, err := timelineOf(req, st.SystemID)
	if err != nil {
		return out, err
	}

	if at := log.Point.History.At(req.Fork.Offset, log.Point.Timeline); at != of && log.Point.History.Find(of) < 0 {
		return out, fail.Newf(fail.Conflict, op, req.Old.String(), "its log is of timeline %d, which does not come from %d", log.Point.Timeline, of)
	}

	found := &finding{req: req, out: &out, most: cmp.Or(req.Most, most)}
	if err := found.transactions(log, st.Checkpoint); err != nil {
		return out, err
	}

	found.name(ctx, connect)

	if req.Tail == nil {
		return out, nil
	}
	out.Kept, err = Keep(ctx, log, out.Part.From, out.Part.To, req.Tail)

	return out, err
}

func timelineOf(req handover.LossRequest, system string) (uint32, error) {
	sys, tli, err := targets.ParsePostgresTimeline(req.Fork.Timeline)
	if err == nil && sys != system {
		err = fmt.Errorf("its directory is of cluster %s, the fork of %s", system, sys)
	}

	if err != nil {
		return 0, fail.New(fail.Invalid, op, req.Old.String(), "", err)
	}

	return tli, nil
}

// Keep gives the log from one place to another to whoever keeps it, as far as that
// lacks it: timeline by timeline. It returns what was given.
func Keep(ctx context.Context, log *localwal.Log, from, to uint64, tail handover.Tail) (kept []targets.Span, err error) {
	for at := from; at < to; {
		id := log.Point.History.At(at, log.Point.Timeline)

		part := targets.Span{Timeline: targets.PostgresTimeline(log.Point.System, id), From: at, To: to}
		if i := log.Point.History.Find(id); i >= 0 {
			part.To = min(to, log.Point.History[i].End)
		}

		if at = part.To; part.To <= part.From {
			return kept, fail.Newf(fail.Corrupt, op, log.Path(from), "the history of timeline %d goes back", log.Point.Timeline)
		}

		if part.From, err = tail.Lacks(ctx, part); err != nil {
			return kept, err
		}

		if part.From >= part.To {
			continue
		}
		src := log.Bytes(part.From)

		err := tail.Keep(ctx, part, &exactly{src: io.LimitReader(src, int64(part.To-part.From)), left: int64(part.To - part.From)})
		if err = errors.Join(err, src.Close()); err != nil {
			return kept, fail.New(fail.CodeOf(err), op, log.Path(part.From), "", fmt.Errorf("its log could not be saved: %w", err))
		}
		kept = append(kept, part)
	}

	return kept, nil
}

// exactly fails where its source ends too early.
type exactly struct {
	src  io.Reader
	left int64
}

func (e *exactly) Read(p []byte) (int, error) {
	n, err := e.src.Read(p)
	e.left -= int64(n)

	if errors.Is(err, io.EOF) && e.left > 0 {
		return n, io.ErrUnexpectedEOF
	}

	return n, err
}

// finding is what is found in the log of one old side.
type finding struct {
	req  handover.LossRequest
	out  *handover.Loss
	most int

	open map[uint32]rows // by the transaction or subtransaction that wrote them
	all  rows
	each []rows // of out.Lost
}

// transactions reads the log behind the fork. It begins before it, so that it knows
// the whole of what was open there. The server's last checkpoint is in the log.
func (f *finding) transactions(log *localwal.Log, checkpoint uint64) error {
	fork := f.req.Fork.Offset
	begin := fork - fork%log.Segment

	for range 2 {
		if _, err := os.Stat(log.Path(begin - log.Segment)); err != nil || begin < log.Segment {
			break
		}
		begin -= log.Segment
	}

	r, src, err := log.Records(begin, true)
	if err != nil {
		return err
	}
	defer src.Close()

	var known wal.Transactions
	f.out.Part.To = fork
	f.open, f.all = map[uint32]rows{}, rows{}

	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) || fail.Is(err, fail.Corrupt) { // behind the last record may be anything
			break
		}

		if err != nil {
			return err
		}

		step, err := known.Add(rec)
		if err != nil {
			return err
		}

		f.changed(rec)

		if uint64(rec.Start) >= fork {
			f.out.Part.To = uint64(rec.End)
		}

		if step.Transaction != nil {
			f.ended(step.Transaction, uint64(rec.Start) >= fork)
		}
	}

	if uint64(r.End()) < fork {
		return fail.Newf(fail.NotFound, op, f.req.Old.String(), "its log ends at %v, before the fork at %s", r.End(), targets.FormatLSN(fork))
	}
	f.out.Bytes = f.out.Part.To - f.out.Part.From

	return f.whole(log, uint64(r.End()), checkpoint)
}

// whole notes whether the log was read to where the server stopped, and why not.
func (f *finding) whole(log *localwal.Log, end, checkpoint uint64) error {
	beyond, found, err := log.Beyond(end)
	if err != nil {
		return err
	}

	switch {
	case found:
	case checkpoint >= end:
		beyond = checkpoint
	case f.req.Flushed.Timeline == f.req.Fork.Timeline && f.req.Flushed.Offset > end:
		beyond = f.req.Flushed.Offset
	default:
		f.out.Read = true
		return nil
	}

	f.out.Bytes = max(f.out.Bytes, beyond-f.out.Part.From)
	f.out.Notes = append(f.out.Notes, fmt.Sprintf("the log on the old disks is damaged or cut off at %s: it went on, to %s at least", targets.FormatLSN(end), targets.FormatLSN(beyond)))

	return nil
}

// ended notes a transaction that was decided, behind the fork or before it.
func (f *finding) ended(x *wal.Transaction, behind bool) {
	did := f.did(x)
	if !behind || x.Outcome == wal.Aborted || x.Outcome == wal.AbortedPrepared {
		return
	}
	out := f.out

	if out.Count++; out.Count == 1 {
		out.First = x.Stamp
	}
	out.Last = x.Stamp

	if x.Outcome != wal.CommittedPrepared { // its rows were counted when it was prepared
		f.all.add(did)
	}

	if len(out.Lost) == f.most {
		return
	}
	l := handover.LostTransaction{At: uint64(x.Start), XID: x.XID, Stamp: x.Stamp, Outcome: x.Outcome.String(), GID: x.GID}

	for _, m := range x.Tags {
		l.Tags = append(l.Tags, m.Prefix+": "+m.Content)
	}
	out.Lost, f.each = append(out.Lost, l), append(f.each, did)
}
