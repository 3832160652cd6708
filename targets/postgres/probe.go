package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
	"drctl/internal/retry"
	"drctl/targets"
	"drctl/targets/postgres/receiver"
)

const (
	minVersion = 130000
	// warnHeld is how much unread log is worth a warning when no limit is set.
	warnHeld = 4 << 30
	// warnPrepared is the age past which a prepared transaction is forgotten
	// rather than in flight.
	warnPrepared = 10 * time.Minute
)

// server is what is read from a running server in one round trip.
type server struct {
	systemID    string
	tli         uint32
	standby     bool
	version     int
	versionText string
	segmentSize uint64
	lsn         uint64 // flushed (primary) or replayed (standby)
	started     time.Time
	dataDir     string // "" when the user may not see it
	port        int
}

func (s server) timeline() string { return targets.PostgresTimeline(s.systemID, s.tli) }

func readServer(ctx context.Context, op string, in targets.Instance, conn *pgx.Conn) (server, error) {
	var s server
	var lsn string
	var tli int64

	err := conn.QueryRow(ctx, `SELECT c.system_identifier::text, pg_is_in_recovery(), current_setting('server_version_num')::int, current_setting('server_version'),
(SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size'),
CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_replay_lsn(), '0/0') ELSE pg_current_wal_flush_lsn() END::text,
CASE WHEN pg_is_in_recovery() THEN greatest(p.timeline_id, r.min_recovery_end_timeline, (SELECT received_tli FROM pg_stat_wal_receiver))::bigint
  ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint END,
pg_postmaster_start_time(), coalesce((SELECT setting FROM pg_settings WHERE name = 'data_directory'), ''),
(SELECT setting::int FROM pg_settings WHERE name = 'port')
FROM pg_control_system() c, pg_control_checkpoint() p, pg_control_recovery() r`).
		Scan(&s.systemID, &s.standby, &s.version, &s.versionText, &s.segmentSize, &lsn, &tli, &s.started, &s.dataDir, &s.port)
	if err != nil {
		return s, queryError(op, in, "GRANT pg_monitor TO "+quoteIdent(in.User), err)
	}

	s.tli = uint32(tli)
	if s.version < minVersion {
		return s, fail.New(fail.Unsupported, op, in.String(), "PostgreSQL 13 or later is needed", fmt.Errorf("the server is version %s", s.versionText))
	}

	if s.lsn, err = targets.ParseLSN(lsn); err != nil {
		return s, fail.New(fail.Internal, op, in.String(), "", err)
	}

	return s, nil
}

// Probe looks at a server and changes nothing.
func (d *Driver) Probe(ctx context.Context, in targets.Instance) (targets.Status, error) {
	return d.probe(ctx, in, probeSize)
}

// Reach is Probe without the size, for which the server looks at every file.
func (d *Driver) Reach(ctx context.Context, in targets.Instance) (targets.Status, error) {
	return d.probe(ctx, in)
}

// prober is a part of a probe.
type prober = func(context.Context, targets.Instance, *pgx.Conn, server, *targets.Status, func(string, ...any)) error

func (d *Driver) probe(ctx context.Context, in targets.Instance, more ...prober) (targets.Status, error) {
	const op = "probe"
	st := targets.Status{Checked: time.Now().UTC()}

	conn, err := connect(ctx, op, in)
	if err != nil {
		return st, err
	}
	defer closeConn(conn)

	s, err := readServer(ctx, op, in, conn)
	if err != nil {
		return st, err
	}
	st.Reachable, st.Version, st.Role = true, s.versionText, targets.Primary

	st.Position = targets.Position{Kind: targets.Postgres, Timeline: s.timeline(), Offset: s.lsn}
	if s.standby {
		st.Role = targets.Standby
	}

	warn := func(format string, args ...any) { st.Warnings = append(st.Warnings, fmt.Sprintf(format, args...)) }
	if err := direct(ctx, op, in, conn); err != nil {
		warn("the address leads to a connection pooler: cuts and the stream need the server's own port")
	}

	for _, f := range append(more, probeLag, probeSettings, probeSpaces, d.probeSlot) {
		if err := f(ctx, in, conn, s, &st, warn); err != nil {
			return st, err
		}
	}

	return st, nil
}

func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_ = conn.Close(ctx)
}

