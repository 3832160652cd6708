package switchover

import (
	"context"
	"errors"
	"fmt"
	"time"

	"drctl/internal/fail"
	"drctl/internal/retry"
	"drctl/targets"
	"drctl/targets/handover"
	"drctl/targets/postgres/control"
	"drctl/targets/postgres/postmaster"
	"drctl/targets/postgres/timelines"
)

const (
	opPrepare = "switch: prepare"
	// settle bounds how long the standby may take to show that it gets what the old
	// side writes, and the archiver to come close enough.
	settle = 10 * time.Second
	// followerSlot is the slot for the old side where the standby has none whose name
	// could be taken over.
	followerSlot = "drctl_standby"
)

// Prepare connects, judges both sides, makes the slots that the new side needs as a
// primary, and writes a checkpoint on the old one, which would be written while
// nobody can write otherwise.
func (h *hands) Prepare(ctx context.Context) (out handover.Prepared, err error) {
	old, err := h.old.look(ctx, opPrepare)
	if err != nil {
		return out, err
	}

	next, err := h.new.look(ctx, opPrepare)
	if err != nil {
		return out, err
	}

	if err := h.sides(old, next); err != nil {
		return out, err
	}

	if err := h.within(old); err != nil {
		return out, err
	}

	if err := h.quiet(ctx); err != nil {
		return out, err
	}

	from, err := h.old.point(ctx, opPrepare)
	if err != nil {
		return out, err
	}

	if out.Lag, err = h.streams(ctx, from); err != nil {
		return out, err
	}
	out.At = position(from)

	if out.Warnings, err = h.warnings(ctx); err != nil {
		return out, err
	}

	if err := h.slots(ctx, true); err != nil {
		return out, err
	}

	h.req.Progress.Report("checkpoint", 0, 0)

	if err := h.old.run(ctx, opPrepare, "", "CHECKPOINT"); fail.Is(err, fail.Denied) {
		out.Warnings = append(out.Warnings, "the user may not write a checkpoint, so that writers will wait for it: "+h.old.grant("pg_checkpoint")+" (PostgreSQL 15 and later; before, a superuser)")
	} else if err != nil {
		return out, err
	}

	return out, h.archiverNear(ctx)
}

// sides judges what both servers are.
func (h *hands) sides(old, next seen) error {
	conflict := func(in targets.Instance, hint, format string, args ...any) error {
		return fail.New(fail.Conflict, opPrepare, in.String(), hint, fmt.Errorf(format, args...))
	}

	switch {
	case old.standby:
		return conflict(h.req.Old, "see drctl status for who is the primary", "it is a standby")
	case !next.standby:
		return conflict(h.req.New, "see drctl status for who is the primary", "it is no standby")
	case old.system != next.system:
		return conflict(h.req.New, "name instances of one cluster", "it is of cluster %s, the old side is of %s", next.system, old.system)
	case old.version/10000 != next.version/10000:
		return conflict(h.req.New, "", "it is of version %d, the old side is of %d", next.version/10000, old.version/10000)
	case h.req.Old.DataDir == "":
		return fail.New(fail.Unsupported, opPrepare, h.req.Old.String(), "set data_dir, and let a worker on the host of the old side do it",
			errors.New("without its directory nobody can see where the old side's log ends"))
	}

	return nil
}

// within makes sure that the server in the old side's directory is the one that
// answers at its address.
func (h *hands) within(old seen) error {
	st, err := control.ReadState(h.req.Old.DataDir)
	if err != nil {
		return fail.New(fail.Denied, opPrepare, h.req.Old.String(), "run as root or as the user of the server, on its host", err)
	}

	if st.SystemID != old.system {
		return fail.New(fail.Invalid, opPrepare, h.req.Old.String(), "correct data_dir or address", fmt.Errorf("its directory is of cluster %s, its address of %s", st.SystemID, old.system))
	}

	// Another host may have a directory of the same name, with a standby in it.
	if st.Phase == control.InArchiveRecovery {
		return fail.New(fail.Invalid, opPrepare, h.req.Old.String(), "let a worker on the host of the old side do it", fmt.Errorf("what is in %s here is a standby", h.req.Old.DataDir))
	}

	srv, err := postmaster.Find(h.req.Old.DataDir)
	if err != nil {
		return err
	}

	if len(h.req.Host.Stop) == 0 && !srv.Owns(old.pid) {
		return fail.New(fail.Invalid, opPrepare, h.req.Old.String(), "correct data_dir or address, or configure a command that stops the server",
			fmt.Errorf("the server in %s (process %d) is not the one that answers", h.req.Old.DataDir, srv.Pid))
	}

	return nil
}

