package switchover_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/targets"
	"drctl/targets/handover"
	"drctl/targets/postgres"
	"drctl/targets/postgres/postmaster"
)

// limit bounds every step of a test; nothing is asserted of how long it takes.
const limit = 5 * time.Minute

const slot = "drctl"

// pair is a primary and its standby.
type pair struct {
	testing.TB
	d     *postgres.Driver
	tools servers.Binaries
	a, b  targets.Instance
}

// made are stopped clusters, one for each major: initdb takes seconds.
var made struct {
	sync.Mutex
	dirs map[string]string
}

func TestMain(m *testing.M) {
	code := m.Run()

	for _, dir := range made.dirs {
		_ = os.RemoveAll(filepath.Dir(dir))
	}

	os.Exit(code)
}

func cluster(t testing.TB, tools servers.Binaries) string {
	t.Helper()
	made.Lock()
	defer made.Unlock()

	if dir := made.dirs[tools.PostgresBin]; dir != "" {
		return dir
	}

	root, err := os.MkdirTemp("", "drctl-pair-")
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Chmod(root, 0o755)
	dir := filepath.Join(root, "pg")

	if err := tools.InitPostgres(t.Context(), servers.PostgresSpec{Dir: dir, User: "drctl", Password: targets.NewSecret(sandboxtest.Password), NoSync: true}); err != nil {
		t.Fatal(err)
	}

	if made.dirs == nil {
		made.dirs = map[string]string{}
	}
	made.dirs[tools.PostgresBin] = dir

	return dir
}

func newPair(t testing.TB, tools servers.Binaries) *pair {
	t.Helper()
	return newPairWith(t, tools, settings)
}

func newPairWith(t testing.TB, tools servers.Binaries, settings map[string]string) *pair {
	t.Helper()
	p := &pair{TB: t, tools: tools, d: postgres.New(postgres.Options{Tools: tools, SlotName: slot})}

	from, a, b := cluster(t, tools), filepath.Join(sandboxtest.Dir(t), "pg"), filepath.Join(sandboxtest.Dir(t), "pg")
	for _, dir := range []string{a, b} {
		if out, err := exec.Command("cp", "-a", "--reflink=auto", from, dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}

		t.Cleanup(func() {
			for _, s := range servers.In(dir) {
				_ = s.ID.Kill()
			}
		})
	}

	p.a = sandboxtest.Start(t, tools, a, sandboxtest.PostgresOptions{Settings: settings})
	p.exec(p.a, "CREATE TABLE t (id bigserial PRIMARY KEY, at timestamptz DEFAULT now(), note text)")
	p.exec(p.a, "SELECT pg_create_physical_replication_slot('pair', true), pg_create_physical_replication_slot('"+slot+"', true)")
	host, port, _ := strings.Cut(p.a.Address, ":")
	conf := fmt.Sprintf("primary_conninfo = 'host=%s port=%s user=drctl password=%s'\nprimary_slot_name = 'pair'\n", host, port, sandboxtest.Password)

	for name, content := range map[string]string{"postgresql.auto.conf": conf, "standby.signal": ""} {
		if err := tools.RunAs.WriteFile(filepath.Join(b, name), content); err != nil {
			t.Fatal(err)
		}
	}

	p.b = sandboxtest.Start(t, tools, b, sandboxtest.PostgresOptions{Settings: settings})
	p.b.Role, p.b.Region = targets.Standby, "west"
	p.until(p.b, "SELECT count(*) > 0 FROM pg_stat_wal_receiver WHERE status = 'streaming'")
	p.until(p.b, "SELECT pg_last_wal_replay_lsn() >= '"+p.ask(p.a, "SELECT pg_current_wal_flush_lsn()")+"'")

	return p
}

var settings = map[string]string{"max_connections": "100", "wal_retrieve_retry_interval": "100ms", "max_wal_size": "128MB", "min_wal_size": "80MB", "wal_keep_size": "64MB"}

// archiving is what servers have that archive by themselves.
func archiving() map[string]string {
	set := maps.Clone(settings)
	set["archive_mode"], set["archive_command"] = "on", "true"

	return set
}

func (p *pair) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	p.Cleanup(cancel)

	return ctx
}

func (p *pair) connect(in targets.Instance) *pgx.Conn {
	p.Helper()

	cfg, err := pgx.ParseConfig(sandboxtest.DSN(in, in.Database))
	if err != nil {
		p.Fatal(err)
	}
	cfg.RuntimeParams["statement_timeout"] = "0"

	c, err := pgx.ConnectConfig(p.context(), cfg)
	if err != nil {
		p.Fatal(err)
	}

	p.Cleanup(func() { _ = c.Close(context.Background()) })

	return c
}

