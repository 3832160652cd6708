package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/postgres/deadlock"
	"drctl/targets/postgres/lockorder"
	"drctl/targets/postgres/sqlstate"
)

// RestorePoint is the name of a cut's restore point on every server.
func RestorePoint(cutID string) string { return "drctl:" + cutID }

var cutIDPattern = regexp.MustCompile(`^[0-9A-Za-z._-]{1,56}$`)

// member is one server inside one barrier: one session, and at most one
// transaction in it, which holds the gate below a savepoint and the table
// locks above it.
type member struct {
	d       *Driver
	in      targets.Instance
	req     targets.JoinRequest
	conn    *pgx.Conn
	side    *deadlock.Lookout // nil where the server itself looks for deadlocks at once
	tables  []table           // whose writers are stopped
	names   []string          // of those that are named for it, in the order of their locking
	at      targets.Position  // timeline and restore point, prepared
	block   bool              // the server runs blocks
	left    []string          // what was left out, and why
	what    targets.LockedTables
	maxWait time.Duration // longest wait for locks that cannot make a client the victim of a deadlock

	open    bool // a transaction is open
	locked  bool // the table locks are held
	gate    bool // the gate is held
	refused bool // the gate was not granted before
	dropped atomic.Bool
	lease   *time.Timer // the client's own end of the lease
}

// Join connects and prepares. See targets.Quiescer.
func (d *Driver) Join(ctx context.Context, in targets.Instance, req targets.JoinRequest) (targets.Member, error) {
	const op = "cut: join"
	if req.Lease <= 0 || req.Budget <= 0 || !cutIDPattern.MatchString(req.CutID) {
		return nil, fail.Newf(fail.Invalid, op, in.String(), "cut id %q, lease %s and budget %s must be set", req.CutID, req.Lease, req.Budget)
	}

	conn, err := connect(ctx, op, in)
	if err != nil {
		return nil, err
	}

	m := &member{d: d, in: in, req: req, conn: conn}
	if err := m.prepare(ctx); err != nil {
		m.Close()
		return nil, err
	}

	return m, nil
}

func (m *member) prepare(ctx context.Context) error {
	const op = "cut: join"
	if err := direct(ctx, op, m.in, m.conn); err != nil {
		return err
	}
	var standby, readOnly bool
	var walLevel, user string
	var version, deadlock, lockTable int
	var mayMark, maySee bool

	err := m.conn.QueryRow(ctx, `SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')::bool,
current_setting('wal_level'), current_setting('server_version_num')::int, current_user::text,
has_function_privilege('pg_catalog.pg_create_restore_point(text)', 'EXECUTE'), pg_has_role('pg_read_all_stats', 'USAGE'),
coalesce((SELECT has_language_privilege(oid, 'USAGE') FROM pg_catalog.pg_language WHERE lanname = 'plpgsql'), false),
(SELECT setting::int FROM pg_catalog.pg_settings WHERE name = 'deadlock_timeout'),
current_setting('max_locks_per_transaction')::int * (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int)`).
		Scan(&standby, &readOnly, &walLevel, &version, &user, &mayMark, &maySee, &m.block, &deadlock, &lockTable)
	if err != nil {
		return queryError(op, m.in, "", err)
	}

	switch {
	case standby || readOnly:
		return fail.New(fail.Conflict, op, m.in.String(), "point the instance at the writable primary", fmt.Errorf("the server is a standby or read-only"))
	case walLevel == "minimal":
		return fail.New(fail.Unsupported, op, m.in.String(), "set wal_level = replica and restart the server", fmt.Errorf("wal_level is minimal"))
	}

	m.maxWait = time.Duration(deadlock) * time.Millisecond / 2
	if m.req.GateOnly {
		if !maySee { // who holds it would not be known
			return denied(op, m.in, "as a superuser run: GRANT pg_monitor TO "+quoteIdent(user), quoteIdent(user))
		}

		if err := m.sessionSettings(ctx, version); err != nil {
			return err
		}

		return m.refuseGate(ctx, op)
	}

	if m.tables, err = quiesceTables(ctx, op, m.in, m.conn, version); err != nil {
		return err
	}

	if err := m.mayQuiesce(op, user, version, mayMark, maySee); err != nil {
		return err
	}

	if err := m.fits(ctx, op, lockTable); err != nil {
		return err
	}

	if err := m.leaveOut(ctx, op); err != nil {
		return err
	}

	for _, t := range roots(m.tables) {
		m.names = append(m.names, t.name)
	}

	m.d.order.Sort(m.server(), m.names)

	if err := m.whatLocks(ctx, op); err != nil {
		return err
	}
	var sys, tli string

	err = m.conn.QueryRow(ctx, `SELECT system_identifier::text, substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) FROM pg_control_system()`).Scan(&sys, &tli)
	if err != nil {
		return queryError(op, m.in, "GRANT pg_monitor TO "+quoteIdent(user), err)
	}

	m.at = targets.Position{Kind: targets.Postgres, Timeline: sys + "-" + tli, RestorePoint: RestorePoint(m.req.CutID)}
	if err := m.sessionSettings(ctx, version); err != nil {
		return err
	}

	if err := m.refuse(ctx); err != nil {
		return err
	}

	return m.refuseGate(ctx, op)
}

