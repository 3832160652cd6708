package switchover

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/sandbox/claim"
	"drctl/targets"
	"drctl/targets/handover"
	"drctl/targets/postgres/control"
	"drctl/targets/postgres/fencing"
	"drctl/targets/postgres/localwal"
	"drctl/targets/postgres/postmaster"
	"drctl/targets/postgres/replayconf"
	"drctl/targets/postgres/timelines"
)

const (
	opRejoin = "rejoin"
	// stall is for how long a standby that comes up may make no progress.
	stall = time.Minute
)

// rejoin is one old primary on its way to become a standby.
type rejoin struct {
	o        *Options
	req      handover.RejoinRequest
	old, new *side
	out      handover.Rejoined
}

// Rejoin makes the old primary a standby of the new one.
func (s *Switcher) Rejoin(ctx context.Context, req handover.RejoinRequest) (handover.Rejoined, error) {
	r := &rejoin{o: &s.o, req: req, old: &side{o: &s.o, in: req.Old}, new: &side{o: &s.o, in: req.New}}
	defer r.old.close()
	defer r.new.close()

	if req.Old.DataDir == "" {
		return r.out, fail.New(fail.Unsupported, opRejoin, req.Old.String(), "set data_dir, and let a worker on its host do it", errors.New("its directory is out of reach"))
	}

	return r.out, r.do(ctx)
}

func (r *rejoin) do(ctx context.Context) error {
	to, v, err := r.new.stands(ctx, opRejoin)
	if err != nil {
		return err
	}

	if v.standby {
		return fail.New(fail.Conflict, opRejoin, r.req.New.String(), "see drctl status for who is the primary", errors.New("it is a standby"))
	}
	r.out.Method = "as it was"

	srv, err := postmaster.Find(r.req.Old.DataDir)
	if err == nil {
		return r.running(ctx, srv, to)
	}

	if !fail.Is(err, fail.NotFound) {
		return err
	}

	if err := r.reconcile(ctx, to); err != nil {
		return err
	}

	return r.follow(ctx, to)
}

// running takes a server that runs already for what it is: a standby that only has
// to be told whom to follow, or a primary, which nobody stops here.
func (r *rejoin) running(ctx context.Context, srv postmaster.Server, to timelines.Point) error {
	var v seen

	// An attempt before this one may just have started it.
	err := await(ctx, opRejoin, r.req.Old, func() string { return "its server does not answer" }, func() (bool, error) {
		var err error
		if v, err = r.old.look(ctx, opRejoin); fail.Is(err, fail.Unavailable) && srv.Alive() {
			time.Sleep(10 * time.Millisecond)
			return false, nil
		}

		return err == nil, err
	})
	if err != nil {
		return err
	}

	if !v.standby {
		return fail.New(fail.Conflict, opRejoin, r.req.Old.String(), "fence it: two servers of this shard take writes", fmt.Errorf("it runs as a primary (process %d)", srv.Pid))
	}

	if r.streams(ctx, to.Timeline) == nil {
		return r.tidy(ctx)
	}

	// It may have been started while it was sealed, or by an attempt before this one.
	if err := srv.Stop(ctx); err != nil {
		return err
	}

	return r.do(ctx)
}

