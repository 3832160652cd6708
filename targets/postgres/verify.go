package postgres

import (
	"context"
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
	"drctl/internal/sandbox"
	"drctl/targets"
)

const opVerify = "verify"

// verification is one run of Verify.
type verification struct {
	d    *Driver
	in   targets.Instance
	want targets.Expectation
	conn *pgx.Conn
	srv  server
	out  []targets.Finding
}

// Verify checks a running server. See targets.Driver. Only a sandbox is
// changed: pg_amcheck's extension is installed where it is missing, and a
// checkpoint is asked for.
func (d *Driver) Verify(ctx context.Context, in targets.Instance, want targets.Expectation) ([]targets.Finding, error) {
	v := &verification{d: d, in: in, want: want}
	start := time.Now()
	conn, err := connect(ctx, opVerify, in)
	if fail.Is(err, fail.Unavailable) && ctx.Err() == nil {
		return []targets.Finding{{Check: "server", Subject: in.String(), Severity: targets.Failed, Expected: "answers", Got: err.Error(), Took: time.Since(start)}}, nil
	}
	if err != nil {
		return nil, err
	}
	defer closeConn(conn)
	v.conn = conn
	if v.srv, err = readServer(ctx, opVerify, in, conn); err != nil {
		return nil, err
	}
	v.add("server", start, targets.Passed, "answers", "PostgreSQL "+v.srv.versionText, "")
	for _, c := range []struct {
		name string
		f    func(context.Context) error
	}{{"recovery", v.recovery}, {"prepared-transactions", v.prepared}, {"checksums", v.checksums}, {"amcheck", v.amcheck}, {"assertions", v.assertions}} {
		want.Progress.Report(c.name, 0, 0)
		if err := c.f(ctx); err != nil {
			return v.out, err
		}
	}
	return v.out, nil
}

func (v *verification) add(check string, start time.Time, sev targets.Severity, expected, got, detail string) {
	v.out = append(v.out, targets.Finding{Check: check, Subject: v.in.String(), Severity: sev, Expected: expected, Got: got, Detail: detail, Took: time.Since(start)})
}

func (v *verification) skip(check, why string) {
	v.add(check, time.Now(), targets.Skipped, "", "", why)
}

func (v *verification) dataDir() string {
	if v.want.DataDir != "" {
		return v.want.DataDir
	}
	return v.in.DataDir
}

func (v *verification) recovery(context.Context) error {
	start := time.Now()
	switch {
	case !v.srv.standby:
		v.add("recovery", start, targets.Passed, "finished", "finished", "")
	case v.in.Role == targets.Standby:
		v.add("recovery", start, targets.Passed, "a standby", "in recovery", "")
	default:
		v.add("recovery", start, targets.Failed, "finished", "in recovery", "the server accepts no writes")
	}
	return nil
}

// prepared looks for two-phase transactions that nobody will end: a cut holds none.
func (v *verification) prepared(ctx context.Context) error {
	start := time.Now()
	rows, err := v.conn.Query(ctx, "SELECT gid FROM pg_prepared_xacts ORDER BY prepared")
	if err != nil {
		return queryError(opVerify, v.in, "", err)
	}
	gids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return queryError(opVerify, v.in, "", err)
	}
	sev := targets.Passed
	switch {
	case len(gids) > 0 && v.in.Role == targets.Sandbox:
		sev = targets.Failed
	case len(gids) > 0:
		sev = targets.Warned
	}
	v.add("prepared-transactions", start, sev, "none", strconv.Itoa(len(gids)), strings.Join(gids[:min(len(gids), 5)], ", "))
	return nil
}