// server names the server for what is remembered of it across cuts.
func (m *member) server() string {
	return m.in.Shard.String() + " " + m.in.Address + " " + m.in.Database
}

// mayQuiesce checks every privilege that the barrier needs before anything is
// locked, and names all that are missing at once.
func (m *member) mayQuiesce(op, user string, version int, mayMark, maySee bool) error {
	user = quoteIdent(user)

	var grants []string
	if !mayMark {
		grants = append(grants, "GRANT EXECUTE ON FUNCTION pg_create_restore_point(text) TO "+user)
	}

	if !maySee { // long transactions would not be noticed
		grants = append(grants, "GRANT pg_monitor TO "+user)
	}
	tables := lockGrants(roots(m.tables), user, version)

	hint := "as a superuser run: " + strings.Join(append(grants, tables...), "; ")
	if len(tables) > 0 {
		hint += "; for tables that are made later, ALTER DEFAULT PRIVILEGES does the same"
	}

	if len(grants)+len(tables) == 0 {
		return nil
	}

	return denied(op, m.in, hint, user)
}

func denied(op string, in targets.Instance, hint, user string) error {
	return fail.New(fail.Denied, op, in.String(), hint, fmt.Errorf("user %s lacks privileges", user))
}

// fits refuses to lock so many tables that the customers' own statements would
// find the server's lock table full.
func (m *member) fits(ctx context.Context, op string, lockTable int) error {
	const hint = "name the tables that cross-shard transactions write in the target's tables, or raise max_locks_per_transaction and restart the server"
	n := len(m.tables)

	cause := fmt.Errorf("%d tables are to be locked, and the server's lock table has room for about %d locks of all sessions", n, lockTable)
	if n > lockTable/2 {
		return fail.New(fail.Exhausted, op, m.in.String(), hint, cause)
	}

	if n > lockTable/4 {
		m.d.log.WarnContext(ctx, "cut: "+cause.Error(), "instance", m.in.String(), "hint", hint)
	}

	return nil
}