func (p *pair) exec(in targets.Instance, sql string) {
	p.Helper()

	c := p.connect(in)
	defer c.Close(context.Background())

	if _, err := c.Exec(p.context(), sql); err != nil {
		p.Fatal(err)
	}
}

// ask returns the first column of the first row as text.
func (p *pair) ask(in targets.Instance, sql string) (s string) {
	p.Helper()

	c := p.connect(in)
	defer c.Close(context.Background())

	if err := c.QueryRow(p.context(), "SELECT coalesce(("+sql+")::text, '')").Scan(&s); err != nil {
		p.Fatal(err)
	}

	return s
}

func (p *pair) until(in targets.Instance, sql string) {
	p.Helper()

	for end := time.Now().Add(limit); p.ask(in, sql) != "true"; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			p.Fatalf("%s: never", sql)
		}
	}
}

// hands take the shard; they are closed with the test.
func (p *pair) hands(from, to targets.Instance, epoch uint64) handover.Switch {
	p.Helper()

	h, err := p.d.Switch(handover.Request{Old: from, New: to, Epoch: epoch})
	if err != nil {
		p.Fatal(err)
	}

	p.Cleanup(h.Close)

	return h
}

// history is the history file of the timeline that an instance is on.
func (p *pair) history(in targets.Instance, timeline string) []byte {
	p.Helper()

	if strings.HasSuffix(timeline, "-00000001") {
		return nil
	}

	b, err := os.ReadFile(filepath.Join(in.DataDir, "pg_wal", timeline[len(timeline)-8:]+".history"))
	if err != nil {
		p.Fatal(err)
	}

	return b
}

// switchover does all steps in their order and returns the promotion.
func (p *pair) switchover(from, to targets.Instance, epoch uint64) (handover.Stopped, handover.Promoted) {
	p.Helper()
	ctx, h := p.context(), p.hands(from, to, epoch)
	p.archived(from)

	if _, err := h.Prepare(ctx); err != nil {
		p.Fatal(err)
	}

	if _, err := h.Drain(ctx); err != nil {
		p.Fatal(err)
	}

	s, err := h.Stop(ctx)
	if err != nil {
		p.Fatal(err)
	}

	out, err := h.Promote(ctx, p.exact(from, s))
	if err != nil {
		p.Fatal(err)
	}

	if err := h.Probe(ctx); err != nil {
		p.Fatal(err)
	}

	return s, out
}

// archived moves the archiver's slot as one does that has come to the end.
func (p *pair) archived(in targets.Instance) {
	p.Helper()
	p.exec(in, "SELECT pg_replication_slot_advance('"+slot+"', pg_current_wal_flush_lsn())")
}

func (p *pair) exact(from targets.Instance, s handover.Stopped) handover.PromoteRequest {
	p.Helper()
	return handover.PromoteRequest{Silence: []handover.Silence{s.Silence}, Line: s.At, History: p.history(from, s.At.Timeline), Exact: true}
}

func (p *pair) rejoin(old, next targets.Instance) handover.Rejoined {
	p.Helper()

	out, err := p.d.Rejoin(p.context(), handover.RejoinRequest{Old: old, New: next})
	if err != nil {
		p.Fatal(err)
	}

	return out
}

// kill ends a server as a crash does.
func (p *pair) kill(in targets.Instance) {
	p.Helper()

	s, err := postmaster.Find(in.DataDir)
	if err == nil {
		err = s.Kill()
	}

	if err != nil {
		p.Fatal(err)
	}
}

func statement(in targets.Instance, epoch uint64) []handover.Silence {
	return []handover.Silence{{Instance: in.String(), Kind: handover.SilentStatement, Epoch: epoch, By: "test"}}
}

// stoppedNot is what somebody says who stopped nothing.
func stoppedNot(p *pair) handover.Stopped {
	system := p.ask(p.a, "SELECT system_identifier FROM pg_control_system()")

	at, err := targets.ParseLSN(p.ask(p.a, "SELECT pg_current_wal_flush_lsn()"))
	if err != nil {
		p.Fatal(err)
	}

	return handover.Stopped{At: targets.Position{Kind: targets.Postgres, Timeline: targets.PostgresTimeline(system, 1), Offset: at}, Silence: statement(p.a, 2)[0]}
}

// patient are hands that allow transactions of a length.
func (p *pair) patient(from, to targets.Instance, most time.Duration) handover.Switch {
	p.Helper()

	h, err := p.d.Switch(handover.Request{Old: from, New: to, Epoch: 2, MaxTransaction: most})
	if err != nil {
		p.Fatal(err)
	}

	p.Cleanup(h.Close)

	return h
}

// residents are all processes of a server.
func residents(srv postmaster.Server) []servers.Server { return servers.In(srv.Dir) }
