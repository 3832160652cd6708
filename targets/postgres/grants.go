package postgres

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"drctl/targets"
)

// Preflight implements targets.Preflighter.
func (d *Driver) Preflight(ctx context.Context, in targets.Instance, need targets.Needs) ([]targets.Lack, error) {
	const op = "preflight"

	conn, err := connect(ctx, op, in)
	if err != nil {
		return nil, err
	}
	defer closeConn(conn)

	lacks, err := roleLacks(ctx, op, in, conn, need.Locks)

	var more []targets.Lack
	if err == nil && need.Locks {
		more, err = tableLacks(ctx, op, in, conn)
		lacks = append(lacks, more...)
	}

	if err != nil || !need.Whole {
		return lacks, err
	}
	more, err = d.serverLacks(ctx, op, in, conn)

	return append(lacks, more...), err
}

// right is a function that drctl calls.
type right struct{ function, use string }

func roleLacks(ctx context.Context, op string, in targets.Instance, conn *pgx.Conn, locks bool) ([]targets.Lack, error) {
	var user string
	var version int
	var replication, monitor bool

	err := conn.QueryRow(ctx, `SELECT current_user::text, current_setting('server_version_num')::int, r.rolreplication OR r.rolsuper,
pg_has_role('pg_monitor', 'USAGE') FROM pg_catalog.pg_roles r WHERE r.rolname = current_user`).Scan(&user, &version, &replication, &monitor)
	if err != nil {
		return nil, queryError(op, in, "", err)
	}
	var lacks []targets.Lack
	lack := func(ok bool, what, use, fix string) {
		if !ok {
			lacks = append(lacks, targets.Lack{What: what, For: use, Fix: fix})
		}
	}
	lack(replication, "REPLICATION", "the archiver and bases over the wire", "ALTER ROLE "+quoteIdent(user)+" REPLICATION")
	lack(monitor, "membership in pg_monitor", "cuts and status", "GRANT pg_monitor TO "+quoteIdent(user))

	rights := []right{{advanceFunction, "the archiver: without it the server never removes its log"}}
	if locks {
		rights = append(rights, right{"pg_create_restore_point(text)", "cuts, which lock tables"}, right{"pg_logical_emit_message(boolean, text, text)", "cuts, which lock tables"})
	}

	if in.DataDir != "" {
		start, stop := right{"pg_backup_start(text, boolean)", "bases"}, right{"pg_backup_stop(boolean)", "bases"}
		if version < 150000 {
			start, stop = right{"pg_start_backup(text, boolean, boolean)", "bases"}, right{"pg_stop_backup(boolean, boolean)", "bases"}
		}
		rights = append(rights, start, stop)
	}

	for _, r := range rights {
		var may bool
		// to_regprocedure: a version without the function lacks no right to it.
		err := conn.QueryRow(ctx, `SELECT coalesce(has_function_privilege(to_regprocedure('pg_catalog.' || $1::text)::oid, 'EXECUTE'), true)`, r.function).Scan(&may)
		if err != nil {
			return lacks, queryError(op, in, "", err)
		}

		lack(may, "EXECUTE on "+r.function, r.use, "GRANT EXECUTE ON FUNCTION "+r.function+" TO "+quoteIdent(user))
	}

	return lacks, nil
}

// tableLacks looks at the tables that a cut names: LOCK TABLE in SHARE mode asks
// for a right to write.
func tableLacks(ctx context.Context, op string, in targets.Instance, conn *pgx.Conn) ([]targets.Lack, error) {
	srv, err := readServer(ctx, op, in, conn)
	if err != nil {
		return nil, err
	}

	tables, err := quiesceTables(ctx, op, in, conn, srv.version)
	if err != nil {
		return nil, err
	}
	tables = roots(tables)

	var lacks []targets.Lack
	for _, grant := range lockGrants(tables, quoteIdent(in.User), srv.version) {
		what, _, _ := strings.Cut(strings.TrimPrefix(grant, "GRANT "), " TO ")
		lacks = append(lacks, targets.Lack{What: what, For: "cuts, which lock tables", Fix: grant})
	}

	return lacks, nil
}
