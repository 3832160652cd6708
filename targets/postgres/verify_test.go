package postgres_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/targets"
	"drctl/targets/postgres"
)

// finding returns the finding of a check.
func finding(t *testing.T, fs []targets.Finding, check string) targets.Finding {
	t.Helper()

	for _, f := range fs {
		if f.Check == check {
			return f
		}
	}

	t.Fatalf("no finding of %s in %+v", check, fs)

	return targets.Finding{}
}

func verify(t *testing.T, d *postgres.Driver, in targets.Instance, want targets.Expectation) []targets.Finding {
	t.Helper()

	fs, err := d.Verify(ctxFor(t, 2*time.Minute), in, want)
	if err != nil {
		t.Fatal(err)
	}

	return fs
}

// A cluster without data checksums is the platform's own choice: a warning, and
// no check that somebody forgot to make possible.
func TestVerifyWithoutChecksumsWarns(t *testing.T) {
	t.Parallel()
	d, _ := driver(t)
	tools := sandboxtest.Tools(t)
	var proc servers.Server
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Proc: &proc})
	in.Role = targets.Sandbox

	if err := proc.Stop(ctxFor(t, 2*time.Minute)); err != nil {
		t.Fatal(err)
	}

	cred, err := tools.RunAs.Credential()
	if err != nil {
		t.Fatal(err)
	}
	off := exec.Command(filepath.Join(tools.PostgresBin, "pg_checksums"), "--disable", "--pgdata="+in.DataDir)

	off.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	if text, err := off.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}

	again, err := tools.StartPostgres(ctxFor(t, 2*time.Minute), servers.PostgresSpec{Dir: in.DataDir, HBA: []string{"host all all 127.0.0.1/32 scram-sha-256"}})
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = again.Kill() })

	in.Address = again.Address
	if f := finding(t, verify(t, d, in, targets.Expectation{}), "checksums"); f.Severity != targets.Warned || f.Expected == "" || f.Got == "" {
		t.Fatalf("%+v", f)
	}
}