// sessionSettings makes the server notice a client that is gone: while the
// client is silent (keepalive), while an answer is under way
// (tcp_user_timeout) and while the server itself waits for a lock
// (client_connection_check_interval).
func (m *member) sessionSettings(ctx context.Context, version int) error {
	user := max(int(m.req.Lease.Milliseconds()), 1000)

	sql := fmt.Sprintf(`SET tcp_keepalives_idle = 1; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 2;
SET tcp_user_timeout = %d; SET search_path = pg_catalog; SET default_transaction_isolation = 'read committed'`, user)
	if version >= 140000 {
		sql += fmt.Sprintf("; SET client_connection_check_interval = %d", max(user/2, 100))
	}

	if m.block {
		sql += "; DO 'BEGIN END'" // the first block of a session loads the language: not inside the barrier
	}

	if err := m.exec(ctx, sql); err != nil {
		return queryError("cut: join", m.in, "", err)
	}

	if err := m.lookOut(ctx); err != nil {
		return err
	}

	return m.near(ctx)
}

// lookOut sees to it that a deadlock is found in milliseconds, and always by the barrier, which
// yields: by the server, where the role may set how soon it looks, and else from a session at the side.
// Where none is to be had the lock's own time-out ends it.
func (m *member) lookOut(ctx context.Context) error {
	const op = "cut: join"

	err := m.exec(ctx, "SET deadlock_timeout = 5")
	if err == nil || m.req.GateOnly && sqlstate.Of(err) == "42501" {
		return nil
	}

	if sqlstate.Of(err) != "42501" {
		return queryError(op, m.in, "", err)
	}

	side, err := connect(ctx, op, m.in)
	if err == nil {
		m.side, err = deadlock.New(ctx, side, m.conn.PgConn().PID())
	}

	if err != nil {
		m.d.log.DebugContext(ctx, "cut: no session to look for deadlocks from", "instance", m.in.String(), "err", err)
	}

	return ctx.Err()
}

// near refuses a server so far away that one attempt, which has four rounds, and
// the answer to one more, take longer than the budget: others would be stalled for nothing.
func (m *member) near(ctx context.Context) error {
	const op, rounds = "cut: join", 5

	var trip time.Duration
	for range 3 { // one may be slow by chance
		began := time.Now()

		if err := m.exec(ctx, ""); err != nil {
			return queryError(op, m.in, "", err)
		}

		if trip = time.Since(began); trip*rounds <= m.req.Budget {
			m.what.RoundTrip = trip
			return nil
		}
	}

	return fail.New(fail.Stalled, op, m.in.String(), fmt.Sprintf("raise the policy's budget to %s or more, or take cuts from a worker near the servers", (trip*2*rounds).Round(10*time.Millisecond)),
		fmt.Errorf("a round trip takes %s, the budget of an attempt is %s", trip.Round(time.Millisecond), m.req.Budget))
}

// exec runs statements in one round trip, without a transaction of their own
// where they open one.
func (m *member) exec(ctx context.Context, sql string) error {
	_, err := m.conn.PgConn().Exec(ctx, sql).ReadAll()
	return err
}

// begin is the head of the leased transaction. Whatever the client does from here
// on, the server ends it after the lease: when a statement waits for longer, and
// when none comes.
func (m *member) begin() string {
	if m.open {
		return ""
	}
	ms := max(m.req.Lease.Milliseconds(), 1)

	return fmt.Sprintf("BEGIN; SET LOCAL idle_in_transaction_session_timeout = %d; SET LOCAL statement_timeout = %d; SET LOCAL lock_timeout = %d; ", ms, ms, ms)
}

func limits(wait time.Duration) string {
	ms := max(wait.Milliseconds(), 1)
	// lock_timeout counts for each table alone, statement_timeout for all.
	return fmt.Sprintf("SET LOCAL lock_timeout = %d; SET LOCAL statement_timeout = %d; ", ms, ms)
}

func (m *member) restoreLimits() string { return limits(m.req.Lease) }

// watch drops the connection hard when the lease ends by the client's clock.
func (m *member) watch() {
	if m.lease == nil {
		m.lease = time.AfterFunc(m.req.Lease, m.drop)
	}
}

func (m *member) drop() {
	if !m.dropped.Swap(true) {
		_ = m.conn.PgConn().Conn().Close()
	}
}

func (m *member) unwatch() {
	if m.lease != nil {
		m.lease.Stop()
		m.lease = nil
	}
}

