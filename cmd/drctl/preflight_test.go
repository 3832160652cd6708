package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drctl/cmd/drctl/answer"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/ui"
	"drctl/targets"
)

// preflighted is what config validate --connect --json says, and its status.
type preflighted struct {
	Format   int              `json:"format"`
	OK       bool             `json:"ok"`
	Findings []answer.Finding `json:"findings"`
}

func connected(t *testing.T, file string, more ...string) (preflighted, int) {
	t.Helper()
	out, err := command(t.Context(), file, append([]string{"config", "validate", "--connect", "--json"}, more...)...)

	var code ui.Exit
	if err != nil && !errors.As(err, &code) {
		t.Fatal(err)
	}

	return decode[preflighted](t, out), code.Code
}

// bad are the findings that are to be mended, by check and subject.
func (p preflighted) bad() map[string][]answer.Finding {
	out := map[string][]answer.Finding{}
	for _, f := range p.Findings {
		if f.Severity == targets.Failed || f.Severity == targets.Skipped {
			out[f.Check+" "+f.Subject] = append(out[f.Check+" "+f.Subject], f)
		}
	}

	return out
}

// locking gives the group cuts that lock tables, which need the most rights.
func locking(t *testing.T, file string) {
	t.Helper()

	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	changed := strings.Replace(string(text), "gate: orders/0}", "gate: orders/0, policy: locking}", 1) + "policies: {locking: {cut: {mode: locks}}}\n"
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Everything that a user lacks is told in one run; each right that is missing
// alone is told alone; and when the statements were run all is well.
func TestPreflightTellsEveryGrantInOneRun(t *testing.T) {
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	stores, admin := weak(t, in)
	file, _ := configuredLab(t, "{mode: embedded}", stores)
	locking(t, file)

	got, code := connected(t, file)
	bad := got.bad()

	lacks := bad["instance orders/0@east"]
	if code != 4 || got.OK || got.Format != 1 || len(bad) != 1 || len(lacks) < 4 {
		t.Fatalf("status %d: %+v", code, got)
	}

	for _, f := range lacks {
		sql(t, admin, f.Fix)
	}

	if got, code := connected(t, file); code != 0 || !got.OK {
		t.Fatalf("after every statement was run: status %d: %+v", code, got.bad())
	}

	for _, x := range []struct{ take, want string }{
		{`ALTER ROLE weak NOREPLICATION`, `REPLICATION`},
		{`REVOKE pg_monitor FROM weak`, `pg_monitor`},
		{`REVOKE EXECUTE ON FUNCTION pg_create_restore_point(text) FROM weak`, `pg_create_restore_point`},
		{`REVOKE UPDATE ON account FROM weak`, `account`},
	} {
		sql(t, admin, x.take)
		got, code := connected(t, file)

		lacks := got.bad()["instance orders/0@east"]
		if code != 4 || len(lacks) != 1 || !strings.Contains(lacks[0].Message, x.want) {
			t.Errorf("%s: status %d: %+v", x.take, code, got.bad())
		}

		for _, f := range lacks {
			sql(t, admin, f.Fix)
		}
	}

	if _, code := connected(t, file); code != 0 {
		t.Errorf("in the end: status %d", code)
	}
}

// A secret, a server, a vault, a program and the engine that are missing are
// told in one run, and what hangs on them is said not to have been asked.
func TestPreflightTellsEverythingAtOnce(t *testing.T) {
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	stores, _ := weak(t, in)

	free, nobody := freePort(t)
	_ = free.Close()
	port := nobody[strings.LastIndex(nobody, ":"):]
	stores = strings.Replace(stores, `shards: {`, `shards: {"1": {east: {address: "`+nobody+`", role: primary, password: {env: NOT_SET}}}, "2": {east: {address: "localhost`+port+`", role: primary}}, `, 1)
	file, _ := configuredLab(t, "{mode: external, address: \""+nobody+"\"}", stores)

	dir := filepath.Dir(file)
	if err := os.RemoveAll(filepath.Join(dir, "west")); err != nil {
		t.Fatal(err)
	}

	got, code := connected(t, file)

	bad := got.bad()
	for _, x := range []struct{ subject, message, fix string }{
		{"secret targets.orders.shards.1.east.password", "not set", ""},
		{"instance orders/1@east", "secret", ""},
		{"instance orders/2@east", "refused", ""},
		{"instance orders/0@east", "REPLICATION", "ALTER ROLE"},
		{"vault west", "there is no vault", "drctl vault init"},
		{"engine " + nobody, "", ""},
	} {
		fs := bad[x.subject]
		if len(fs) == 0 || !strings.Contains(fs[0].Message, x.message) || !strings.Contains(fs[0].Fix, x.fix) {
			t.Errorf("%s: %+v", x.subject, fs)
		}
	}

	if code != 4 || len(bad["vault east"]) > 0 || len(bad) != 6 {
		t.Errorf("status %d: %+v", code, bad)
	}

	// Without the key a vault is seen, and what can be told of it is told.
	if err := os.Remove(filepath.Join(dir, "key")); err != nil {
		t.Fatal(err)
	}

	got, _ = connected(t, file)
	if fs := got.bad()["vault east"]; len(fs) != 1 || fs[0].Severity != targets.Skipped || !strings.Contains(fs[0].Message, "age1") {
		t.Errorf("without the key: %+v", fs)
	}

	if fs := got.bad()["key file "+filepath.Join(dir, "key")]; len(fs) != 1 || !strings.Contains(fs[0].Fix, "drctl vault init") {
		t.Errorf("without the key: %+v", got.bad())
	}

	// One region's view leaves out the others.
	got, _ = connected(t, file, "--region", "west")
	if bad := got.bad(); len(bad["instance orders/0@east"]) > 0 || len(bad["vault west"]) == 0 || len(bad["secret targets.orders.shards.1.east.password"]) > 0 {
		t.Errorf("of west: %+v", bad)
	}

	// For people the same, with what to do below it.
	out, err := command(t.Context(), file, "config", "validate", "--connect")

	var status ui.Exit
	if !errors.As(err, &status) || status.Code != 4 || !strings.Contains(out, "-> ALTER ROLE \"weak\" REPLICATION") || !strings.Contains(out, "-> drctl vault init") {
		t.Errorf("%v:\n%s", err, out)
	}
}

// A file that is wrong is wrong usage with and without --connect.
func TestPreflightOfAWrongFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "drctl.yaml")
	if err := os.WriteFile(file, []byte("version: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := command(t.Context(), file, "config", "validate", "--connect", "--json")

	var code ui.Exit
	if !errors.As(err, &code) || code.Code != 2 || len(decode[answer.Validated](t, out).Problems) == 0 {
		t.Errorf("%v: %s", err, out)
	}
}