// amcheck runs pg_amcheck over every database.
func (v *verification) amcheck(ctx context.Context) error {
	const check = "amcheck"
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
	if v.in.Role == targets.Sandbox {
		args = append(args, "--parent-check", "--install-missing")
	}
	start := time.Now()
	text, err := runProgram(ctx, opVerify, tools, clientEnv(v.in), "pg_amcheck", args...)
	var skipped []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, "amcheck is not installed") || strings.Contains(line, `extension "amcheck" is not available`) {
			skipped = append(skipped, strings.TrimSpace(line))
		}
	}
	switch {
	case err == nil && len(skipped) > 0:
		v.add(check, start, targets.Passed, "every table and index of the other databases is sound", "nothing found", "")
	case err == nil:
		v.add(check, start, targets.Passed, "every table and index is sound", "nothing found", "")
	case exitCode(err) == 2:
		v.add(check, start, targets.Failed, "every table and index is sound", "damage found", clip(text))
	case len(skipped) > 0:
	case fail.Is(err, fail.NotFound) && v.srv.version < 140000:
		v.add(check, start, targets.Warned, "every table and index is sound", "not looked at", "pg_amcheck came with PostgreSQL 14")
	case fail.Is(err, fail.NotFound):
		v.skip(check, "pg_amcheck is not installed beside the server programs: install postgresql-contrib of the server's version")
	default:
		return err
	}
	if len(skipped) > 0 {
		v.skip(check, clip(strings.Join(skipped, "; "))+": CREATE EXTENSION amcheck, or check in a sandbox")
	}
	return nil
}

// clip keeps a finding readable.
func clip(s string) string {
	if len(s) > 2000 {
		return s[:2000] + " ..."
	}
	return s
}

// exitCode returns the exit status of a program that ran, else -1.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// checksums runs pg_checksums over a sandbox's data directory.
func (v *verification) checksums(ctx context.Context) error {
	const check = "checksums"
	dir := v.dataDir()
	switch {
	case v.want.Quick:
		v.skip(check, "left out of a quick verification")
		return nil
	case v.in.Role != targets.Sandbox:
		v.skip(check, "pg_checksums reads only a server at rest; it runs in the sandbox of a drill")
		return nil
	case dir == "":
		v.skip(check, "the data directory is out of reach")
		return nil
	}
	var on bool
	if err := v.conn.QueryRow(ctx, "SELECT current_setting('data_checksums')::bool").Scan(&on); err != nil {
		return queryError(opVerify, v.in, "", err)
	}
	if !on {
		// The platform's own choice, which no host of a drill can make good.
		v.add(check, time.Now(), targets.Warned, "every page matches its checksum", "the cluster has no data checksums",
			"pg_checksums --enable adds them while the server is stopped")
		return nil
	}
	tools, err := v.d.findTools()
	if err != nil {
		return err
	}
	start := time.Now()
	text, err := v.checksumsAtRest(ctx, tools, dir)
	if err != nil && exitCode(err) == 1 && strings.Contains(text, "checksum verification failed") {
		// A page that was being written looks the same once; damage stays.
		text, err = v.checksumsAtRest(ctx, tools, dir)
	}
	switch {
	case err == nil:
		v.add(check, start, targets.Passed, "every page matches its checksum", "no bad page", summary(text))
	case exitCode(err) == 1 && (strings.Contains(text, "checksum verification failed") || strings.Contains(text, "could not read block")):
		v.add(check, start, targets.Failed, "every page matches its checksum", "damage found", clip(text))
	default:
		return err
	}
	return nil
}

// summary joins the counters that pg_checksums prints.
func summary(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, "scanned") || strings.Contains(line, "Bad checksums") {
			out = append(out, strings.Join(strings.Fields(line), " "))
		}
	}
	return strings.Join(out, "; ")
}

func (v *verification) checksumsAtRest(ctx context.Context, tools sandbox.Tools, dir string) (string, error) {
	if _, err := v.conn.Exec(ctx, "CHECKPOINT"); err != nil {
		return "", queryError(opVerify, v.in, "GRANT pg_checkpoint TO "+quoteIdent(v.in.User), err)
	}
	shadow, remove, err := shadowDir(tools, dir)
	if err != nil {
		return "", fail.New(fail.Internal, opVerify, v.in.String(), "give the worker write access beside the data directory", err)
	}
	defer remove()
	return runProgram(ctx, opVerify, tools, nil, "pg_checksums", "--check", "--pgdata="+shadow)
}
