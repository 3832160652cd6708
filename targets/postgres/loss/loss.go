package loss

import (
	"cmp"
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
// fork to its end; the server must not run.
func Read(req handover.LossRequest) (handover.Loss, error) {
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

	return out, transactions(log, req, &out)
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

// transactions reads the log behind the fork. It begins before it, so that it knows
// the whole of what was open there.
func transactions(log *localwal.Log, req handover.LossRequest, out *handover.Loss) error {
	fork := req.Fork.Offset
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
	out.Part.To = fork

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

		if uint64(rec.Start) < fork {
			continue
		}
		out.Part.To = uint64(rec.End)

		if step.Transaction != nil && step.Transaction.Outcome != wal.Aborted {
			add(out, step.Transaction, cmp.Or(req.Most, most))
		}
	}

	if uint64(r.End()) < fork {
		return fail.Newf(fail.NotFound, op, req.Old.String(), "its log ends at %v, before the fork at %s", r.End(), targets.FormatLSN(fork))
	}
	out.Bytes, out.Read = out.Part.To-out.Part.From, true

	return nil
}

func add(out *handover.Loss, x *wal.Transaction, most int) {
	if out.Count++; out.Count == 1 {
		out.First = x.Stamp
	}
	out.Last = x.Stamp

	if len(out.Lost) == most {
		return
	}
	l := handover.LostTransaction{At: uint64(x.Start), XID: x.XID, Stamp: x.Stamp, Outcome: x.Outcome.String(), GID: x.GID}

	for _, m := range x.Tags {
		l.Tags = append(l.Tags, m.Prefix+": "+m.Content)
	}
	out.Lost = append(out.Lost, l)
}
