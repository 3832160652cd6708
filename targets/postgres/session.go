package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"drctl/internal/servers"
	"drctl/targets"
	"drctl/targets/postgres/sqlstate"
)

// connectRestored opens a session on a restored server that nothing stored in
// the database can turn against drctl's own statements. With path the search
// path is the database's own, as the platform's queries expect it.
func connectRestored(ctx context.Context, op string, in targets.Instance, major int, path bool) (*pgx.Conn, error) {
	cfg, err := config(op, in)
	if err != nil {
		return nil, err
	}

	maps.Copy(cfg.RuntimeParams, servers.PostgresSession(major))

	if !path {
		cfg.RuntimeParams["search_path"] = "pg_catalog"
	}

	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, connectError(ctx, op, in, err)
	}

	return conn, nil
}

// errNoLogin says that no session can be had: of the roles that are known none
// may log in, or of the databases that are known none admits anybody.
var errNoLogin = errors.New("no role that is known may log in")

// local opens a session through the socket that only the server's user (and
// root) can reach.
func (r *restoreRun) local(ctx context.Context, user, database string) (*pgx.Conn, error) {
	in := targets.Instance{Kind: targets.Postgres, Shard: r.in.Shard, Address: fmt.Sprintf("%s:%d", r.socketDir(), r.port), User: user, Database: database}
	return connectRestored(ctx, opRestore, in, r.major, false)
}

// databases are those that may be there to begin with: a platform may have
// dropped postgres.
func (r *restoreRun) databases() []string {
	return distinct("postgres", r.in.Database, r.req.Base.Settings[settingDatabase], "template1")
}

func distinct(names ...string) (out []string) {
	for _, n := range names {
		if n != "" && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}

	return out
}

// connectAnyRole opens a session as a role that may log in, in a database that admits it.
func (r *restoreRun) connectAnyRole(ctx context.Context) (*pgx.Conn, error) {
	var refused error
	for _, user := range distinct(r.made, r.req.Base.Settings[settingSuperuser], r.in.User, "postgres") {
		for _, database := range r.databases() {
			conn, err := r.local(ctx, user, database)
			if err == nil {
				return conn, nil
			}

			refused = err
			switch sqlstate.Of(err) {
			case "3D000", "55000", "42501": // not there, closed to all or to this role: another may do
				continue
			case "28000", "53300": // no such role, or one that may not log in
			default:
				return nil, err
			}

			break
		}
	}

	return nil, fmt.Errorf("%w: %w", errNoLogin, refused)
}

// superuser opens a session as a superuser that may log in, whichever it is.
func (r *restoreRun) superuser(ctx context.Context) (*pgx.Conn, error) {
	conn, err := r.connectAnyRole(ctx)
	if err != nil {
		return nil, err
	}
	var name, me, database string

	err = conn.QueryRow(ctx, `SELECT coalesce((SELECT rolname FROM pg_roles WHERE rolsuper AND rolcanlogin
ORDER BY rolname = current_user DESC, oid LIMIT 1), ''), current_user, current_database()`).Scan(&name, &me, &database)
	if err == nil && name == me {
		return conn, nil
	}

	closeConn(conn)

	if err != nil {
		return nil, queryError(opRestore, r.in, "", err)
	}

	if name == "" {
		return nil, fmt.Errorf("%w: the cluster has no superuser that may", errNoLogin)
	}

	return r.local(ctx, name, database)
}

// ownRole gives a sandbox whose superusers may not log in one that may. The
// server is stopped for it: a server in single-user mode asks for no login.
// The server that runs afterwards is another process.
func (r *restoreRun) ownRole(ctx context.Context, proc servers.Server) (servers.Server, error) {
	if err := stopProc(ctx, proc); err != nil {
		return proc, err
	}
	sql := "DROP ROLE IF EXISTS " + sandboxUser + "\nCREATE ROLE " + sandboxUser + " SUPERUSER LOGIN\n"

	var refused error
	for _, database := range slices.Backward(r.databases()) { // template1 is there most likely
		_, refused = runInput(ctx, opRestore, r.tools, nil, sql, "postgres", "--single", "-D", r.dir, database)
		if refused == nil {
			break
		}
	}

	if refused != nil {
		return proc, refused
	}
	r.made = sandboxUser

	return r.replay(ctx) // starts it; there is nothing left to replay
}

// major is the major version of a verified instance, when it can be told
// before the session is opened.
func (v *verification) major() int {
	return servers.PostgresMajor(cmp.Or(v.want.DataDir, v.in.DataDir))
}

// session opens a session on the instance that is verified. On a sandbox it is
// drctl's own; anywhere else it may be of a user who may set little.
func (v *verification) session(ctx context.Context, path bool) (*pgx.Conn, error) {
	if v.in.Role != targets.Sandbox {
		return connect(ctx, opVerify, v.in)
	}

	return connectRestored(ctx, opVerify, v.in, v.major(), path)
}
