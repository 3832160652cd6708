package postgres_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
	"drctl/internal/sandbox/claim"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/targets"
)

func TestBaseAndRestoreToACut(t *testing.T) {
	t.Parallel()

	for _, method := range []string{"files", "wire"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, sandboxtest.PostgresOptions{Durable: method == "files"})
			run(t, w.c, "CREATE UNLOGGED TABLE scratch AS SELECT g FROM generate_series(1, 1000) g")

			in := w.in
			if method == "wire" {
				in.DataDir = ""
			}
			stop := w.load(t)

			time.Sleep(200 * time.Millisecond)

			base := w.base(t, in, "base-1")
			if base.Method != method || base.From.Timeline != w.id || base.From.Offset%segment != 0 || base.Until.Offset <= base.From.Offset || base.Settings["server_version_num"] == "" {
				t.Fatalf("base %+v", base)
			}

			time.Sleep(300 * time.Millisecond)
			before := value[int64](t, w.c, "SELECT max(n) FROM journal")
			at := mark(t, w.d, in, "20260101T000000.000Z-aaaa")
			// Two clients write: from the third entry on they began after the mark.
			marked := value[int64](t, w.c, "SELECT max(n) FROM journal")
			for end := time.Now().Add(time.Minute); value[int64](t, w.c, "SELECT max(n) FROM journal") < marked+3 && time.Now().Before(end); {
				time.Sleep(20 * time.Millisecond)
			}
			after := stop()

			w.a.reach(t, w.id, at.Offset)

			sb, out := w.restore(t, w.request(base, at))
			if out.Reached != at || out.Pid == 0 {
				t.Fatalf("reached %+v, want %+v", out.Reached, at)
			}
			c := sandboxOpen(t, sb)
			exact(t, c, before, after)

			if n := value[int](t, c, "SELECT count(*)::int FROM scratch"); n != 0 {
				t.Fatalf("the unlogged table holds %d rows after a recovery", n)
			}

			if pw, err := os.ReadFile(filepath.Join(w.dir, "work", "password")); err != nil || strings.TrimSpace(string(pw)) != sb.Password.Reveal() {
				t.Fatalf("password file: %v", err)
			}

			if _, err := pgx.Connect(ctxFor(t, time.Minute), fmt.Sprintf("postgres://%s:wrong@%s/shop?sslmode=disable", sb.User, sb.Address)); err == nil {
				t.Fatal("the sandbox takes any password")
			}
			// A second restore there must not touch it.
			again := w.sandbox()
			_, err := w.d.Restore(ctxFor(t, 2*time.Minute), again, w.request(base, at), w.s)
			wantCode(t, err, fail.Conflict, "pid")

			if b, err := os.ReadFile(filepath.Join(w.dir, "work", "postgres.log")); err != nil || strings.Contains(string(b), sb.Password.Reveal()) {
				t.Fatalf("the server's log: %v", err)
			}

			if strings.Contains(w.log.String(), sandboxtest.Password) {
				t.Fatal("the log holds the password")
			}
		})
	}
}

