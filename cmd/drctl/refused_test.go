package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/lab"
	"drctl/internal/servers"
	"drctl/targets"
)

// labOf opens the tests' lab.
func (w *world) labOf(t *testing.T) *lab.Lab {
	t.Helper()

	tools, err := sandboxTools()
	if err != nil {
		t.Fatal(err)
	}

	l, err := lab.Open(w.lab, tools)
	if err != nil {
		t.Fatal(err)
	}

	return l
}

// instance is a server of the lab.
func (w *world) instance(t *testing.T, region, shard string) targets.Instance {
	t.Helper()

	id, err := targets.ParseShardID(shard)
	if err != nil {
		t.Fatal(err)
	}

	in, err := w.labOf(t).Instance(region, id)
	if err != nil {
		t.Fatal(err)
	}

	return in
}

// connect connects to a PostgreSQL server of the lab.
func (w *world) connect(t *testing.T, in targets.Instance) *pgx.Conn {
	t.Helper()

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()

	c, err := pgx.Connect(ctx, fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", in.User, in.Password.Reveal(), in.Address, in.Database))
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = c.Close(context.Background()) })

	return c
}

// wrongTarget is a target that cannot work, and what drctl must say of it.
type wrongTarget struct {
	name, kind, address, user, secret string
	database, tables                  string
	backup                            []string // texts that backup now must print
}

// TestRefused has a platform of its own in which every target is wrong in its
// own way, and asks for a status, a backup and a cut of each.
func TestRefused(t *testing.T) {
	w := sharedLab(t)
	// Each server can stand in for one shard only.
	at := func(region, shard string) string { return w.instance(t, region, shard).Address }
	pg0, pg1, pg2, pg3 := at("east", "orders/0"), at("east", "orders/1"), at("west", "orders/0"), at("west", "orders/1")
	rd0, rd1 := at("east", "carts/0"), at("west", "carts/0")

	c := w.connect(t, w.instance(t, "east", "orders/1"))
	for _, sql := range []string{"drop role if exists powerless", "create role powerless login password 'powerless'"} {
		if _, err := c.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}

	var nobody [2]string
	for i := range nobody {
		free, err := servers.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		nobody[i] = fmt.Sprintf("127.0.0.1:%d", free)
	}
	secret := func(name string) string { return filepath.Join(w.lab, "secrets", name) }
	wrong := filepath.Join(w.dir, "wrong.secret")

	powerless := filepath.Join(w.dir, "powerless.secret")
	for f, s := range map[string]string{wrong: "not the password", powerless: "powerless"} {
		if err := os.WriteFile(f, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list := []wrongTarget{
		{"pgdown", "postgres", nobody[0], "drctl", secret("postgres"), "shop", "public.accounts", []string{nobody[0], "refused", "(check that"}},
		{"pgpassword", "postgres", pg0, "drctl", wrong, "shop", "public.accounts", []string{pg0, "the password of user"}},
		{"pgrights", "postgres", pg1, "powerless", powerless, "shop", "public.accounts", []string{pg1, "powerless"}},
		{"pgname", "postgres", pg2, "drctl", secret("postgres"), "absent", "public.accounts", []string{pg2, "absent", "check the database name"}},
		{"pgkind", "postgres", rd0, "drctl", secret("postgres"), "shop", "public.accounts", []string{rd0, "check the address"}},
		{"rddown", "redis", nobody[1], "", secret("redis"), "", "", []string{nobody[1], "refused"}},
		{"rdpassword", "redis", rd1, "", wrong, "", "", []string{rd1, "password"}},
		{"rdkind", "redis", pg3, "", secret("redis"), "", "", []string{pg3, "check the address"}},
	}
	config := w.wrongConfig(t, list)
	must := func(code int, texts []string, args ...string) {
		t.Helper()
		w.start(t, runOptions{config: config}, args...).wait(t).expect(t, code, texts...)
	}
	must(0, []string{"vault: solo ready"}, "vault", "init")

	up := w.start(t, runOptions{config: config}, "up")
	defer func() {
		up.signal(15)
		up.wait(t)
	}()

	waitUp(t, up)

	var wg sync.WaitGroup
	for _, x := range list {
		wg.Go(func() {
			must(4, []string{x.name + "/0", "PROBLEM"}, "status", "-g", x.name)
			r := w.start(t, runOptions{config: config}, "backup", "now", "-g", x.name).wait(t)
			r.expect(t, 1, append([]string{x.name + "/0", "every shard failed"}, x.backup...)...)
			plain(t, r)
			r = w.start(t, runOptions{config: config}, "cut", "now", "-g", x.name).wait(t)

			code := 1
			if x.name == "pgkind" { // the configuration is wrong, and known to be
				code = 2
			}

			r.expect(t, code, append([]string{x.name + "/0"}, x.backup...)...)
			plain(t, r)
		})
	}

	wg.Wait()
	must(1, []string{"no sealed cut"}, "restore", "plan", "-g", "pgdown")
	must(1, nil, "restore", "run", "-g", "pgdown", "--engine", "embedded")
	must(2, []string{"--group"}, "cut", "now")
	must(2, []string{"nosuch"}, "cut", "now", "-g", "nosuch")
	// A second drctl up of the same state directory is refused.
	must(1, []string{"drctl up runs here with pid"}, "up")
}

// plain checks that an error was worded by drctl and not by the engine's SDK.
func plain(t *testing.T, r result) {
	t.Helper()

	for _, x := range []string{"activity error", "workflow execution error", "scheduledEventID", "retryable", "rpc error", "goroutine"} {
		if strings.Contains(r.out+r.err, x) {
			t.Errorf("the output holds %q: %s", x, r)
		}
	}
}

func (w *world) wrongConfig(t *testing.T, list []wrongTarget) string {
	t.Helper()

	port, err := servers.FreePort()
	if err != nil {
		t.Fatal(err)
	}

	dir := filepath.Join(w.dir, "wrong")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `version: 1
name: wrong
state_dir: %[1]s/state
key: {file: %[1]s/key.txt}
engine: {mode: embedded, address: "127.0.0.1:%[2]d"}
regions: {solo: {vault: {url: "file://%[1]s/vault"}}}
sandbox: {dir: %[1]s/sandbox}
policies:
  p:
    cut: {every: 0s, mode: share, lease: 3s, budget: 250ms, lock_timeout: 20ms, attempts: 2, seal_within: 5s}
    base: {every: 0s}
    stream: {vaults: [solo], durability: 1}
`, dir, port)
	b.WriteString("targets:\n")

	for _, x := range list {
		fmt.Fprintf(&b, "  %s:\n    kind: %s\n    password: {file: %s}\n", x.name, x.kind, x.secret)

		if x.kind == "postgres" {
			fmt.Fprintf(&b, "    database: %s\n    user: %s\n    tables: [%s]\n", x.database, x.user, x.tables)
		}

		fmt.Fprintf(&b, "    shards: {\"0\": {solo: {address: %q, role: primary}}}\n", x.address)
	}

	b.WriteString("groups:\n")

	for _, x := range list {
		fmt.Fprintf(&b, "  %[1]s: {targets: [%[1]s], policy: p, home: solo}\n", x.name)
	}

	config := filepath.Join(dir, "drctl.yaml")
	if err := os.WriteFile(config, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}

	return config
}
