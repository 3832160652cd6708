package postgres

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
	"drctl/internal/servers"
	"drctl/targets"
	"drctl/targets/postgres/control"
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

	conn, err := v.session(ctx, false)
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
	}{{"recovery", v.recovery}, {"workers", v.workers}, {"prepared-transactions", v.prepared}, {"checksums", v.checksums}, {"amcheck", v.amcheck}, {"assertions", v.assertions}} {
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

// workers makes sure that a sandbox takes no part in the platform's replication.
func (v *verification) workers(ctx context.Context) error {
	if v.in.Role != targets.Sandbox {
		return nil
	}
	start := time.Now()
	var limit string
	var running int

	err := v.conn.QueryRow(ctx, `SELECT current_setting('max_logical_replication_workers'),
(SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'logical replication%')`).Scan(&limit, &running)
	if err != nil {
		return queryError(opVerify, v.in, "", err)
	}

	sev, got := targets.Passed, "off"
	if limit != "0" || running > 0 {
		sev, got = targets.Failed, fmt.Sprintf("%d run, %s may", running, limit)
	}

	v.add(targets.CheckReplicationOff, start, sev, "off", got, "")

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

func (v *verification) checksumsAtRest(ctx context.Context, tools servers.Binaries, dir string) (string, error) {
	if _, err := v.conn.Exec(ctx, "CHECKPOINT"); err != nil {
		return "", queryError(opVerify, v.in, "GRANT pg_checkpoint TO "+quoteIdent(v.in.User), err)
	}

	shadow, remove, err := control.Shadow(tools, dir)
	if err != nil {
		return "", fail.New(fail.Internal, opVerify, v.in.String(), "give the worker write access beside the data directory", err)
	}
	defer remove()

	return runProgram(ctx, opVerify, tools, nil, "pg_checksums", "--check", "--pgdata="+shadow)
}

// Advise names the checks of the files, and of what is in them.
func (d *Driver) Advise(in targets.Instance) string {
	return "before the server is started: pg_checksums --check -D " + in.DataDir + "; after: pg_amcheck --all --heapallindexed --parent-check --install-missing"
}
