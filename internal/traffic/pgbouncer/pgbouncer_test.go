package pgbouncer_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/internal/traffic"
	"drctl/internal/traffic/pgbouncer"
	"drctl/internal/traffic/traffictest"
	"drctl/targets"
)

// poolers are two PgBouncers before the same servers.
type poolers struct {
	east, west targets.Instance
	specs      []*servers.PgBouncerSpec
	procs      []servers.Server
	relay      *traffictest.Relay // before the console of the second
}

func start(t *testing.T, mode string) *poolers {
	t.Helper()
	p := &poolers{east: sandboxtest.Postgres(t, sandboxtest.PostgresOptions{}), west: sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})}

	for range 2 {
		s := &servers.PgBouncerSpec{Databases: map[string]string{"shop": p.east.Address, "other": "127.0.0.1:1"}, Mode: mode}
		p.procs, p.specs = append(p.procs, sandboxtest.PgBouncer(t, s)), append(p.specs, s)
	}

	p.relay = traffictest.NewRelay(t, p.procs[1].Address)

	return p
}

func (p *poolers) spec() pgbouncer.Spec {
	return pgbouncer.Spec{Route: traffic.Route{Name: "orders-0", Kind: traffic.PgBouncer, Shard: targets.ShardID{Target: "orders", Shard: "0"}, Regions: []string{"east", "west"}},
		Poolers:  []pgbouncer.Pooler{{Address: p.procs[0].Address, File: p.specs[0].DatabasesFile()}, {Address: p.relay.Address, File: p.specs[1].DatabasesFile()}},
		Database: "shop", User: "drctl", Password: targets.NewSecret(sandboxtest.Password),
		Backends: map[string]string{"east": p.east.Address, "west": p.west.Address}}
}

func driver(t *testing.T, s pgbouncer.Spec) *pgbouncer.Driver {
	t.Helper()

	d, err := pgbouncer.New(s)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(d.Close)

	return d
}

// client connects through a pooler.
func (p *poolers) client(ctx context.Context, i int) (*pgx.Conn, error) {
	in := p.east
	in.Address = p.procs[i].Address

	cfg, err := pgx.ParseConfig(sandboxtest.DSN(in, "shop"))
	if err != nil {
		return nil, err
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol

	return pgx.ConnectConfig(ctx, cfg)
}

func (p *poolers) region(ctx context.Context, c *pgx.Conn) (string, error) {
	var port string
	if err := c.QueryRow(ctx, "SELECT current_setting('port')").Scan(&port); err != nil {
		return "", err
	}

	for name, in := range map[string]targets.Instance{"east": p.east, "west": p.west} {
		if _, n, _ := net.SplitHostPort(in.Address); n == port {
			return name, nil
		}
	}

	return "", errors.New("no server has port " + port)
}

func (p *poolers) ask(ctx context.Context) (string, error) {
	said := ""
	for i := range p.procs {
		c, err := p.client(ctx, i)
		if err != nil {
			return "", err
		}

		got, err := p.region(ctx, c)
		_ = c.Close(context.WithoutCancel(ctx))

		if err != nil {
			return "", err
		}

		if i > 0 && got != said {
			return "", fmt.Errorf("one pooler leads to %s, the other to %s", said, got)
		}
		said = got
	}

	return said, nil
}

func (p *poolers) cut(t *testing.T) func() {
	p.relay.Cut()
	mended := false

	return func() {
		if !mended {
			p.relay.Mend(t)
		}

		mended = true
	}
}

// session is a client of the second pooler that stays.
func (p *poolers) session(t *testing.T) func(context.Context) (string, error) {
	t.Helper()

	c, err := p.client(context.Background(), 1)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = c.Close(context.Background()) })

	return func(ctx context.Context) (string, error) { return p.region(ctx, c) }
}

func within(t *testing.T) context.Context {
	t.Helper()

	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)

	return ctx
}

