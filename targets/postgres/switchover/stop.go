package switchover

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"drctl/internal/fail"
	"drctl/internal/proc"
	"drctl/targets"
	"drctl/targets/handover"
	"drctl/targets/postgres/control"
	"drctl/targets/postgres/localwal"
	"drctl/targets/postgres/postmaster"
	"drctl/targets/postgres/timelines"
)

const (
	opDrain = "switch: drain"
	opStop  = "switch: stop"
	// sealFile makes a server that is started a standby.
	sealFile = "standby.signal"
)

// Drain reads how far the old side has flushed its log, and waits until the new one
// has replayed it, so that Stop has little to wait for.
func (h *hands) Drain(ctx context.Context) (targets.Position, error) {
	if _, err := postmaster.Find(h.req.Old.DataDir); fail.Is(err, fail.NotFound) {
		s, err := h.Stop(ctx) // by a process before this one
		return s.At, err
	}

	from, err := h.old.look(ctx, opDrain)
	if err != nil {
		return targets.Position{}, err
	}

	if from.standby {
		return targets.Position{}, fail.Newf(fail.Conflict, opDrain, h.req.Old.String(), "it is a standby")
	}

	if _, err := h.new.replayed(ctx, opDrain, from.flushed); err != nil {
		return targets.Position{}, err
	}

	p, err := h.new.point(ctx, opDrain)
	p.Offset = from.flushed

	return position(p), err
}

// Stop stops the old server cleanly and reads from its own files where its log ends.
func (h *hands) Stop(ctx context.Context) (out handover.Stopped, err error) {
	if h.req.Old.DataDir == "" {
		return out, fail.Newf(fail.Unsupported, opStop, h.req.Old.String(), "its directory is out of reach")
	}

	if err := h.halt(ctx); err != nil {
		return out, err
	}

	end, last, history, err := endOf(h.req.Old)
	if err != nil {
		return out, err
	}
	out = handover.Stopped{At: position(end), Last: last, History: history, Silence: handover.Silence{Instance: h.req.Old.String(), Kind: handover.SilentStopped, Epoch: h.req.Epoch,
		By: "drctl", Detail: "stopped cleanly; its log ends at " + targets.FormatLSN(end.Offset)}}

	if err := h.holds(ctx, end); err != nil {
		return out, err
	}
	h.stopped = &out

	return out, nil
}

// halt seals the old side and stops its server.
func (h *hands) halt(ctx context.Context) error {
	srv, err := postmaster.Find(h.req.Old.DataDir)
	if fail.Is(err, fail.NotFound) {
		return seal(h.req.Old.DataDir)
	}

	if err != nil {
		return err
	}

	// Another server that was laid there since, or a standby, is not ours to stop.
	if st, err := control.ReadState(h.req.Old.DataDir); err != nil || st.Phase == control.InArchiveRecovery {
		return fail.New(fail.Conflict, opStop, h.req.Old.String(), "see what runs in its directory", errors.Join(err, fmt.Errorf("the server there is %s", st.Phase)))
	}

	if err := seal(h.req.Old.DataDir); err != nil {
		return err
	}

	// A server that is stopped waits for the archiver until the vaults have its log.
	// The new side's slot has it from here on.
	if srv.Status != postmaster.Stopping {
		if err := h.old.run(ctx, opStop, h.old.grant("pg_signal_backend"), `SELECT pg_catalog.pg_terminate_backend(active_pid) FROM pg_catalog.pg_replication_slots
			WHERE slot_name = $1 AND active_pid IS NOT NULL`, h.o.Slot); err != nil && srv.Alive() && !fail.Is(err, fail.Unavailable) {
			return err
		}
	}

	h.req.Progress.Report("stop", 0, 0)

	if len(h.req.Host.Stop) == 0 {
		return srv.Stop(ctx)
	}

	if err := proc.Command(ctx, opStop, h.req.Old.String(), h.req.Host.Stop); err != nil {
		return err
	}

	// A server takes its lock file away shortly before its process is gone, and pg_ctl
	// looks at the file.
	gone, stop := context.WithTimeout(ctx, goneWithin)
	defer stop()

	if srv.Gone(gone) != nil {
		return fail.New(fail.Unverified, opStop, h.req.Old.String(), "correct the command that stops it", fmt.Errorf("the command has ended, and process %d runs", srv.Pid))
	}

	return nil
}

// goneWithin is how long a process may still be there after the command that stops it.
const goneWithin = 5 * time.Second

// seal lets whoever starts the server start a standby.
func seal(dir string) error {
	return postmaster.WriteOwned(filepath.Join(dir, sealFile), nil)
}

// endOf reads where the log of a cleanly stopped primary ends: behind its shutdown
// checkpoint, behind which there is nothing.
func endOf(in targets.Instance) (end timelines.Point, last uint64, history []byte, err error) {
	log, st, err := localwal.Of(in.DataDir)
	if err != nil {
		return end, 0, nil, err
	}

	if st.Phase != control.ShutDown {
		return end, 0, nil, fail.New(fail.Unverified, opStop, in.String(), "undo, or go on as after a failure: promote what the new side has",
			fmt.Errorf("it was not stopped cleanly: it is %s", st.Phase))
	}

	rec, err := log.End(st.Checkpoint)
	if err != nil {
		return end, 0, nil, err
	}

	if uint64(rec.Start) != st.Checkpoint {
		return end, 0, nil, fail.New(fail.Unverified, opStop, in.String(), "look at its log",
			fmt.Errorf("its last record begins at %v, its shutdown checkpoint at %s", rec.Start, targets.FormatLSN(st.Checkpoint)))
	}
	end = log.Point
	end.Offset = uint64(rec.End)

	return end, st.Checkpoint, log.File, nil
}

// holds waits until the new side has replayed exactly to the end of the old side's log.
func (h *hands) holds(ctx context.Context, end timelines.Point) error {
	v, err := h.new.look(ctx, opStop)
	if err != nil {
		return err
	}

	if v.standby {
		if _, err := h.new.replayed(ctx, opStop, end.Offset); err != nil {
			return fail.New(fail.Unverified, opStop, h.req.New.String(), "undo: the old side goes on as it was", err)
		}
	}

	at, v, err := h.new.stands(ctx, opStop)
	if err != nil {
		return err
	}

	how, fork := timelines.Relate(at, end)
	switch {
	case how == timelines.Same && v.standby:
		return nil
	case !v.standby && fork == end.Offset: // a repeat, after the promotion
		return nil
	}

	return fail.New(fail.Unverified, opStop, h.req.New.String(), "undo: the old side goes on as it was",
		fmt.Errorf("the old side's log ends at %s of timeline %d, the new side is at %s of %d: %v since %s",
			targets.FormatLSN(end.Offset), end.Timeline, targets.FormatLSN(at.Offset), at.Timeline, how, targets.FormatLSN(fork)))
}