func probeSize(ctx context.Context, in targets.Instance, conn *pgx.Conn, _ server, st *targets.Status, warn func(string, ...any)) error {
	var hidden int

	err := conn.QueryRow(ctx, `SELECT coalesce(sum(CASE WHEN may THEN pg_database_size(oid) END), 0)::bigint, count(*) FILTER (WHERE NOT may)
FROM (SELECT oid, has_database_privilege(oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE') AS may FROM pg_database) d`).Scan(&st.Bytes, &hidden)
	if err == nil && hidden > 0 {
		warn("the size leaves out %d databases: GRANT pg_monitor TO %s", hidden, quoteIdent(in.User))
	}

	return queryError("probe", in, "GRANT pg_monitor TO "+quoteIdent(in.User), err)
}

func probeLag(ctx context.Context, in targets.Instance, conn *pgx.Conn, s server, st *targets.Status, warn func(string, ...any)) error {
	var readOnly bool
	var lag float64

	err := conn.QueryRow(ctx, `SELECT current_setting('transaction_read_only')::bool,
CASE WHEN NOT pg_is_in_recovery() OR pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
ELSE coalesce(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()), 0) END::float8`).Scan(&readOnly, &lag)
	if err != nil {
		return queryError("probe", in, "", err)
	}
	st.Writable = !s.standby && !readOnly
	st.Lag = time.Duration(lag * float64(time.Second))

	if !s.standby && readOnly {
		warn("the primary refuses writes (default_transaction_read_only)")
	}

	if s.standby {
		st.Stopped, err = receiver.Stopped(func(sql string, into ...any) error { return conn.QueryRow(ctx, sql).Scan(into...) })
	}

	return queryError("probe", in, "", err)
}

// Tablespaces maps the oid of each tablespace outside the data directory to its
// location. See targets.Spacer.
func (d *Driver) Tablespaces(ctx context.Context, in targets.Instance) (map[string]string, error) {
	conn, err := connect(ctx, "probe", in)
	if err != nil {
		return nil, err
	}
	defer closeConn(conn)

	return readSpaces(ctx, "probe", in, conn)
}

func readSpaces(ctx context.Context, op string, in targets.Instance, conn *pgx.Conn) (map[string]string, error) {
	spaces := map[string]string{}
	// One inside the data directory (allow_in_place_tablespaces) has a relative location.
	rows, err := conn.Query(ctx, "SELECT oid::text, pg_tablespace_location(oid) FROM pg_tablespace WHERE pg_tablespace_location(oid) LIKE '/%'")
	if err == nil {
		var oid, location string
		_, err = pgx.ForEachRow(rows, []any{&oid, &location}, func() error { spaces[oid] = location; return nil })
	}

	return spaces, queryError(op, in, "", err)
}

func probeSpaces(ctx context.Context, in targets.Instance, conn *pgx.Conn, _ server, st *targets.Status, _ func(string, ...any)) (err error) {
	st.Tablespaces, err = readSpaces(ctx, "probe", in, conn)
	return err
}

func probeSettings(ctx context.Context, in targets.Instance, conn *pgx.Conn, _ server, _ *targets.Status, warn func(string, ...any)) error {
	set := map[string]string{}

	rows, err := conn.Query(ctx, `SELECT name, setting FROM pg_settings WHERE name IN
('wal_level', 'fsync', 'full_page_writes', 'data_checksums', 'max_wal_senders', 'max_replication_slots')`)
	if err == nil {
		var name, value string
		_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error { set[name] = value; return nil })
	}

	if err != nil {
		return queryError("probe", in, "", err)
	}

	if set["wal_level"] == "minimal" {
		warn("wal_level is minimal: neither stream nor base is possible; set wal_level = replica and restart the server")
	}

	for _, n := range []string{"max_wal_senders", "max_replication_slots"} {
		if set[n] == "0" {
			warn("%s is 0: the stream is not possible; raise it and restart the server", n)
		}
	}

	for _, n := range []string{"fsync", "full_page_writes"} {
		if set[n] == "off" {
			warn("%s is off: a crash of the host can damage this server", n)
		}
	}

	if set["data_checksums"] == "off" {
		warn("data checksums are off: damage on this server's disk is not found; pg_checksums --enable switches them on while it is stopped")
	}

	rows, err = conn.Query(ctx, `SELECT gid, extract(epoch FROM clock_timestamp() - prepared)::float8 FROM pg_prepared_xacts
WHERE clock_timestamp() - prepared > make_interval(secs => $1) ORDER BY prepared LIMIT 5`, warnPrepared.Seconds())
	if err == nil {
		var gid string
		var age float64
		_, err = pgx.ForEachRow(rows, []any{&gid, &age}, func() error {
			warn("transaction %q has been prepared for %s: it blocks cuts of its tables and vacuum; COMMIT PREPARED or ROLLBACK PREPARED it",
				gid, time.Duration(age*float64(time.Second)).Round(time.Second))

			return nil
		})
	}

	return queryError("probe", in, "", err)
}

