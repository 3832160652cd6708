package postgres

import (
	"context"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
	"drctl/internal/servers"
	"drctl/targets"
)

// amcheck runs pg_amcheck over every database.
func (v *verification) amcheck(ctx context.Context) error {
	const check, sound = "amcheck", "every table and index is sound"
	if v.want.Quick {
		v.skip(check, "left out of a quick verification")
		return nil
	}
	if v.srv.standby {
		v.skip(check, "needs a server that is not in recovery")
		return nil
	}
	tools, err := v.d.findTools()
	if err != nil {
		return err
	}
	host, port, err := splitAddress(v.in.Address)
	if err != nil {
		return fail.New(fail.Invalid, opVerify, v.in.String(), "write the address as host:port", err)
	}
	args := []string{"--all", "--no-password", "--heapallindexed", "--jobs=2", "--host=" + host, "--port=" + strconv.Itoa(int(port)), "--username=" + v.in.User}
	env := clientEnv(v.in)
	if v.in.Role == targets.Sandbox {
		if err := v.stillTriggers(ctx); err != nil {
			return err
		}
		args = append(args, "--parent-check", "--install-missing")
		env = append(env, "PGOPTIONS="+servers.PostgresOptions(v.srv.version/10000))
	}
	start := time.Now()
	text, err := runProgram(ctx, opVerify, tools, env, "pg_amcheck", args...)
	var skipped []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, "amcheck is not installed") || strings.Contains(line, `extension "amcheck" is not available`) {
			skipped = append(skipped, strings.TrimSpace(line))
		}
	}
	damage, unchecked := sortReports(text)
	switch {
	case err == nil && len(skipped) > 0:
		v.add(check, start, targets.Passed, "every table and index of the other databases is sound", "nothing found", "")
	case err == nil:
		v.add(check, start, targets.Passed, sound, "nothing found", "")
	case exitCode(err) == 2 && len(damage) > 0:
		v.add(check, start, targets.Failed, sound, "damage found", clip(strings.Join(damage, "\n")))
	case exitCode(err) == 2 && len(unchecked) > 0: // told below
	case exitCode(err) == 2:
		v.skip(check, "pg_amcheck could not check: "+clip(text))
	case len(skipped) > 0:
	case fail.Is(err, fail.NotFound) && v.srv.version < 140000:
		v.add(check, start, targets.Warned, sound, "not looked at", "pg_amcheck came with PostgreSQL 14")
	case fail.Is(err, fail.NotFound):
		v.skip(check, "pg_amcheck is not installed beside the server programs: install postgresql-contrib of the server's version")
	default:
		return err
	}
	if len(unchecked) > 0 {
		v.skip(check, "could not be checked: "+clip(strings.Join(unchecked, "\n")))
	}
	if len(skipped) > 0 {
		v.skip(check, clip(strings.Join(skipped, "; "))+": CREATE EXTENSION amcheck, or check in a sandbox")
	}
	return nil
}

// stillTriggers disables, in every database of a sandbox before PostgreSQL 17,
// the event triggers that fire in a session of drctl's, too: pg_amcheck creates
// an extension. Disabling them fires none. A database with a limit of -2 is left
// over from a DROP DATABASE and admits nobody.
func (v *verification) stillTriggers(ctx context.Context) error {
	if v.srv.version >= 170000 {
		return nil // drctl's sessions have a setting for it
	}
	databases, err := names(ctx, v.conn, "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn AND datconnlimit <> -2")
	if err != nil {
		return queryError(opVerify, v.in, "", err)
	}
	for _, database := range databases {
		if err := v.stillTriggersOf(ctx, database); err != nil {
			return err
		}
	}
	return nil
}

func (v *verification) stillTriggersOf(ctx context.Context, database string) error {
	in := v.in
	in.Database = database
	conn, err := connectRestored(ctx, opVerify, in, v.srv.version/10000, false)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	triggers, err := names(ctx, conn, "SELECT evtname FROM pg_event_trigger WHERE evtenabled IN ('A', 'R')")
	for _, t := range triggers {
		if err == nil {
			_, err = conn.Exec(ctx, "ALTER EVENT TRIGGER "+quoteIdent(t)+" DISABLE")
		}
	}
	return queryError(opVerify, in, "", err)
}

// names runs a query for a list of names.
func names(ctx context.Context, conn *pgx.Conn, query string) ([]string, error) {
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

var (
	// reportHead begins what pg_amcheck says of one relation; lines that belong
	// to it are indented.
	reportHead = regexp.MustCompile(`^(heap table|btree index) "`)
	// notChecked are errors that ended a check and say nothing of the relation.
	// pg_amcheck ends with the same status for them as for damage.
	notChecked = regexp.MustCompile(`canceling statement due to|terminating connection|out of (shared )?memory|could not resize shared memory|` +
		`No space left on device|temporary file size exceeds|permission denied|too many open files|terminated by|server closed the connection|connection to server`)
)

// sortReports tells what pg_amcheck found from what it could not look at.
func sortReports(text string) (damage, unchecked []string) {
	var report []string
	end := func() {
		if len(report) == 0 {
			return
		}
		one := strings.Join(report, "\n")
		if body := strings.Join(report[1:], "\n"); notChecked.MatchString(body) {
			unchecked = append(unchecked, one)
		} else {
			damage = append(damage, one)
		}
		report = nil
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case reportHead.MatchString(line):
			end()
			report = []string{line}
		case len(report) > 0 && strings.HasPrefix(line, " "):
			report = append(report, line)
		default:
			end()
		}
	}
	end()
	return damage, unchecked
}