func TestTransactionMode(t *testing.T) {
	p := start(t, "transaction")

	traffictest.Run(t, traffictest.Rig{Route: p.spec().Route, East: "east", West: "west", Rounds: sandboxtest.Size(8, 60), Secret: sandboxtest.Password,
		New: func(t *testing.T) traffic.Driver { return driver(t, p.spec()) },
		Ask: p.ask, Session: p.session, Seamless: true, Cut: p.cut, Idle: p.relay.Idle})

	t.Run("a transaction that does not end is waited for, and then everybody goes on", func(t *testing.T) { stuck(t, p) })
	t.Run("the rest of the file stays", func(t *testing.T) { fileStays(t, p) })
	t.Run("a file that is not read is found out", func(t *testing.T) { fileNotRead(t, p) })
	t.Run("what could harm is told", func(t *testing.T) { warned(t, p) })
	t.Run("who may only look is denied", func(t *testing.T) { denied(t, p) })
	t.Run("poolers without files are held, and pointed by others", func(t *testing.T) { holdOnly(t, p) })
}

func stuck(t *testing.T, p *poolers) {
	ctx := within(t)

	c, err := p.client(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)

	tx, err := c.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}

	if _, err := tx.Exec(ctx, "SELECT 1"); err != nil {
		t.Fatal(err)
	}

	d := driver(t, p.spec())

	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()

	if err := d.Hold(short); !fail.Is(err, fail.Stalled) {
		t.Fatalf("hold: %v", err)
	}

	if s, err := d.Read(ctx); err != nil || s.Parts[0].Held || s.Parts[1].Held {
		t.Errorf("after a hold that was given up: %+v, %v", s, err)
	}

	if err := tx.Commit(ctx); err != nil {
		t.Errorf("the transaction: %v", err)
	}

	if got, err := p.ask(ctx); err != nil || got != "east" {
		t.Errorf("clients are answered by %q, %v", got, err)
	}
}

func fileStays(t *testing.T, p *poolers) {
	ctx, file := within(t), p.specs[0].DatabasesFile()

	host, port, _ := strings.Cut(p.east.Address, ":")
	text := "; by hand\nother = host=127.0.0.1 port=1\nshop = pool_size=7  host=" + host + " port=" + port + " connect_query='SELECT ''it is ours'''\n"

	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}

	original, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d := driver(t, p.spec())

	if err := d.Point(ctx, "west"); err != nil {
		t.Fatal(err)
	}

	host, port, _ = strings.Cut(p.west.Address, ":")
	want := "; by hand\nother = host=127.0.0.1 port=1\nshop = pool_size=7 host=" + host + " port=" + port + " connect_query='SELECT ''it is ours'''\n"

	if b, err := os.ReadFile(file); err != nil || string(b) != want {
		t.Errorf("the file is %q (%v), want %q", b, err, want)
	}

	after, err := os.Stat(file)
	if err != nil || after.Mode() != before.Mode() || fmt.Sprint(owner(after)) != fmt.Sprint(owner(before)) {
		t.Errorf("mode and owner are %v %v, were %v %v", after.Mode(), owner(after), before.Mode(), owner(before))
	}

	if err := d.Point(ctx, "east"); err != nil {
		t.Fatal(err)
	}

	if err := os.WriteFile(file, original, 0o600); err != nil {
		t.Fatal(err)
	}
}

func fileNotRead(t *testing.T, p *poolers) {
	spec := p.spec()

	// A file that this PgBouncer does not include: RELOAD says nothing of it.
	b, err := os.ReadFile(spec.Poolers[0].File)
	if err != nil {
		t.Fatal(err)
	}
	spec.Poolers[0].File = t.TempDir() + "/databases.ini"

	if err := os.WriteFile(spec.Poolers[0].File, b, 0o600); err != nil {
		t.Fatal(err)
	}
	d, ctx := driver(t, spec), within(t)

	was, err := d.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}

	if err := d.Point(ctx, "west"); !fail.Is(err, fail.Unverified) {
		t.Errorf("point: %v", err)
	}

	if err := d.Undo(ctx, was); err != nil {
		t.Errorf("undo: %v", err)
	}

	if got, err := p.ask(ctx); err != nil || got != "east" {
		t.Errorf("clients are answered by %q, %v", got, err)
	}
}