func TestRestoreInPlaceOfAnInstance(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandboxtest.PostgresOptions{})
	run(t, w.c, "ALTER SYSTEM SET work_mem = '7MB'")
	base := w.base(t, w.in, "base-1")
	at := mark(t, w.d, w.in, "20260101T000000.000Z-bbbb")
	run(t, w.c, "INSERT INTO journal DEFAULT VALUES")
	w.a.reach(t, w.id, at.Offset)
	in := w.sandbox()
	in.Role = targets.Primary
	ctx := ctxFor(t, 2*time.Minute)

	running := in
	running.Address = w.in.Address
	_, err := w.d.Restore(ctx, running, w.request(base, at), w.s)
	wantCode(t, err, fail.Conflict, "something answers at")

	if err := os.MkdirAll(in.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}

	precious := filepath.Join(in.DataDir, "precious")
	if err := os.WriteFile(precious, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = w.d.Restore(ctx, in, w.request(base, at), w.s)
	wantCode(t, err, fail.Conflict, "not empty")
	delta := w.request(base, at)
	delta.Delta = true
	_, err = w.d.Restore(ctx, in, delta, w.s)
	wantCode(t, err, fail.Conflict, "same cluster")

	if _, err := os.Stat(precious); err != nil {
		t.Fatal("a refused restore touched the directory")
	}
	_ = os.Remove(precious)

	out, err := w.d.Restore(ctx, in, w.request(base, at), w.s)
	if err != nil {
		t.Fatal(err)
	}

	if out.Reached != at || out.Pid != 0 {
		t.Fatalf("outcome %+v", out)
	}

	for _, gone := range []string{"postmaster.pid", "recovery.signal", "postgresql.conf.source", "backup_label"} {
		if _, err := os.Stat(filepath.Join(in.DataDir, gone)); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("%s is left: %v", gone, err)
		}
	}

	p, err := sandboxtest.Tools(t).StartPostgres(ctx, servers.PostgresSpec{Dir: in.DataDir, LogFile: filepath.Join(w.dir, "own.log"),
		HBA: []string{"host all all 127.0.0.1/32 scram-sha-256"}})
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = p.Kill() })
	in.Address = p.Address

	c := open(t, in) // with the original role and password
	if got := value[string](t, c, "SHOW work_mem"); got != "7MB" {
		t.Fatalf("work_mem is %s: the instance lost its own configuration", got)
	}

	if n := value[int](t, c, "SELECT count(*)::int FROM journal"); n != 0 {
		t.Fatalf("%d entries, want those before the cut: 0", n)
	}
	// A repeat with Delta refuses while it runs and works when it is stopped.
	_, err = w.d.Restore(ctx, w.deltaInstance(in), delta, w.s)
	wantCode(t, err, fail.Conflict, "runs in")

	if err := p.Stop(ctx); err != nil {
		t.Fatal(err)
	}

	if _, err := w.d.Restore(ctx, w.deltaInstance(in), delta, w.s); err != nil {
		t.Fatal(err)
	}
}

func (w *world) deltaInstance(in targets.Instance) targets.Instance {
	in.Address = ""
	return in
}

func TestRestoreFindsDamagedLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandboxtest.PostgresOptions{})
	base := w.base(t, w.in, "base-1")
	fill(t, w.c, 2<<20)
	at := mark(t, w.d, w.in, "20260101T000000.000Z-cccc")
	w.a.reach(t, w.id, at.Offset)
	_ = w.stop()
	l := w.a.timelines[w.id]
	mid := at.Offset - 1<<20 // in the middle of the filling, which is 2 MiB
	l.parts[0].data[mid-l.start] ^= 0x10
	_, err := w.d.Restore(ctxFor(t, 2*time.Minute), w.sandbox(), w.request(base, at), w.s)
	wantCode(t, err, fail.Corrupt, w.id, "checksum", targets.FormatLSN(at.Offset))
	// The repeat takes up its own unfinished directory, and works once the
	// log is whole.
	l.parts[0].data[mid-l.start] ^= 0x10

	_, out := w.restore(t, w.request(base, at))
	if out.Reached != at {
		t.Fatalf("reached %+v", out.Reached)
	}
}