// step runs one request of the barrier; on an error that leaves the session
// alive, undo is run and the member stays usable.
func (m *member) step(ctx context.Context, op, sql, undo string) error {
	if err := m.usable(op); err != nil {
		return err
	}

	m.watch()

	err := m.exec(ctx, sql)
	if err == nil {
		m.open = true
		return nil
	}

	if ctx.Err() != nil || m.conn.IsClosed() {
		return m.lost(op, ctx, err)
	}

	if uerr := m.exec(ctx, undo); uerr != nil {
		m.drop()
	}

	if m.conn.PgConn().TxStatus() == 'I' {
		m.open, m.locked, m.gate = false, false, false // the transaction held them
		m.unwatch()
	}

	return queryError(op, m.in, "", err)
}

func (m *member) usable(op string) error {
	if m.dropped.Load() || m.conn.IsClosed() {
		return fail.New(fail.Stalled, op, m.in.String(), "the barrier is gone; the server has let go of it", fmt.Errorf("the lease ended or the connection broke"))
	}

	return nil
}

// lost drops the connection and says why it is of no use any more: the lease
// or the context ended, or the server or the network went away.
func (m *member) lost(op string, ctx context.Context, err error) error {
	ended := m.dropped.Load() || ctx.Err() != nil
	m.drop()

	if ended {
		cause := ctx.Err()
		if cause == nil {
			cause = fmt.Errorf("the lease of %s ended", m.req.Lease)
		}

		return fail.New(fail.Stalled, op, m.in.String(), "the connection was dropped, the server lets go of every lock", cause)
	}

	return queryError(op, m.in, "", err)
}

// Lock stops writers of the group's tables. When it gives up because of one
// table, that table comes first the next time.
func (m *member) Lock(ctx context.Context, wait time.Duration) error {
	const op = "cut: lock tables"

	if m.req.GateOnly {
		return fail.Newf(fail.Invalid, op, m.in.String(), "the member was joined for the gate alone")
	}

	if m.locked {
		return nil
	}
	// A client that waits for a barrier for as long as deadlock_timeout looks for a
	// deadlock, and the one who finds it is the victim: that must never be a client.
	wait = min(wait, m.maxWait)
	undo := "ROLLBACK"

	sql := m.begin()
	if m.open {
		undo = toGate
		sql = "SAVEPOINT drctl; "
	}

	if lock := lockorder.Statement(m.names, m.block); lock != "" {
		sql += limits(wait) + lock + "; " + m.restoreLimits()
	}

	looked := func() *deadlock.Found { return nil }
	if m.side != nil {
		looked = m.side.Watch()
	}

	err := m.step(ctx, op, sql, undo)
	found := looked()

	if err != nil {
		return m.notLocked(op, wait, found, err)
	}
	m.locked = true

	return nil
}

// toGate ends all locks but the gate's.
const toGate = "ROLLBACK TO SAVEPOINT drctl; RELEASE SAVEPOINT drctl"

// notLocked says what a wait for the table locks was for, and learns from it.
func (m *member) notLocked(op string, wait time.Duration, found *deadlock.Found, err error) error {
	var se *serverError
	if !fail.Is(err, fail.Stalled) || !errors.As(err, &se) {
		return err
	}

	name, why := lockorder.WaitedFor(m.names, se.where), fmt.Sprintf("within %s, it is being written", wait)
	if found != nil {
		why = "in a deadlock: who writes it waits for what the barrier has"

		if i := slices.IndexFunc(m.names, func(n string) bool { return slices.Contains(found.Tables, n) }); i >= 0 {
			name = m.names[i]
		}
	}

	cause := fmt.Errorf("%d tables were not locked within %s: %w", len(m.tables), wait, se)
	if name != "" {
		cause = fmt.Errorf("%s was not locked %s: %w", name, why, se)
		if m.names[0] != name {
			m.d.order.Learn(m.server(), name)
			m.d.order.Sort(m.server(), m.names)
		}
	}

	hint := ""
	if len(m.tables) > manyTables {
		hint = fmt.Sprintf("%d tables take their time: name those that cross-shard transactions write in the target's tables, or raise cut.lock_timeout", len(m.tables))
	}

	return fail.New(fail.Stalled, op, m.in.String(), hint, cause)
}