// reconcile makes sure that the old side's log is a beginning of the new one's.
func (r *rejoin) reconcile(ctx context.Context, to timelines.Point) error {
	laid := exists(filepath.Join(r.req.Old.DataDir, handover.LaidDown))

	if empty, err := claim.Empty(r.req.Old.DataDir); err != nil || empty || !laid && exists(filepath.Join(r.req.Old.DataDir, targets.ClaimFile)) {
		return r.needsBase(true, errors.Join(err, errors.New("there is nothing in its directory that could follow")))
	}

	log, st, err := localwal.Of(r.req.Old.DataDir)
	if err != nil {
		return r.rebuild(err)
	}

	if st.SystemID != to.System {
		return fail.New(fail.Invalid, opRejoin, r.req.Old.String(), "correct data_dir", fmt.Errorf("its directory is of cluster %s, the primary of %s", st.SystemID, to.System))
	}

	if laid { // it never was a primary
		return nil
	}

	rec, err := log.End(st.Redo)
	if err != nil {
		return r.rebuild(err)
	}
	end := log.Point
	end.Offset = uint64(rec.End)

	how, fork := timelines.Relate(end, to)
	primary := st.Phase != control.InArchiveRecovery && st.Phase != control.ShutDownInRecovery

	switch {
	case !r.rewinding() && (how == timelines.Same || how == timelines.Behind):
		if primary && end.Timeline == to.Timeline {
			return r.rebuild(fmt.Errorf("it was a primary on timeline %d, which the new primary is on, too: nobody can tell their logs apart", end.Timeline))
		}

		return nil
	case fork == 0:
		return r.rebuild(errors.New("it has no log in common with the new primary"))
	}

	if !r.req.MayRewind {
		return fail.New(fail.Unverified, opRejoin, r.req.Old.String(), "see what it lost; then allow it to be rewound",
			fmt.Errorf("it has log that the new primary does not have, from %s to %s", targets.FormatLSN(fork), targets.FormatLSN(end.Offset)))
	}

	return r.rewind(ctx, targets.Position{Kind: targets.Postgres, Timeline: targets.PostgresTimeline(to.System, end.History.At(fork, end.Timeline)), Offset: fork})
}

// rebuild says that a base is needed.
func (r *rejoin) rebuild(why error) error { return r.needsBase(false, why) }

func (r *rejoin) needsBase(empty bool, why error) error {
	return fail.New(fail.Unverified, opRejoin, r.req.Old.String(), "build it anew from a base; its directory was left as it is",
		fmt.Errorf("it cannot be made a standby: %w", handover.NeedsBase{Empty: empty, Why: why}))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// follow starts the server as a standby and waits until it streams.
func (r *rejoin) follow(ctx context.Context, to timelines.Point) error {
	slot, err := r.new.followerSlot(ctx, opRejoin)
	if err != nil {
		return err
	}

	if err := r.new.makeSlot(ctx, opRejoin, slot); err != nil {
		return err
	}

	set := map[string]string{"primary_conninfo": r.conninfo(), "primary_slot_name": slot, "recovery_target_timeline": "latest"}
	if r.req.RestoreCommand != "" {
		set["restore_command"] = r.req.RestoreCommand
	}

	if exists(filepath.Join(r.req.Old.DataDir, handover.LaidDown)) {
		if err := r.atLeast(ctx, set); err != nil {
			return err
		}
	}

	if err := configure(r.req.Old.DataDir, set); err != nil {
		return err
	}

	if err := seal(r.req.Old.DataDir); err != nil {
		return err
	}

	if err := start(ctx, opRejoin, r.req.Old, r.req.Host); err != nil {
		return err
	}

	if err := r.confirm(ctx, to); err != nil {
		return err
	}

	return r.tidy(ctx)
}

// atLeast adds what a standby has to have as much of as its primary: it was laid down
// with the settings of another server, or without.
func (r *rejoin) atLeast(ctx context.Context, set map[string]string) error {
	for _, name := range replayconf.Settings {
		var v string
		if err := r.new.ask(ctx, opRejoin, "", "SELECT pg_catalog.current_setting($1)", []any{name}, &v); err != nil {
			return err
		}
		set[name] = v
	}

	return nil
}

// conninfo is how the old side reaches the new one.
func (r *rejoin) conninfo() string {
	in := r.req.New
	host, port := in.Address, "5432"

	if strings.HasPrefix(in.Address, "/") {
		if i := strings.LastIndexByte(in.Address, ':'); i > 0 {
			host, port = in.Address[:i], in.Address[i+1:]
		}
	} else if h, p, err := net.SplitHostPort(in.Address); err == nil {
		host, port = h, p
	}

	words := []string{"host=" + connQuote(host), "port=" + connQuote(port), "user=" + connQuote(in.User)}
	if p := in.Password.Reveal(); p != "" {
		words = append(words, "password="+connQuote(p))
	}

	switch in.TLS {
	case "", "disable":
		words = append(words, "sslmode=prefer")
	default:
		words = append(words, "sslmode="+connQuote(in.TLS))

		if in.CAFile != "" {
			words = append(words, "sslrootcert="+connQuote(in.CAFile))
		}
	}

	return strings.Join(append(words, "application_name="+connQuote("drctl_"+r.req.Old.Region), "keepalives_idle=5", "keepalives_interval=3", "keepalives_count=3"), " ")
}

func connQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}