func TestVerifyFindsPlantedDamage(t *testing.T) {
	t.Parallel()
	d, _ := driver(t)
	var proc servers.Server
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Proc: &proc, Settings: map[string]string{"autovacuum": "off", "max_logical_replication_workers": "0"}})
	in.Role = targets.Sandbox
	c := open(t, in)
	run(t, c, "CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL)")
	run(t, c, "INSERT INTO account SELECT g, 100 FROM generate_series(1, 5000) g")
	run(t, c, "CREATE TABLE other AS SELECT g, md5(g::text) AS h FROM generate_series(1, 5000) g")
	run(t, c, "CREATE INDEX other_h ON other (h)")

	// All is well.
	all := targets.Expectation{Assertions: []targets.Assertion{
		{Name: "sum", Query: "SELECT sum(balance) FROM account", Want: "500000"},
		{Name: "count", Query: "SELECT count(*) FROM account", Want: ">= 5000"},
	}}

	fs := verify(t, d, in, all)
	for _, f := range fs {
		if f.Severity != targets.Passed {
			t.Fatalf("%+v", f)
		}
	}

	if !strings.Contains(finding(t, fs, "checksums").Detail, "Bad checksums: 0") || len(finding(t, fs, "assertion sum").Query) != 64 {
		t.Fatalf("%+v", fs)
	}

	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(in.DataDir), ".drctl-checksums-*")); len(left) > 0 {
		t.Fatalf("left behind: %v", left)
	}

	// An index that lacks entries: every page is sound, the index is not.
	run(t, c, "UPDATE pg_index SET indisready = false, indislive = true WHERE indexrelid = 'other_h'::regclass")
	c2 := open(t, in)
	run(t, c2, "INSERT INTO other VALUES (0, 'not in the index')")
	run(t, c, "UPDATE pg_index SET indisready = true WHERE indexrelid = 'other_h'::regclass")

	fs = verify(t, d, in, targets.Expectation{})
	if f := finding(t, fs, "amcheck"); f.Severity != targets.Failed || !strings.Contains(f.Detail, "other_h") {
		t.Fatalf("amcheck: %+v", f)
	}

	if f := finding(t, fs, "checksums"); f.Severity != targets.Passed {
		t.Fatalf("checksums: %+v", f)
	}

	run(t, c, "REINDEX INDEX other_h")

	if f := finding(t, verify(t, d, in, targets.Expectation{}), "amcheck"); f.Severity != targets.Passed {
		t.Fatalf("amcheck: %+v", f)
	}

	// A flipped byte in a table's file.
	rel := value[string](t, c, "SELECT pg_relation_filepath('account')")
	run(t, c, "CHECKPOINT")
	flip(t, filepath.Join(in.DataDir, rel), 8192*3+4000)

	fs = verify(t, d, in, targets.Expectation{})
	if f := finding(t, fs, "checksums"); f.Severity != targets.Failed || !strings.Contains(f.Detail, filepath.Base(rel)) || !strings.Contains(f.Detail, "block 3") {
		t.Fatalf("checksums: %+v", f)
	}

	if f := finding(t, verify(t, d, in, targets.Expectation{Quick: true}), "checksums"); f.Severity != targets.Skipped || f.Detail == "" {
		t.Fatalf("quick: %+v", f)
	}

	in.Role = targets.Primary
	for _, check := range []string{"checksums", "amcheck"} {
		if f := finding(t, verify(t, d, in, targets.Expectation{Quick: check == "amcheck"}), check); f.Severity != targets.Skipped || f.Detail == "" {
			t.Fatalf("on a primary: %+v", f)
		}
	}

	if err := proc.Kill(); err != nil {
		t.Fatal(err)
	}

	if f := finding(t, verify(t, d, in, targets.Expectation{}), "server"); f.Severity != targets.Failed {
		t.Fatalf("a dead server: %+v", f)
	}
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()

	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()

	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}

	b[0] ^= 1
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyAssertionsThatFail(t *testing.T) {
	t.Parallel()
	d, _ := driver(t)
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	in.Role = targets.Sandbox
	c := open(t, in)
	run(t, c, "CREATE TABLE account (id int PRIMARY KEY, balance numeric)")
	run(t, c, "INSERT INTO account VALUES (1, 10.50)")
	run(t, c, "BEGIN")
	run(t, c, "INSERT INTO account VALUES (2, 1)")
	run(t, c, "PREPARE TRANSACTION 'left-over'")
	as := []targets.Assertion{
		{Name: "0", Query: "SELECT balance FROM account", Want: "= 10.5"},
		{Name: "1", Query: "SELECT balance FROM account", Want: "> 10.5"},
		{Name: "2", Query: "SELECT balance FROM account", Want: "!=10.50"},
		{Name: "3", Query: "DELETE FROM account RETURNING 1", Want: "1"},
		{Name: "4", Query: "SELECT 1; COMMIT; DELETE FROM account", Want: "1"},
		{Name: "5", Query: "SELECT 1 FROM nowhere", Want: "1"},
		{Name: "6", Query: "SELECT balance FROM account WHERE id = 7", Want: ""},
		{Name: "7", Query: "SELECT NULL", Want: "<1"},
		{Name: "8", Query: "SELECT 'b'", Want: "!=a"},
		{Name: "9", Query: "SELECT 9", Want: "<10"},
		{Name: "10", Query: "SELECT max(balance) FROM account WHERE id = 7", Want: "!= 0"},
		{Name: "11", Query: "SELECT max(balance) FROM account WHERE id = 7", Want: "NULL"},
	}

	fs := verify(t, d, in, targets.Expectation{Quick: true, Assertions: as})
	for i, want := range []targets.Severity{"passed", "failed", "failed", "failed", "failed", "failed", "failed", "failed", "passed", "passed", "failed", "passed"} {
		if f := finding(t, fs, fmt.Sprintf("assertion %d", i)); f.Severity != want {
			t.Errorf("%+v, want %s", f, want)
		}
	}

	// What a query came to is its answer, and an error is none.
	if f := finding(t, fs, "assertion 5"); f.Got != "an error" || !strings.Contains(f.Detail, "nowhere") {
		t.Errorf("%+v", f)
	}

	if n := value[int](t, c, "SELECT count(*)::int FROM account"); n != 1 {
		t.Fatal("an assertion changed the data")
	}

	if f := finding(t, fs, "prepared-transactions"); f.Severity != targets.Failed || !strings.Contains(f.Detail, "left-over") {
		t.Fatalf("%+v", f)
	}
}

