package postgres_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/proc"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/targets"
)

// doubtful is a world with two databases, of two encodings, in which
// transactions can be prepared that write one row each.
type doubtful struct {
	*world
	latin *pgx.Conn
	base  targets.Artifact
	next  int
	row   map[targets.GID]int // that the transaction writes
}

func newDoubtful(t *testing.T) *doubtful {
	t.Helper()
	w := &doubtful{world: newWorld(t, sandboxtest.PostgresOptions{}), row: map[targets.GID]int{}}
	run(t, w.c, "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
	in := w.in
	in.Database = "latin"

	w.latin = open(t, in)
	for _, c := range []*pgx.Conn{w.c, w.latin} {
		run(t, c, "CREATE TABLE written (n int)")
	}
	w.base = w.world.base(t, w.in, "base-1")

	return w
}

// prepare leaves a transaction prepared; its gid is written as hexadecimal bytes.
func (w *doubtful) prepare(t *testing.T, c *pgx.Conn, gid targets.GID) {
	t.Helper()

	var text strings.Builder
	for _, b := range []byte(gid) {
		fmt.Fprintf(&text, `\x%02x`, b)
	}

	w.next++
	w.row[gid] = w.next

	run(t, c, "BEGIN")
	run(t, c, "INSERT INTO written VALUES ("+strconv.Itoa(w.next)+")")
	run(t, c, "PREPARE TRANSACTION E'"+text.String()+"'")
}

// now is a place at the end of the log, which the archive has.
func (w *doubtful) now(t *testing.T) targets.RestoreRequest {
	t.Helper()
	at := targets.Position{Kind: targets.Postgres, Timeline: w.id, Offset: lsn(t, w.c, "SELECT pg_current_wal_flush_lsn()::text")}
	w.a.reach(t, w.id, at.Offset)
	w.dir = sandboxtest.Dir(t)

	return w.request(w.base, at)
}

// has reports whether the row of a transaction is in a database.
func (w *doubtful) has(t *testing.T, c *pgx.Conn, gid targets.GID) bool {
	t.Helper()
	return value[bool](t, c, "SELECT EXISTS (SELECT FROM written WHERE n = $1)", w.row[gid])
}

func told(fs []targets.Finding, severity targets.Severity) (out []targets.Finding) {
	for _, f := range fs {
		if f.Check == "prepared-transactions" && f.Severity == severity {
			out = append(out, f)
		}
	}

	return out
}

func mentions(fs []targets.Finding, words ...string) bool {
	for _, f := range fs {
		all := true
		for _, w := range words {
			all = all && strings.Contains(f.Got+" "+f.Detail, w)
		}

		if all {
			return true
		}
	}

	return false
}

// What is prepared at a cut is ended as the cut says, in its own database and by its
// exact name, before anybody uses the server; and all of it is told.
func TestRestoreEndsWhatIsInDoubt(t *testing.T) {
	t.Parallel()
	w := newDoubtful(t)
	w.prepare(t, w.c, "from before")
	time.Sleep(20 * time.Millisecond)
	since := value[time.Time](t, w.c, "SELECT clock_timestamp()")

	odd := []targets.GID{`it's "odd"; \ $1 -- %s`, " ", "a\nb\t", "grün", targets.GID(strings.Repeat("x", 199))}
	for _, gid := range odd {
		w.prepare(t, w.c, gid)
	}

	w.prepare(t, w.latin, "gr\xfcn")
	w.prepare(t, w.latin, "rolled back")
	w.prepare(t, w.c, "left")
	w.prepare(t, w.latin, "l\xe9ft")
	w.prepare(t, w.c, "a stranger's")
	req := w.now(t)
	req.InDoubtSince = since

	for _, gid := range append(odd, "gr\xfcn", "never prepared") {
		req.InDoubt = append(req.InDoubt, targets.InDoubt{GID: gid, Action: targets.InDoubtCommit, Group: "g", Reason: "the other part is committed"})
	}
	req.InDoubt = append(req.InDoubt, targets.InDoubt{GID: "rolled back", Action: targets.InDoubtRollBack, Reason: "no part is committed"},
		targets.InDoubt{GID: "l\xe9ft", Action: targets.InDoubtLeave}, targets.InDoubt{GID: "left", Action: targets.InDoubtLeave, Reason: "nobody can tell"})

	sb, out := w.restore(t, req)
	if passed := told(out.Findings, targets.Passed); len(passed) != len(odd)+2 || !mentions(passed, `"gr\xfcn" in database "latin"`, "the other part is committed") || !mentions(passed, "ROLLBACK PREPARED", "rolled back") {
		t.Errorf("ended: %+v", passed)
	}

	if warned := told(out.Findings, targets.Warned); len(warned) != 3 || !mentions(warned, `"left" in database "shop"`, "nobody can tell") || !mentions(warned, "from before", "before the log of which the cut knows") {
		t.Errorf("left: %+v", warned)
	}

	if failed := told(out.Findings, targets.Failed); len(failed) != 2 || !mentions(failed, "not there", "never prepared") || !mentions(failed, "a stranger's", "the cut does not have it") {
		t.Errorf("not as proven: %+v", failed)
	}

	c := sandboxOpen(t, sb)
	for _, gid := range odd {
		if !w.has(t, c, gid) {
			t.Errorf("%q is not committed", gid)
		}
	}
	latin := sb
	latin.Database = "latin"

	if c := sandboxOpen(t, latin); !w.has(t, c, "gr\xfcn") || w.has(t, c, "rolled back") {
		t.Error("the transactions of the other database did not end as they should")
	}

	if left := value[string](t, c, "SELECT string_agg(gid, ', ' ORDER BY gid) FROM pg_prepared_xacts WHERE database = 'shop'"); left != "a stranger's, from before, left" {
		t.Errorf("%s are prepared", left)
	}

	sb.Role = targets.Sandbox
	want := targets.Expectation{Quick: true, InDoubt: req.InDoubt, InDoubtSince: since}

	if f := finding(t, verify(t, w.d, sb, want), "prepared-transactions"); f.Severity != targets.Failed || !strings.Contains(f.Detail, "a stranger's") || strings.Contains(f.Detail, "from before") {
		t.Errorf("%+v", f)
	}

	run(t, c, "ROLLBACK PREPARED 'a stranger''s'")

	if f := finding(t, verify(t, w.d, sb, want), "prepared-transactions"); f.Severity != targets.Warned || !strings.Contains(f.Detail, "left") || f.Got != "3 in doubt" {
		t.Errorf("%+v", f)
	}
	latin.Role = targets.Sandbox // its sessions would show the gids in UTF-8

	if f := finding(t, verify(t, w.d, latin, want), "prepared-transactions"); f.Severity != targets.Warned || !strings.Contains(f.Detail, `"l\xe9ft" in database "latin"`) {
		t.Errorf("%+v", f)
	}
	want.InDoubt[len(want.InDoubt)-1].Action = targets.InDoubtRollBack

	if f := finding(t, verify(t, w.d, sb, want), "prepared-transactions"); f.Severity != targets.Failed || !strings.Contains(f.Detail, "left") {
		t.Errorf("what was to be ended and is not passes: %+v", f)
	}
}

// A restore that dies while it ends them is repeated, into an instance too, and all of
// them are there again.
func TestRestoreDiesWhileItEndsWhatIsInDoubt(t *testing.T) {
	t.Parallel()
	w := newDoubtful(t)

	since := value[time.Time](t, w.c, "SELECT clock_timestamp()")
	for i := range 6 {
		w.prepare(t, []*pgx.Conn{w.c, w.latin}[i%2], targets.GID(fmt.Sprintf("t%d", i)))
	}
	req := w.now(t)
	req.InDoubtSince = since

	for i := range 6 {
		req.InDoubt = append(req.InDoubt, targets.InDoubt{GID: targets.GID(fmt.Sprintf("t%d", i)), Action: []targets.InDoubtAction{targets.InDoubtCommit, targets.InDoubtRollBack}[i/3]})
	}
	in := w.sandbox()
	in.Role = targets.Primary
	ctx := ctxFor(t, 4*time.Minute)
	broken := 0

	for name, breakOff := range map[string]func(cancel func()){
		"the server is killed": func(func()) { killServer(t, in.DataDir) },
		"the worker is ended":  func(cancel func()) { cancel() },
	} {
		one, cancel := context.WithCancel(ctx)
		late := req
		late.Progress = func(phase string, done, _ int64) {
			if phase == "resolve" && done == 2 {
				broken++

				breakOff(cancel)
			}
		}
		_, err := w.d.Restore(one, in, late, w.s)

		cancel()

		if err == nil {
			t.Errorf("%s: it did not fail", name)
		}
	}

	if broken != 2 {
		t.Fatalf("it broke off %d times", broken)
	}

	out, err := w.d.Restore(ctx, in, req, w.s)
	if err != nil {
		t.Fatal(err)
	}

	if passed := told(out.Findings, targets.Passed); len(passed) != 6 || len(told(out.Findings, targets.Failed))+len(told(out.Findings, targets.Warned)) > 0 {
		t.Errorf("%+v", out.Findings)
	}

	p, err := sandboxtest.Tools(t).StartPostgres(ctx, servers.PostgresSpec{Dir: in.DataDir, LogFile: filepath.Join(w.dir, "own.log"),
		HBA: []string{"host all all 127.0.0.1/32 scram-sha-256"}})
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = p.Kill() })
	in.Address = p.Address
	latin := in
	latin.Database = "latin"

	for i := range 6 {
		c := open(t, []targets.Instance{in, latin}[i%2])
		if gid := targets.GID(fmt.Sprintf("t%d", i)); w.has(t, c, gid) != (i < 3) {
			t.Errorf("%s is there: %t", gid, i >= 3)
		}
	}

	if n := value[int](t, open(t, in), "SELECT count(*)::int FROM pg_prepared_xacts"); n != 0 {
		t.Errorf("%d are still prepared", n)
	}
}

// killServer ends the server of a data directory as a crash of the host would.
func killServer(t *testing.T, dir string) {
	t.Helper()

	b, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(b), "\n")

	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}

	id, err := proc.Of(pid)
	if err != nil {
		t.Fatal(err)
	}

	if err := id.Kill(); err != nil {
		t.Fatal(err)
	}
}
