package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/targets"
)

// What a restored database does by itself, or reaches elsewhere, once it runs
// under its own configuration.
const (
	checkSubscriptions = "logical subscriptions"
	checkServers       = "foreign servers"
	checkJobs          = "scheduled jobs"
)

// outward collects, over all databases, what leads out of a restored cluster.
type outward struct {
	enabled, disabled []string // subscriptions, as database.name
	servers, jobs     []string
	unseen            []string // databases that could not be looked into, with the reason
}

// survey records what a person must know before the restored server is started
// for good. Nothing of it runs now. What cannot be looked into is said; it does
// not fail the restore.
func (r *restoreRun) survey(ctx context.Context) error {
	start := time.Now()

	var o outward
	if err := r.surveyCluster(ctx, &o); ctx.Err() != nil {
		return err
	} else if err != nil {
		o.unseen = append(o.unseen, "the cluster ("+err.Error()+")")
	}
	add := func(check, got, detail string, warn bool) {
		f := targets.Finding{Check: check, Subject: r.in.String(), Severity: targets.Passed, Got: got, Detail: detail, Took: time.Since(start)}
		if warn {
			f.Severity, f.Expected = targets.Warned, "none"
		}

		if len(o.unseen) > 0 {
			f.Severity = targets.Warned
			f.Detail = strings.TrimPrefix(f.Detail+"; not looked into: "+listed(o.unseen), "; ")
		}
		r.out.Findings = append(r.out.Findings, f)
	}

	detail := ""
	if len(o.enabled) > 0 {
		detail = "they read from their publisher, through the slot of the live subscriber, as soon as the server runs with its own configuration: " +
			"start it first with -c max_logical_replication_workers=0 and ALTER SUBSCRIPTION ... DISABLE each that is not to go on here"
	}

	subs := append([]string(nil), o.enabled...)
	for _, s := range o.disabled {
		subs = append(subs, s+" (disabled)")
	}

	add(checkSubscriptions, listed(subs), detail, len(o.enabled) > 0)

	detail = ""
	if len(o.servers) > 0 {
		detail = "tables and functions over them reach the servers that the source reached, with the stored logins"
	}

	add(checkServers, listed(o.servers), detail, len(o.servers) > 0)

	detail = ""
	if len(o.jobs) > 0 {
		detail = "they run as soon as the server, or the agent beside it, runs with its own configuration"
	}

	add(checkJobs, listed(o.jobs), detail, len(o.jobs) > 0)

	return nil
}

// listed joins names, the first of many.
func listed(names []string) string {
	const most = 20
	switch n := len(names); {
	case n == 0:
		return "none"
	case n > most:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), n-most)
	}

	return strings.Join(names, ", ")
}

func (r *restoreRun) surveyCluster(ctx context.Context, o *outward) error {
	conn, err := r.superuser(ctx)
	if err != nil {
		conn, err = r.connectAnyRole(ctx) // it sees less
	}

	if err != nil {
		return err
	}

	defer closeConn(conn)
	var name string
	var on bool

	rows, err := conn.Query(ctx, `SELECT d.datname || '.' || s.subname, s.subenabled FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid ORDER BY 1`)
	if err != nil {
		return queryError(opRestore, r.in, "", err)
	}

	if _, err = pgx.ForEachRow(rows, []any{&name, &on}, func() error {
		if on {
			o.enabled = append(o.enabled, name)
		} else {
			o.disabled = append(o.disabled, name)
		}
		return nil
	}); err != nil {
		return queryError(opRestore, r.in, "", err)
	}
	var databases []string

	rows, err = conn.Query(ctx, `SELECT datname, datallowconn FROM pg_database WHERE datname <> 'template0' ORDER BY 1`)
	if err != nil {
		return queryError(opRestore, r.in, "", err)
	}

	if _, err = pgx.ForEachRow(rows, []any{&name, &on}, func() error {
		if on {
			databases = append(databases, name)
		} else {
			o.unseen = append(o.unseen, name+" (admits no connection)")
		}
		return nil
	}); err != nil {
		return queryError(opRestore, r.in, "", err)
	}

	for _, database := range databases {
		if err := r.surveyDatabase(ctx, conn.Config().User, database, o); ctx.Err() != nil {
			return err
		} else if err != nil {
			o.unseen = append(o.unseen, database+" ("+err.Error()+")")
		}
	}

	return nil
}

// jobTables are where the schedulers that are in use keep their jobs.
const jobTables = `SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND (n.nspname, c.relname) IN (('cron', 'job'), ('pgagent', 'pga_job'), ('_timescaledb_config', 'bgw_job'), ('_timescaledb_catalog', 'bgw_job'))`

// surveyDatabase looks into one database. It reads plain tables only: a view of such
// a name could run anything.
func (r *restoreRun) surveyDatabase(ctx context.Context, user, database string, o *outward) error {
	conn, err := r.local(ctx, user, database)
	if err != nil {
		return err
	}
	defer closeConn(conn)

	rows, err := conn.Query(ctx, `SELECT s.srvname || ' (' || w.fdwname || ')' FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw ORDER BY 1`)
	if err != nil {
		return queryError(opRestore, r.in, "", err)
	}

	servers, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return queryError(opRestore, r.in, "", err)
	}

	for _, s := range servers {
		o.servers = append(o.servers, database+"."+s)
	}

	rows, err = conn.Query(ctx, jobTables)
	if err != nil {
		return queryError(opRestore, r.in, "", err)
	}

	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return queryError(opRestore, r.in, "", err)
	}

	for _, table := range tables {
		var n int
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM "+table).Scan(&n); err != nil {
			return queryError(opRestore, r.in, "", err)
		}

		if n > 0 {
			o.jobs = append(o.jobs, fmt.Sprintf("%s: %d in %s", database, n, table))
		}
	}

	return nil
}