func warned(t *testing.T, p *poolers) {
	s, err := driver(t, p.spec()).Read(within(t))
	if err != nil {
		t.Fatal(err)
	}

	// Debian's version has the holes as long as it is older than the one that mends them.
	for _, w := range s.Warnings {
		if !strings.Contains(w, "CVE-2026-666") || !strings.Contains(w, "update to 1.25.2") {
			t.Errorf("warning: %q", w)
		}
	}

	slow := &servers.PgBouncerSpec{Databases: map[string]string{"shop": p.east.Address}, Settings: map[string]string{"server_login_retry": "15"}}
	spec := p.spec()
	spec.Poolers = []pgbouncer.Pooler{{Address: sandboxtest.PgBouncer(t, slow).Address, File: slow.DatabasesFile()}}

	s, err = driver(t, spec).Read(within(t))
	if err != nil || !strings.Contains(strings.Join(s.Warnings, " "), "server_login_retry is 15") {
		t.Errorf("warnings: %q, %v", s.Warnings, err)
	}
}

func denied(t *testing.T, p *poolers) {
	ctx, spec := within(t), p.spec()
	spec.User = "watcher"

	if _, err := driver(t, spec).Read(ctx); !fail.Is(err, fail.Denied) {
		t.Errorf("a user that is no admin: %v", err)
	}

	spec = p.spec()
	spec.Password = targets.NewSecret("wrong-one")

	_, err := driver(t, spec).Read(ctx)
	if !fail.Is(err, fail.Denied) || strings.Contains(err.Error(), "wrong-one") {
		t.Errorf("a wrong password: %v", err)
	}

	spec = p.spec()
	spec.Database = "missing"

	if _, err := driver(t, spec).Read(ctx); !fail.Is(err, fail.NotFound) {
		t.Errorf("a database that is not there: %v", err)
	}
}

func holdOnly(t *testing.T, p *poolers) {
	spec := p.spec()
	spec.Poolers[0].File, spec.Poolers[1].File, spec.Backends = "", "", nil
	d, ctx := driver(t, spec), within(t)

	if can := d.Can(); can.Point || !can.Hold || !can.Drain {
		t.Fatalf("it can %+v", can)
	}

	was, err := d.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}

	if err := d.Hold(ctx); err != nil {
		t.Fatal(err)
	}

	if err := d.Release(ctx, "west", was); err != nil {
		t.Errorf("release: %v", err)
	}

	if got, err := p.ask(ctx); err != nil || got != "east" {
		t.Errorf("clients are answered by %q, %v", got, err)
	}
}

func TestSessionMode(t *testing.T) {
	p := start(t, "session")
	ctx := within(t)
	ask := p.session(t)

	if got, err := ask(ctx); err != nil || got != "east" {
		t.Fatalf("answered by %q, %v", got, err)
	}

	refuses := driver(t, p.spec())
	if err := refuses.Hold(ctx); !fail.Is(err, fail.Conflict) || !strings.Contains(err.Error(), "session mode") {
		t.Errorf("hold: %v", err)
	}

	if got, err := ask(ctx); err != nil || got != "east" {
		t.Errorf("a hold that was refused has disturbed a client: %q, %v", got, err)
	}

	spec := p.spec()
	spec.Sessions = pgbouncer.Kill
	kills := driver(t, spec)

	was, err := kills.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}

	if err := kills.Hold(ctx); err != nil {
		t.Fatal(err)
	}

	if _, err := ask(ctx); err == nil {
		t.Error("the client is still connected")
	}

	told := make(chan string, 1)
	go func() {
		got, err := p.ask(ctx)
		told <- fmt.Sprint(got, " ", err)
	}()

	if err := kills.Point(ctx, "west"); err != nil {
		t.Fatal(err)
	}

	if err := kills.Release(ctx, "west", was); err != nil {
		t.Fatal(err)
	}

	if got := <-told; got != "west <nil>" {
		t.Errorf("a client that connected again was told %s", got)
	}
}