// quiet refuses while a transaction has been open for long on the old side, which
// the stop would end, and while the new side does not replay.
func (h *hands) quiet(ctx context.Context) error {
	var pid int
	var for_ float64

	err := h.old.ask(ctx, opPrepare, h.old.grant("pg_monitor"), `SELECT coalesce(max(pid), 0), coalesce(max(EXTRACT(epoch FROM pg_catalog.clock_timestamp() - xact_start)), 0)::float8
		FROM (SELECT pid, xact_start FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()
		AND xact_start < pg_catalog.clock_timestamp() - $1::interval ORDER BY xact_start LIMIT 1) x`, []any{h.req.MaxTransaction}, &pid, &for_)
	if err != nil {
		return err
	}

	if pid != 0 {
		return fail.New(fail.Stalled, opPrepare, h.req.Old.String(), "wait for it, or end it (pg_terminate_backend), or allow longer ones",
			fmt.Errorf("the session of process %d has been in a transaction for %.0f s", pid, for_))
	}

	var paused bool

	var delay string
	if err := h.new.ask(ctx, opPrepare, "", `SELECT pg_catalog.pg_is_wal_replay_paused(), pg_catalog.current_setting('recovery_min_apply_delay')`, nil, &paused, &delay); err != nil {
		return err
	}

	if paused || delay != "0" {
		return fail.New(fail.Conflict, opPrepare, h.req.New.String(), "pg_wal_replay_resume(); recovery_min_apply_delay = 0",
			fmt.Errorf("it does not replay at once: paused %v, delay %s", paused, delay))
	}

	return nil
}

// streams makes sure that the new side gets what this old side writes now: on its
// timeline, with a lag within the limit, and up to a message written for the purpose.
func (h *hands) streams(ctx context.Context, from timelines.Point) (lag uint64, err error) {
	to, err := h.new.point(ctx, opPrepare)
	if err != nil {
		return 0, err
	}

	if how, fork := timelines.Relate(to, from); how == timelines.Diverged {
		return 0, fail.New(fail.Conflict, opPrepare, h.req.New.String(), "build this standby anew",
			fmt.Errorf("it has log that the old side does not have: both parted at %s", targets.FormatLSN(fork)))
	}

	if to.Offset < from.Offset {
		lag = from.Offset - to.Offset
	}

	if lag > h.req.MaxLag {
		return lag, fail.New(fail.Stalled, opPrepare, h.req.New.String(), "wait until it has caught up", fmt.Errorf("it is %d bytes behind, the limit is %d", lag, h.req.MaxLag))
	}

	var streaming bool
	if err := h.new.ask(ctx, opPrepare, h.new.grant("pg_monitor"), "SELECT coalesce((SELECT status = 'streaming' AND received_tli = $1 FROM pg_catalog.pg_stat_wal_receiver), false)",
		[]any{int64(from.Timeline)}, &streaming); err != nil {
		return lag, err
	}

	if !streaming {
		return lag, fail.New(fail.Conflict, opPrepare, h.req.New.String(), "look at its log and its primary_conninfo", fmt.Errorf("it does not stream timeline %d", from.Timeline))
	}

	var mark string
	if err := h.old.ask(ctx, opPrepare, "", "SELECT pg_catalog.pg_logical_emit_message(true, 'drctl/switch', 'prepare')::text", nil, &mark); err != nil {
		return lag, err
	}

	at, err := targets.ParseLSN(mark)
	if err != nil {
		return lag, err
	}

	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()

	if _, err := h.new.replayed(ctx, opPrepare, at); err != nil {
		return lag, fail.New(fail.CodeOf(err), opPrepare, h.req.New.String(), "does it follow this primary? look at its log", err)
	}

	return lag, nil
}

// warnings say what will take long, or be in the way on the new side.
func (h *hands) warnings(ctx context.Context) (out []string, err error) {
	var names, retryAfter string
	var may bool

	err = h.new.ask(ctx, opPrepare, "", `SELECT pg_catalog.current_setting('synchronous_standby_names'), pg_catalog.current_setting('wal_retrieve_retry_interval'),
		pg_catalog.has_function_privilege('pg_catalog.pg_promote(boolean,integer)', 'EXECUTE')`, nil, &names, &retryAfter, &may)
	if err != nil {
		return nil, err
	}

	if !may {
		return nil, fail.New(fail.Denied, opPrepare, h.req.New.String(), "on the primary, as a superuser: GRANT EXECUTE ON FUNCTION pg_promote TO "+h.req.New.User, errors.New("the user may not promote it"))
	}

	var archives bool
	if err := h.old.ask(ctx, opPrepare, "", "SELECT pg_catalog.current_setting('archive_mode') <> 'off'", nil, &archives); err != nil {
		return nil, err
	}

	if archives {
		out = append(out, "archive_mode is on: when the old side stops it fills up its segment of log, and writers wait until the new side has all of it (16 MB by default)")
	}

	if names != "" {
		out = append(out, "commits on the new side will wait for synchronous_standby_names = "+names)
	}

	if d, err := time.ParseDuration(retryAfter); err != nil || d > time.Second {
		out = append(out, "wal_retrieve_retry_interval of the standby is "+retryAfter+": after an undone switchover it takes that long to follow again; 1s is better, and much less costs processor time while its primary is gone")
	}

	return out, nil
}