// Without an operator an answer is a text; after one it is an exact, finite number or no pass.
func TestVerifyComparesAsDocumented(t *testing.T) {
	t.Parallel()
	d, _ := driver(t)
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	in.Role = targets.Sandbox
	cases := []struct {
		query, want string
		severity    targets.Severity
		why         string
	}{
		{"SELECT 5.00", "5", targets.Failed, ""},
		{"SELECT 5.00", "= 5", targets.Passed, ""},
		{"SELECT 5.00", "5.00", targets.Passed, ""},
		{"SELECT 9007199254740993", "= 9007199254740992", targets.Failed, ""},
		{"SELECT 'NaN'::float8", ">= 5", targets.Failed, "not a finite number"},
		{"SELECT 'infinity'::float8", "> 5", targets.Failed, "not a finite number"},
		{"SELECT '1/2'", "< 5", targets.Failed, "is none"},
		{"SELECT 'many'", "> 5", targets.Failed, "is none"},
	}
	var want targets.Expectation

	want.Quick = true
	for i, c := range cases {
		want.Assertions = append(want.Assertions, targets.Assertion{Name: fmt.Sprint(i), Query: c.query, Want: c.want})
	}

	fs := verify(t, d, in, want)
	for i, c := range cases {
		if f := finding(t, fs, fmt.Sprintf("assertion %d", i)); f.Severity != c.severity || !strings.Contains(f.Detail, c.why) {
			t.Errorf("%s against %s: %+v", c.query, c.want, f)
		}
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	d, _ := driver(t)
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	standby := sandboxtest.Standby(t, in, sandboxtest.PostgresOptions{})
	ctx := ctxFor(t, 2*time.Minute)

	st, err := d.Probe(ctx, in)
	if err != nil {
		t.Fatal(err)
	}

	if !st.Reachable || !st.Writable || st.Role != targets.Primary || st.Bytes < 1<<20 || st.Position.Offset == 0 || !strings.HasPrefix(st.Version, "15") ||
		!strings.Contains(strings.Join(st.Warnings, "\n"), "not being archived") {
		t.Fatalf("%+v", st)
	}

	ss, err := d.Probe(ctx, standby)
	if err != nil {
		t.Fatal(err)
	}

	if ss.Role != targets.Standby || ss.Writable || ss.Position.Timeline != st.Position.Timeline {
		t.Fatalf("%+v", ss)
	}
	c := open(t, in)
	run(t, c, "CREATE ROLE weak LOGIN PASSWORD '"+sandboxtest.Password+"'")
	weak := in

	weak.User = "weak"
	if st, err := d.Probe(ctx, weak); err != nil || !st.Writable {
		t.Fatalf("%+v %v", st, err)
	}

	minimal := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Settings: map[string]string{"wal_level": "minimal", "max_wal_senders": "0"}})
	if st, err = d.Probe(ctx, minimal); err != nil || !strings.Contains(strings.Join(st.Warnings, "\n"), "wal_level is minimal") {
		t.Fatalf("%+v %v", st, err)
	}
}

func TestConnectionErrors(t *testing.T) {
	t.Parallel()
	d, _ := driver(t)
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})

	port, err := servers.FreePort()
	if err != nil {
		t.Fatal(err)
	}

	for name, x := range map[string]struct {
		change func(*targets.Instance)
		code   fail.Code
		words  string
	}{
		"nobody":   {func(i *targets.Instance) { i.Address = fmt.Sprintf("127.0.0.1:%d", port) }, fail.Unavailable, "check that the server runs"},
		"password": {func(i *targets.Instance) { i.Password = targets.NewSecret("not-the-secret") }, fail.Denied, "password"},
		"database": {func(i *targets.Instance) { i.Database = "nowhere" }, fail.NotFound, "database name"},
		"redis":    {func(i *targets.Instance) { i.Address = sandboxtest.Redis(t, sandboxtest.RedisOptions{}).Address }, fail.Invalid, "Redis"},
		"s3": {func(i *targets.Instance) {
			i.Address = strings.TrimPrefix(sandboxtest.S3(t, false).Address, "http://")
		}, fail.Invalid, "a web server answers"},
		"address": {func(i *targets.Instance) { i.Address = "nonsense" }, fail.Invalid, "host:port"},
		"tls":     {func(i *targets.Instance) { i.TLS = "require" }, fail.Invalid, "TLS"},
		"badtls":  {func(i *targets.Instance) { i.TLS = "perhaps" }, fail.Invalid, "perhaps"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := in
			x.change(&bad)
			_, err := d.Probe(ctxFor(t, 2*time.Minute), bad)
			wantCode(t, err, x.code, x.words)

			if strings.Contains(err.Error(), "not-the-secret") {
				t.Fatal("the error holds the password")
			}
		})
	}
}
