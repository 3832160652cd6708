package switchover

import (
	"context"
	"errors"
	"fmt"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/handover"
	"drctl/targets/postgres/control"
	"drctl/targets/postgres/fencing"
	"drctl/targets/postgres/localwal"
	"drctl/targets/postgres/postmaster"
	"drctl/targets/postgres/timelines"
	"drctl/targets/postgres/wal"
)

const (
	opPromote = "switch: promote"
	opProbe   = "switch: probe"
)

// Promote makes the new side writable.
func (h *hands) Promote(ctx context.Context, req handover.PromoteRequest) (out handover.Promoted, err error) {
	if err := handover.CheckSilence(h.req.Epoch, append([]targets.Instance{h.req.Old}, h.req.Others...), req.Silence); err != nil {
		return out, fail.New(fail.Denied, opPromote, h.req.New.String(), "fence it first, or have a person sign that it is silent", err)
	}

	if err := h.oldIsDown(ctx); err != nil {
		return out, err
	}

	line, err := lineOf(req)
	if err != nil {
		return out, fail.New(fail.Invalid, opPromote, h.req.New.String(), "", err)
	}

	at, v, err := h.new.stands(ctx, opPromote)
	if err != nil {
		return out, err
	}

	if req.LaidDown.Timeline != "" {
		return out, h.laidDown(ctx, &out, at, v, line, req)
	}

	if !v.standby {
		out.Again = true

		return out, fencing.Lift(ctx, h.new.session, func(context.Context) error { return h.promoted(ctx, &out, at, line, req.Exact) })
	}

	if err := h.onLine(at, line, req.Exact); err != nil {
		return out, err
	}

	if err := h.new.makeSlot(ctx, opPromote, h.o.Slot); err != nil {
		return out, err
	}

	if err := fencing.Lift(ctx, h.new.session, h.writable); err != nil {
		return out, err
	}

	now, err := h.new.point(ctx, opPromote)
	if err != nil {
		return out, err
	}

	return out, h.promoted(ctx, &out, now, line, req.Exact)
}

// laidDown shows that the new side is what was laid down, and has the archive's slot.
func (h *hands) laidDown(ctx context.Context, out *handover.Promoted, at timelines.Point, v seen, line timelines.Point, req handover.PromoteRequest) error {
	other := func(what string, args ...any) error {
		return fail.New(fail.Conflict, opPromote, h.req.New.String(), "see what was started in its place", fmt.Errorf(what, args...))
	}

	if v.standby {
		return other("it is a standby, and not what was laid down from the vault")
	}

	if err := errors.Join(h.new.makeSlot(ctx, opPromote, h.o.Slot), h.promoted(ctx, out, at, line, false)); err != nil {
		return err
	}

	var size uint64

	err := h.new.ask(ctx, opPromote, "", "SELECT pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size'))", nil, &size)
	if err == nil && (out.Fork.Timeline != req.LaidDown.Timeline || !localwal.SamePlace(wal.LSN(out.Fork.Offset), wal.LSN(req.LaidDown.Offset), size)) {
		err = other("it left the old timeline at %s, and what was laid down ends at %s", out.Fork, req.LaidDown)
	}

	return err
}

// oldIsDown looks for itself where it can: whatever the proof says, a server that
// runs in the old side's directory as a primary is not silent.
func (h *hands) oldIsDown(ctx context.Context) error {
	if h.req.Old.DataDir == "" {
		return nil
	}

	srv, err := postmaster.Find(h.req.Old.DataDir)
	if fail.Is(err, fail.NotFound) {
		return nil
	}

	if err != nil {
		return err
	}

	// Where both hosts have a directory of this name, it is the new side's own.
	if v, err := h.new.look(ctx, opPromote); err == nil && srv.Owns(v.pid) {
		return nil
	}

	// Its lock file says "ready" of a standby, too.
	if st, err := control.ReadState(h.req.Old.DataDir); err == nil && st.Phase == control.InArchiveRecovery {
		return nil
	}

	return fail.New(fail.Denied, opPromote, h.req.New.String(), "stop it first", fmt.Errorf("the old primary %s runs (process %d)", h.req.Old, srv.Pid))
}