// slots makes the archiver's slot on the new side where the old side has one, and
// (pair) one for the old side, which will follow.
func (h *hands) slots(ctx context.Context, pair bool) error {
	names := []string{h.o.Slot}
	if pair {
		name, err := h.new.followerSlot(ctx, opPrepare)
		if err != nil {
			return err
		}
		names = append(names, name)
	}

	for _, name := range names {
		if err := h.new.makeSlot(ctx, opPrepare, name); err != nil {
			return err
		}
	}

	return nil
}

// followerSlot is the name of the slot through which this standby follows. The other
// side follows it through one of the same name.
func (s *side) followerSlot(ctx context.Context, op string) (name string, err error) {
	err = s.ask(ctx, op, s.grant("pg_read_all_settings"), "SELECT coalesce(nullif(pg_catalog.current_setting('primary_slot_name'), ''), $1)", []any{followerSlot}, &name)
	return name, err
}

// makeSlot makes a physical slot that keeps log from now on. One that is lost is
// made again.
func (s *side) makeSlot(ctx context.Context, op, name string) error {
	if name == "" {
		return nil
	}
	grant := "ALTER ROLE " + s.in.User + " REPLICATION"

	var found, lost bool

	err := s.ask(ctx, op, s.grant("pg_monitor"), `SELECT count(*) > 0, coalesce(bool_or(coalesce(wal_status, '') = 'lost' OR restart_lsn IS NULL), false)
		FROM pg_catalog.pg_replication_slots WHERE slot_name = $1 AND slot_type = 'physical'`, []any{name}, &found, &lost)
	if err != nil || found && !lost {
		return err
	}

	if lost {
		if err := s.run(ctx, op, grant, "SELECT pg_catalog.pg_drop_replication_slot($1)", name); err != nil {
			return err
		}
	}

	return s.run(ctx, op, grant, "SELECT pg_catalog.pg_create_physical_replication_slot($1, true)", name)
}

// dropSlots removes slots that nobody uses: they would keep log for ever.
func (s *side) dropSlots(ctx context.Context, op string, names ...string) error {
	return s.run(ctx, op, "ALTER ROLE "+s.in.User+" REPLICATION", `SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots
		WHERE slot_name = ANY($1) AND slot_type = 'physical' AND NOT active`, names)
}

// archiverNear waits until the log that the archiver lacks is log that its slot on
// the new side keeps: it goes on there without a gap.
func (h *hands) archiverNear(ctx context.Context) error {
	var keeps string
	var segment int64

	err := h.new.ask(ctx, opPrepare, h.new.grant("pg_monitor"), `SELECT restart_lsn::text, (SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'wal_segment_size')
		FROM pg_catalog.pg_replication_slots WHERE slot_name = $1`, []any{h.o.Slot}, &keeps, &segment)
	if err != nil {
		return err
	}

	from, err := targets.ParseLSN(keeps)
	if err != nil {
		return err
	}
	from = timelines.SegmentStart(from, uint64(segment)) // whole files are kept

	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()

	return retry.Do(ctx, retry.Policy{First: 50 * time.Millisecond, Max: 500 * time.Millisecond, If: retry.On(fail.Stalled)}, func() error {
		var ok bool
		var at string

		err := h.old.ask(ctx, opPrepare, h.old.grant("pg_monitor"), `SELECT coalesce(bool_and(restart_lsn >= $2::text::pg_lsn), true), coalesce(max(restart_lsn)::text, '')
			FROM pg_catalog.pg_replication_slots WHERE slot_name = $1`, []any{h.o.Slot, targets.FormatLSN(from)}, &ok, &at)
		if err != nil || ok {
			return err
		}

		return fail.New(fail.Stalled, opPrepare, h.req.Old.String(), "see drctl status for why the archiver is behind",
			fmt.Errorf("the archiver has come to %s, and the new side keeps log from %s on: the archive would have a gap", at, keeps))
	})
}
