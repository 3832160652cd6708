package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"drctl/config"
	"drctl/internal/engine/enginetest"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/supervise"
	"drctl/restore/readiness"
)

// drctl up says what is wrong when it says that it is up, and logs it at its
// own level; its workers' lines keep theirs, and are records of their own.
func TestUpSaysWhatIsWrong(t *testing.T) {
	l, address := freePort(t)
	_ = l.Close()

	file, s := vaultsOnly(t, fmt.Sprintf("{address: %q}", address))
	if err := os.RemoveAll(filepath.Join(filepath.Dir(file), "west")); err != nil {
		t.Fatal(err)
	}
	var out, logged lockedBuffer
	a := newApp(&out, &logged)
	a.logLevel = "warn"

	log, err := a.logger()
	if err != nil {
		t.Fatal(err)
	}

	children, err := a.children(s.cfg, asDrctl(t), enginetest.Bin(t))
	if err != nil {
		t.Fatal(err)
	}

	sup, err := supervise.New(supervise.Options{StateDir: s.cfg.StateDir, Children: children, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())

	done := make(chan error, 2)
	go func() { done <- sup.Run(ctx) }()
	go func() { a.announce(ctx, s.cfg, sup, log); done <- nil }()

	out.eventuallySays(t, "drctl: up after")

	// The archiver may have failed by then, and be the third.
	if !regexp.MustCompile(`2 regions\), with [23] problems`).MatchString(out.String()) {
		t.Errorf("it does not say how much is wrong:\n%s", out.String())
	}

	for _, w := range []string{"orders/0@east", "the vault of west cannot be opened"} {
		if !strings.Contains(out.String(), w) {
			t.Errorf("it does not say %q:\n%s", w, out.String())
		}
	}

	logged.eventuallySays(t, "level=ERROR msg=\"the vault of west cannot be opened\"")
	logged.eventuallySays(t, "level=ERROR msg=\"orders/0@east: probe: ")
	logged.eventuallySays(t, "level=ERROR msg=\"archiver of orders/0 fails\"")
	cancel()
	<-done
	<-done

	if s := logged.String(); strings.Contains(s, `msg="time=`) || strings.Contains(s, `msg="{`) || strings.Contains(s, "level=INFO") {
		t.Errorf("lines are wrapped, or below the level asked for:\n%s", s)
	}
}

// A worker's warnings come through drctl up --log-level warn, with their level
// and their attributes.
func TestWorkersWarningsComeThrough(t *testing.T) {
	file, _ := vaultsOnly(t, "{mode: external, address: 127.0.0.1:1}")

	cfg, err := config.Load(file, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	var logged lockedBuffer
	a := newApp(&logged, &logged)
	a.logLevel = "warn"

	children, err := a.children(cfg, asDrctl(t), "")
	if err != nil {
		t.Fatal(err)
	}

	log, err := a.logger()
	if err != nil {
		t.Fatal(err)
	}

	sup, err := supervise.New(supervise.Options{StateDir: cfg.StateDir, Children: children, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())

	done := make(chan error, 1)
	go func() { done <- sup.Run(ctx) }()

	logged.eventuallySays(t, `level=WARN msg="the engine does not answer; trying again" child=worker-east region=east address=127.0.0.1:1`)
	cancel()
	<-done

	if strings.Contains(logged.String(), "level=INFO") {
		t.Errorf("what is below the level asked for:\n%s", logged.String())
	}
}

// What is asked every few seconds does not depend on how much data there is:
// sizes, for which a server looks at each of its files, are for status.
func TestTheWatchMeasuresNothing(t *testing.T) {
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})

	c, err := pgx.Connect(t.Context(), sandboxtest.DSN(in, in.Database))
	if err != nil {
		t.Fatal(err)
	}

	defer func() { _ = c.Close(context.Background()) }()

	if _, err := c.Exec(t.Context(), "CREATE ROLE weak LOGIN PASSWORD '"+sandboxtest.Password+"'; REVOKE EXECUTE ON FUNCTION pg_database_size(oid) FROM PUBLIC, pg_read_all_stats"); err != nil {
		t.Fatal(err)
	}

	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte(sandboxtest.Password), 0o600); err != nil {
		t.Fatal(err)
	}
	_, s := configuredLab(t, "{mode: embedded}", fmt.Sprintf(`  orders:
    kind: postgres
    database: %s
    user: weak
    password: {file: %q}
    shards: {"0": {east: {address: %q, role: primary}}}
`, in.Database, secret, in.Address))

	g, err := s.p.Group("shop")
	if err != nil {
		t.Fatal(err)
	}

	for _, shallow := range []bool{false, true} {
		is := readiness.Gather(t.Context(), s.sources(), g, readiness.Scope{Shallow: shallow}).Status().Instances
		if len(is) != 1 || !is[0].Status.Reachable || strings.Contains(is[0].Error, "permission denied") == shallow || shallow && is[0].Error != "" {
			t.Errorf("shallow %t: %+v", shallow, is)
		}
	}
}