// slotState is the row of a slot; found is false when there is none.
type slotState struct {
	found    bool
	kind     string
	active   bool // somebody reads it
	pid      int
	restart  uint64 // 0 when nothing is reserved
	status   string // reserved, extended, unreserved, lost, "" unknown
	safe     int64  // bytes until it is lost; -1 unlimited
	held     int64
	keepSize int64 // bytes; -1 unlimited
}

func readSlot(ctx context.Context, op string, in targets.Instance, conn *pgx.Conn, name string) (slotState, error) {
	s := slotState{found: true}
	var restart string
	// Who holds it reads it only while its session streams; the state of another
	// user's session may be hidden.
	err := conn.QueryRow(ctx, `SELECT slot_type, coalesce((SELECT coalesce(state IN ('streaming', 'catchup'), true) FROM pg_stat_replication WHERE pid = active_pid), false), coalesce(active_pid, 0), coalesce(restart_lsn, '0/0')::text, coalesce(wal_status, ''), coalesce(safe_wal_size, -1),
coalesce(greatest(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn), 0), 0)::bigint,
(SELECT CASE WHEN setting::bigint < 0 THEN -1 ELSE setting::bigint * 1048576 END FROM pg_settings WHERE name = 'max_slot_wal_keep_size')
FROM pg_replication_slots WHERE slot_name = $1`, name).
		Scan(&s.kind, &s.active, &s.pid, &restart, &s.status, &s.safe, &s.held, &s.keepSize)
	if errors.Is(err, pgx.ErrNoRows) {
		return slotState{}, nil
	}

	if err != nil {
		return s, queryError(op, in, "GRANT pg_monitor TO "+quoteIdent(in.User), err)
	}

	s.restart, err = targets.ParseLSN(restart)
	if err != nil {
		return s, fail.New(fail.Internal, op, in.String(), "", err)
	}

	return s, nil
}

func (d *Driver) probeSlot(ctx context.Context, in targets.Instance, conn *pgx.Conn, srv server, st *targets.Status, warn func(string, ...any)) error {
	s, err := readSlot(ctx, "probe", in, conn, d.slot)
	// The archiver leaves the slot for a moment when it moves it.
	for try := 0; err == nil && s.found && !s.active && try < 5; try++ {
		_ = retry.Sleep(ctx, 100*time.Millisecond) // the next call tells that ctx has ended
		s, err = readSlot(ctx, "probe", in, conn, d.slot)
	}

	if err != nil {
		return err
	}

	if !s.found {
		if !srv.standby {
			warn("replication slot %q does not exist: the server is not being archived; the archiver makes it when it starts", d.slot)
		}

		return nil
	}

	st.Held, st.HeldLimit = s.held, s.keepSize
	for _, w := range s.warnings(d.slot) {
		warn("%s", w)
	}

	return nil
}

// warnings judges a slot. It speaks up at a quarter of what is left to lose.
func (s slotState) warnings(name string) (out []string) {
	warn := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if s.kind != "physical" {
		warn("replication slot %q is %s, not physical: choose another slot name or drop it", name, s.kind)
		return out
	}

	if s.status == "lost" {
		warn("replication slot %q is lost: the server has removed log that was not archived; the stream has a hole, take a new base", name)
		return out
	}

	if !s.active {
		warn("nobody reads replication slot %q, which keeps %s of log: start the archiver, or drop the slot if this server is no longer protected", name, mib(s.held))
	}

	next := "get the archiver going"
	if s.active {
		next = "see what keeps the archiver, which reads it, from storing the log or moving the slot"
	}

	switch {
	case s.keepSize < 0 && s.held > warnHeld:
		warn("replication slot %q keeps %s of log and nothing limits it: the server's disk fills up; %s and set max_slot_wal_keep_size", name, mib(s.held), next)
	case s.keepSize < 0:
		warn("max_slot_wal_keep_size is unlimited: a stopped archiver would fill the server's disk; set it to what the disk can spare")
	case s.status == "unreserved":
		warn("replication slot %q is about to be lost: the server removes its log at the next checkpoint; %s now", name, next)
	case s.keepSize > 0 && s.held*4 > s.keepSize:
		warn("replication slot %q keeps %s of log of at most %s, %s are left until it is lost: %s, or raise max_slot_wal_keep_size",
			name, mib(s.held), mib(s.keepSize), mib(max(s.safe, 0)), next)
	}

	return out
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