// manyTables is how many tables may well take longer to lock than a short time-out.
const manyTables = 500

// Unlock lets the writers of the tables go on and keeps the gate.
func (m *member) Unlock(ctx context.Context) error {
	if !m.gate {
		return m.Release(ctx)
	}

	if !m.locked {
		return m.usable("cut: unlock tables")
	}
	m.locked = false

	return m.step(ctx, "cut: unlock tables", toGate, "ROLLBACK")
}

// Mark names the restore point.
func (m *member) Mark(ctx context.Context) (targets.Position, error) {
	const op = "cut: name the position"
	if !m.locked {
		return targets.Position{}, fail.Newf(fail.Internal, op, m.in.String(), "not locked")
	}

	if err := m.usable(op); err != nil {
		return targets.Position{}, err
	}

	res, err := m.conn.PgConn().Exec(ctx, "SELECT pg_create_restore_point("+quoteLiteral(m.at.RestorePoint)+")").ReadAll()
	if err != nil {
		return targets.Position{}, m.lost(op, ctx, err)
	}

	if len(res) != 1 || len(res[0].Rows) != 1 || len(res[0].Rows[0]) != 1 {
		return targets.Position{}, fail.Newf(fail.Internal, op, m.in.String(), "unexpected answer to pg_create_restore_point")
	}

	at := m.at
	if at.Offset, err = targets.ParseLSN(string(res[0].Rows[0][0])); err != nil {
		return targets.Position{}, fail.New(fail.Internal, op, m.in.String(), "", err)
	}

	return at, nil
}

// Release ends the transaction, and with it every lock. It fails when the
// locks cannot be shown to have been held until now.
func (m *member) Release(ctx context.Context) error {
	const op = "cut: release"

	m.unwatch()

	if !m.open {
		// With nothing to let go of: whoever tries again has to know that this
		// member is of no use. A question that the context's end cut off leaves it so.
		return m.usable(op)
	}
	held := m.conn.PgConn().TxStatus() == 'T'
	had := m.locked || m.gate

	m.open, m.locked, m.gate = false, false, false
	if err := m.usable(op); err != nil {
		return err
	}

	if err := m.exec(ctx, "ROLLBACK"); err != nil {
		return m.lost(op, ctx, err)
	}

	if had && !held {
		return fail.Newf(fail.Stalled, op, m.in.String(), "the transaction had failed before, so its locks were gone")
	}

	return nil
}

// Settle commits a message of a few bytes: neither a restore point nor a rollback
// makes the server flush its log, a commit does. The session is the one that
// named the restore point. No session outlives a crash of its server.
func (m *member) Settle(ctx context.Context) error {
	const op = "cut: settle"
	if err := m.usable(op); err != nil {
		return err
	}

	if m.open {
		return fail.Newf(fail.Internal, op, m.in.String(), "settled before the release")
	}
	// local: flushed here, whatever a synchronous standby does.
	return queryError(op, m.in, "GRANT EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text) TO "+quoteIdent(m.in.User),
		m.exec(ctx, "BEGIN; SET LOCAL synchronous_commit = local; SELECT pg_logical_emit_message(true, 'drctl', "+quoteLiteral(m.req.CutID)+"); COMMIT"))
}

// Close drops the session without waiting for the server.
func (m *member) Close() {
	m.unwatch()

	if m.side != nil {
		m.side.Close()
	}

	if m.dropped.Swap(true) {
		return
	}

	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_ = m.conn.Close(ctx)
}