// lineOf is the place that the new side is compared with.
func lineOf(req handover.PromoteRequest) (p timelines.Point, err error) {
	p.Offset = req.Line.Offset
	if p.System, p.Timeline, err = targets.ParsePostgresTimeline(req.Line.Timeline); err != nil {
		return p, err
	}

	if p.History, err = timelines.Parse(req.History); err == nil && p.Timeline > 1 && len(p.History) == 0 {
		err = fmt.Errorf("the history of timeline %d is missing", p.Timeline)
	}

	return p, err
}

// onLine refuses a standby of another branch, whatever its numbers are.
func (h *hands) onLine(at, line timelines.Point, exact bool) error {
	how, fork := timelines.Relate(at, line)
	if how == timelines.Diverged || exact && how != timelines.Same {
		return fail.New(fail.Conflict, opPromote, h.req.New.String(), "choose another standby, or recover from the vault",
			fmt.Errorf("it is at %s of timeline %d, and %v of %s of timeline %d since %s", targets.FormatLSN(at.Offset), at.Timeline, how,
				targets.FormatLSN(line.Offset), line.Timeline, targets.FormatLSN(fork)))
	}

	return nil
}

// writable promotes the standby and waits until it takes writes.
func (h *hands) writable(ctx context.Context) error {
	// It does not wait there: the server would look only every 100 ms.
	err := h.new.run(ctx, opPromote, "GRANT EXECUTE ON FUNCTION pg_promote TO "+h.req.New.User, "SELECT pg_catalog.pg_promote(false)")
	if err != nil {
		// A process before this one may have told it, a moment ago.
		if v, lerr := h.new.look(ctx, opPromote); lerr != nil || v.standby {
			return err
		}
	}

	return await(ctx, opPromote, h.req.New, func() string { return "it was told to take writes, and does not yet" }, func() (bool, error) {
		var standby bool
		err := h.new.ask(ctx, opPromote, "", "SELECT pg_catalog.pg_is_in_recovery()", nil, &standby)

		return !standby, err
	})
}

// promoted reads where the new side left the line.
func (h *hands) promoted(_ context.Context, out *handover.Promoted, now, line timelines.Point, exact bool) error {
	if len(now.History) == 0 {
		return fail.New(fail.Conflict, opPromote, h.req.New.String(), "see drctl status", errors.New("it is a primary that was never promoted"))
	}
	last := now.History[len(now.History)-1]

	_, fork := timelines.Relate(now, line)
	switch {
	case now.Timeline == line.Timeline && fork == min(now.Offset, line.Offset):
		return fail.New(fail.Conflict, opPromote, h.req.New.String(), "see drctl status", fmt.Errorf("it is the primary of timeline %d itself", line.Timeline))
	case fork != min(last.End, line.Offset), exact && last.End != line.Offset:
		return fail.New(fail.Conflict, opPromote, h.req.New.String(), "choose another standby, or recover from the vault",
			fmt.Errorf("it was promoted at %s of timeline %d, which is not on the line to %s of timeline %d", targets.FormatLSN(last.End), last.Timeline,
				targets.FormatLSN(line.Offset), line.Timeline))
	}

	out.Fork = position(timelines.Point{System: now.System, Timeline: last.Timeline, Offset: last.End})
	out.Begins = position(timelines.Point{System: now.System, Timeline: now.Timeline, Offset: last.End})

	return nil
}

// Probe commits a transaction and asks for its fate. It touches no table.
func (h *hands) Probe(ctx context.Context) error {
	var xid, state string

	if err := h.new.ask(ctx, opProbe, "", "SELECT pg_catalog.pg_current_xact_id()::text", nil, &xid); err != nil {
		return err
	}

	if err := h.new.ask(ctx, opProbe, "", "SELECT coalesce(pg_catalog.pg_xact_status($1::text::xid8), 'unknown')", []any{xid}, &state); err != nil {
		return err
	}

	if state != "committed" {
		return fail.New(fail.Unverified, opProbe, h.req.New.String(), "look at its log", fmt.Errorf("a transaction was answered as committed, and is %s", state))
	}

	return nil
}