// A restore that broke off is repeated into its own directory alone, and stops
// its own server alone.
func TestRestoreTakesUpOnlyItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandboxtest.PostgresOptions{})
	base := w.base(t, w.in, "base-1")
	at := mark(t, w.d, w.in, "20260101T000000.000Z-dada")
	w.a.reach(t, w.id, at.Offset)
	in := w.sandbox()
	in.Role = targets.Primary
	tools := sandboxtest.Tools(t)
	ctx := ctxFor(t, 2*time.Minute)
	req := w.request(base, at)
	breakOff := func() {
		t.Helper()
		late := w.request(base, at)
		late.Point.RestorePoint, late.Until = "", time.Now().Add(time.Hour)
		_, err := w.d.Restore(ctx, in, late, w.s)
		wantCode(t, err, fail.NotFound, "no commit later")
	}
	refused := func(words ...string) {
		t.Helper()
		_, err := w.d.Restore(ctx, in, req, w.s)
		wantCode(t, err, fail.Conflict, words...)
	}

	// A server in the directory that the restore has not started.
	breakOff()

	if err := os.Rename(filepath.Join(in.DataDir, "recovery.signal"), filepath.Join(in.DataDir, "standby.signal")); err != nil {
		t.Fatal(err)
	}

	left, err := tools.StartPostgres(ctx, servers.PostgresSpec{Dir: in.DataDir, SocketDir: filepath.Join(req.WorkDir, "socket"), LogFile: filepath.Join(w.dir, "left.log")})
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = left.Kill() })
	refused("pid "+strconv.Itoa(left.Pid), "runs in")

	if !left.Alive() {
		t.Fatal("a server that the restore has not started was stopped")
	}
	// Recorded by the restore it is its own.
	claim, _, held, err := claim.Read(filepath.Join(req.WorkDir, "restoring-postgres"), in.DataDir)
	if err != nil || !held {
		t.Fatalf("held %t: %v", held, err)
	}

	if err := claim.Started(left); err != nil {
		t.Fatal(err)
	}

	if out, err := w.d.Restore(ctx, in, req, w.s); err != nil || out.Reached != at || left.Alive() {
		t.Fatalf("%+v, alive %t: %v", out, left.Alive(), err)
	}

	if _, err := os.Stat(filepath.Join(in.DataDir, targets.ClaimFile)); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the claim is still there: %v", err)
	}

	refused("not empty")

	// Somebody gave up and made another database there.
	if err := os.RemoveAll(in.DataDir); err != nil {
		t.Fatal(err)
	}

	breakOff()

	if err := os.RemoveAll(in.DataDir); err != nil {
		t.Fatal(err)
	}

	spec := servers.PostgresSpec{Dir: in.DataDir, User: "else", Password: targets.NewSecret("else"), NoSync: true, LogFile: filepath.Join(w.dir, "else.log")}
	if err := tools.InitPostgres(ctx, spec); err != nil {
		t.Fatal(err)
	}

	other, err := tools.StartPostgres(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = other.Kill() })
	refused("pid "+strconv.Itoa(other.Pid), "runs in")

	if !other.Alive() {
		t.Fatal("somebody else's server was stopped")
	}

	if err := other.Stop(ctx); err != nil {
		t.Fatal(err)
	}

	refused("not what the restore that broke off left")

	if again, err := tools.StartPostgres(ctx, spec); err != nil {
		t.Fatalf("somebody else's directory was touched: %v", err)
	} else if err := again.Stop(ctx); err != nil {
		t.Fatal(err)
	}

	// Somebody made do with what the restore left, and used it.
	if err := os.RemoveAll(in.DataDir); err != nil {
		t.Fatal(err)
	}

	breakOff()

	if err := os.WriteFile(filepath.Join(in.DataDir, "postmaster.opts"), []byte("postgres \"-D\" \"/srv\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	refused("not what", "not empty")
}

func TestRestoreRefusesAMissingRange(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandboxtest.PostgresOptions{})
	base := w.base(t, w.in, "base-1")
	at := mark(t, w.d, w.in, "20260101T000000.000Z-dddd")
	w.a.reach(t, w.id, at.Offset)
	req := w.request(base, at)
	req.Path[0].To = at.Offset - 8
	_, err := w.d.Restore(ctxFor(t, 2*time.Minute), w.sandbox(), req, w.s)
	wantCode(t, err, fail.NotFound, "before the point")
	old := w.request(base, at)
	old.Base.Settings = map[string]string{"wal_segment_size": base.Settings["wal_segment_size"], "server_version_num": "120004"}
	_, err = w.d.Restore(ctxFor(t, 2*time.Minute), w.sandbox(), old, w.s)
	wantCode(t, err, fail.Unsupported, "postgresql-12")
	// A restore point that is not in the log.
	wrong := w.request(base, at)
	wrong.Point.RestorePoint = "drctl:nowhere"
	_, err = w.d.Restore(ctxFor(t, 2*time.Minute), w.sandbox(), wrong, w.s)
	wantCode(t, err, fail.Corrupt, "drctl:nowhere")
}