// confirm waits until the standby streams the new timeline and has replayed what
// the primary had flushed, as long as it makes progress.
func (r *rejoin) confirm(ctx context.Context, to timelines.Point) error {
	last, moved := uint64(0), time.Now()

	return await(ctx, opRejoin, r.req.Old, func() string {
		return "it has come to " + targets.FormatLSN(last) + " and does not stream timeline " + fmt.Sprint(to.Timeline)
	}, func() (bool, error) {
		v, err := r.old.look(ctx, opRejoin)
		if err != nil && !fail.Is(err, fail.Unavailable) {
			return false, err
		}

		if err == nil && v.flushed != last {
			last, moved = v.flushed, time.Now()
		}

		if err == nil && v.flushed >= to.Offset && r.streams(ctx, to.Timeline) == nil {
			return true, nil
		}

		if time.Since(moved) > stall {
			return false, fail.New(fail.Unverified, opRejoin, r.req.Old.String(), "see its log; it may have to be built anew from a base",
				fmt.Errorf("it has made no progress for %s: it has replayed up to %s, the primary had %s", stall, targets.FormatLSN(last), targets.FormatLSN(to.Offset)))
		}

		r.req.Progress.Report("replay", int64(last), int64(to.Offset))
		time.Sleep(10 * time.Millisecond)

		return false, nil
	})
}

// streams is nil when the standby receives the timeline from its primary.
func (r *rejoin) streams(ctx context.Context, timeline uint32) error {
	var ok bool
	var from, port string

	err := r.old.ask(ctx, opRejoin, r.old.grant("pg_monitor"), "SELECT status = 'streaming' AND received_tli = $1, coalesce(sender_host, ''), coalesce(sender_port, 0)::text FROM pg_catalog.pg_stat_wal_receiver",
		[]any{int64(timeline)}, &ok, &from, &port)
	if err != nil {
		return err
	}

	if want := net.JoinHostPort(from, port); !ok || !strings.HasPrefix(r.req.New.Address, "/") && want != r.req.New.Address {
		return fail.Newf(fail.Stalled, opRejoin, r.req.Old.String(), "it receives from %s", want)
	}

	return nil
}

// tidy removes from the new standby the slots that it had as a primary, once the new
// primary keeps the log for them: an unused slot keeps log for ever.
func (r *rejoin) tidy(ctx context.Context) error {
	slot, err := r.new.followerSlot(ctx, opRejoin)
	if err != nil {
		return err
	}

	var keeps bool
	if err := r.new.ask(ctx, opRejoin, "", "SELECT count(*) > 0 FROM pg_catalog.pg_replication_slots WHERE slot_name = $1 AND coalesce(wal_status, '') <> 'lost'", []any{r.o.Slot}, &keeps); err != nil {
		return err
	}

	drop := []string{slot}
	if keeps {
		drop = append(drop, r.o.Slot)
	} else {
		r.out.Warnings = append(r.out.Warnings, "the new primary has no slot "+r.o.Slot+" for the archiver: that of the new standby was left, and keeps log")
	}

	if err := os.Remove(filepath.Join(r.req.Old.DataDir, handover.LaidDown)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fail.FromOS(opRejoin, r.req.Old.DataDir, err)
	}

	return r.old.dropSlots(ctx, opRejoin, drop...)
}

// configure sets values as ALTER SYSTEM does, in a directory whose server does not run. A guard's
// hold on what was a primary ends with it.
func configure(dir string, set map[string]string) error {
	path := filepath.Join(dir, "postgresql.auto.conf")

	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fail.FromOS(opRejoin, path, err)
	}

	var kept []string
	for line := range strings.Lines(string(b)) {
		name, _, _ := strings.Cut(line, "=")
		if _, mine := set[strings.TrimSpace(name)]; !mine && strings.TrimSpace(name) != fencing.Held {
			kept = append(kept, strings.TrimRight(line, "\n"))
		}
	}

	for _, name := range slices.Sorted(maps.Keys(set)) {
		kept = append(kept, name+" = "+replayconf.Quote(set[name]))
	}

	return postmaster.WriteOwned(path, []byte(strings.Join(kept, "\n")+"\n"))
}