func TestRestoreToATimeAndToAnOffset(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandboxtest.PostgresOptions{})
	base := w.base(t, w.in, "base-1")
	entry := func() time.Time { // an instant after the entry's commit
		run(t, w.c, "INSERT INTO journal DEFAULT VALUES")
		return value[time.Time](t, w.c, "SELECT clock_timestamp()")
	}
	first := entry()
	second := entry()
	cut := mark(t, w.d, w.in, "20260101T000000.000Z-1111") // commits a message after its restore point
	third := entry()
	end := targets.Position{Kind: targets.Postgres, Timeline: w.id, Offset: lsn(t, w.c, "SELECT pg_current_wal_flush_lsn()::text")}
	w.a.reach(t, w.id, end.Offset)

	for _, x := range []struct {
		name  string
		until time.Time
		to    targets.Position
		want  int
	}{
		{"stops before the second commit", first, end, 1},
		{"stops before the message of the cut", second, end, 2},
		{"ends at a cut that is later", second, cut, 2},
		{"a position without a name", time.Time{}, end, 3},
	} {
		w.dir = sandboxtest.Dir(t)
		req := w.request(base, x.to)
		req.Until = x.until

		sb, out := w.restore(t, req)
		if n := value[int](t, sandboxOpen(t, sb), "SELECT count(*)::int FROM journal"); n != x.want {
			t.Fatalf("%s: %d entries, want %d", x.name, n, x.want)
		}

		if x.to == cut && out.Reached != cut {
			t.Fatalf("%s: reached %+v", x.name, out.Reached)
		}
	}
	// Whether something was committed between the end of the log and the instant
	// nobody knows, even when the log is right up to now.
	for _, until := range []time.Time{third, third.Add(time.Hour)} {
		w.dir = sandboxtest.Dir(t)
		req := w.request(base, end)
		req.Until = until
		_, err := w.d.Restore(ctxFor(t, 2*time.Minute), w.sandbox(), req, w.s)
		wantCode(t, err, fail.NotFound, "no commit later than "+until.UTC().Format(time.RFC3339Nano), "its newest is of "+third.UTC().Format(time.DateOnly), "drctl cut list")
	}
}

// linkLog moves a server's pg_wal elsewhere, behind a link.
func linkLog(t *testing.T, w *world, proc *servers.Server) (elsewhere string) {
	t.Helper()
	ctx := ctxFor(t, 2*time.Minute)
	_ = w.stop()

	if err := proc.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	tools := sandboxtest.Tools(t)
	elsewhere = filepath.Join(sandboxtest.Dir(t), "wal")

	inside := filepath.Join(w.in.DataDir, "pg_wal")
	if err := errors.Join(os.Rename(inside, elsewhere), os.Symlink(elsewhere, inside), tools.RunAs.Own(inside)); err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(w.in.Address, ":")

	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}

	p, err := tools.StartPostgres(ctx, servers.PostgresSpec{Dir: w.in.DataDir, Port: n, Settings: map[string]string{"max_prepared_transactions": "64"},
		HBA: []string{"host all all 127.0.0.1/32 scram-sha-256", "host replication all 127.0.0.1/32 scram-sha-256"}})
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = p.Kill() })
	w.c = open(t, w.in)
	w.stop = follow(t, w.d, w.in, w.a)

	return elsewhere
}

func TestTablespaceAndLinkedLog(t *testing.T) {
	t.Parallel()
	var proc servers.Server
	w := newWorld(t, sandboxtest.PostgresOptions{Proc: &proc})
	elsewhere := linkLog(t, w, &proc)
	space := filepath.Join(sandboxtest.Dir(t), "space")

	disk := space + "-disk" // the location is a link, as that of a mounted disk may be
	if err := errors.Join(os.Mkdir(disk, 0o700), sandboxtest.Tools(t).RunAs.Own(disk), os.Symlink(disk, space)); err != nil {
		t.Fatal(err)
	}

	run(t, w.c, "CREATE TABLESPACE fast LOCATION '"+space+"'")
	run(t, w.c, "CREATE TABLE hot TABLESPACE fast AS SELECT g AS id FROM generate_series(1, 1000) g")
	wire := w.in
	wire.DataDir = ""
	_, err := w.d.Base(ctxFor(t, 2*time.Minute), wire, targets.BaseRequest{ID: "base-0"}, w.s)
	wantCode(t, err, fail.Unsupported, "tablespaces")

	base := w.base(t, w.in, "base-1")
	if len(base.Tablespaces) != 1 {
		t.Fatalf("tablespaces %v", base.Tablespaces)
	}

	for _, where := range base.Tablespaces {
		if !strings.HasPrefix(where, space+"=") || !strings.HasSuffix(where, ":"+disk) {
			t.Fatalf("the base has the tablespace as %q: a link is saved as a link", where)
		}
	}

	run(t, w.c, "INSERT INTO hot SELECT g FROM generate_series(1001, 1500) g")
	at := mark(t, w.d, w.in, "20260101T000000.000Z-eeee")
	w.a.reach(t, w.id, at.Offset)
	sb, _ := w.restore(t, w.request(base, at))

	c := sandboxOpen(t, sb)
	if n := value[int](t, c, "SELECT count(*)::int FROM hot"); n != 1500 {
		t.Fatalf("%d rows, want 1500", n)
	}

	loc := value[string](t, c, "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'fast'")
	if !strings.HasPrefix(loc, sb.DataDir+"/") {
		t.Fatalf("the sandbox uses the tablespace at %s", loc)
	}

	if to, err := filepath.EvalSymlinks(filepath.Join(sb.DataDir, "pg_wal")); err != nil || to == elsewhere || to != filepath.Join(sb.DataDir, "pg_wal") {
		t.Fatalf("the sandbox writes its log to %s: %v", to, err)
	}
}

func TestBaseOfAServerThatFailsOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandboxtest.PostgresOptions{})
	standby := sandboxtest.Standby(t, w.in, sandboxtest.PostgresOptions{})
	w.s.onTree = func() { promote(t, standby) }
	_, err := w.d.Base(ctxFor(t, 2*time.Minute), standby, targets.BaseRequest{ID: "base-1"}, w.s)

	var fe *fail.Error
	if !errors.As(err, &fe) || !strings.Contains(err.Error(), "no base was taken") {
		t.Fatalf("got %v", err)
	}
	w.s.onTree = func() {
		c := open(t, w.in)
		run(t, c, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'drctl' AND backend_type = 'client backend'")
	}

	_, err = w.d.Base(ctxFor(t, 2*time.Minute), w.in, targets.BaseRequest{ID: "base-2"}, w.s)
	if !errors.As(err, &fe) || !strings.Contains(err.Error(), "no base was taken") {
		t.Fatalf("got %v", err)
	}
	w.s.onTree = nil
	// A directory that is another server's is not mistaken for this one's.
	other := w.in

	other.DataDir = standby.DataDir
	if a := w.base(t, other, "base-3"); a.Method != "wire" || !strings.Contains(w.log.String(), "not usable from here") {
		t.Fatalf("method %s", a.Method)
	}
}

func TestRestoreAcrossAPromotion(t *testing.T) {
	t.Parallel()
	var proc servers.Server
	w := newWorld(t, sandboxtest.PostgresOptions{Proc: &proc})
	// The archive may be behind when the primary dies; the rest comes from the standby.
	standby := sandboxtest.Standby(t, w.in, sandboxtest.PostgresOptions{Settings: map[string]string{"wal_keep_size": "1GB"}})
	base := w.base(t, w.in, "base-1")
	fill(t, w.c, 18<<20)
	run(t, w.c, "INSERT INTO journal DEFAULT VALUES")
	caughtUp(t, w.c, open(t, standby))

	if err := proc.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = w.stop()
	nc := promote(t, standby)
	w.stop = follow(t, w.d, standby, w.a)
	run(t, nc, "INSERT INTO journal DEFAULT VALUES")
	at := mark(t, w.d, standby, "20260101T000000.000Z-ffff")
	run(t, nc, "INSERT INTO journal DEFAULT VALUES")
	two := strings.TrimSuffix(w.id, "1") + "2"
	w.a.reach(t, two, at.Offset)
	sw := w.a.timelines[two].parent.Offset
	req := w.request(base, at)
	req.Path = []targets.Span{{Timeline: w.id, From: base.From.Offset, To: sw}, {Timeline: two, From: sw, To: at.Offset}}
	sb, out := w.restore(t, req)

	c := sandboxOpen(t, sb)
	if n := value[int](t, c, "SELECT count(*)::int FROM journal"); n != 2 || out.Reached != at {
		t.Fatalf("%d entries, reached %+v", n, out.Reached)
	}

	if tli := value[int](t, c, "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int"); tli != 3 {
		t.Fatalf("the restored server is on timeline %s", strconv.Itoa(tli))
	}
}
