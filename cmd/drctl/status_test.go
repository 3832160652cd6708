package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/cmd/drctl/configured"
	"drctl/config"
	"drctl/internal/fail"
	"drctl/internal/upkeep"
	"drctl/internal/vault"
	"drctl/restore/inventory"
	"drctl/restore/readiness"
	"drctl/targets"
)

// vaultsOnly is a configured platform of which nothing answers but its two
// vaults and, when it is given, the engine.
func vaultsOnly(t *testing.T, engine string) (file string, s *session) {
	t.Helper()

	return configuredLab(t, engine, `  orders:
    kind: postgres
    database: shop
    user: drctl
    shards: {"0": {east: {address: "127.0.0.1:2", role: primary}}}
`)
}

// configured is a platform of the targets with two vaults, made.
func configuredLab(t *testing.T, engine, stores string) (file string, s *session) {
	t.Helper()
	dir := t.TempDir()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`version: 1
name: small
state_dir: %[1]s/state
key: {file: %[1]s/key}
engine: %[2]s
regions:
  east: {vault: {url: "file://%[1]s/east"}}
  west: {vault: {url: "file://%[1]s/west"}}
targets:
%[3]sgroups:
  shop: {targets: [orders], gate: orders/0}
`, dir, engine, stores)

	file = filepath.Join(dir, "drctl.yaml")
	for name, body := range map[string]string{"drctl.yaml": text, "key": key.Secret().Reveal() + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	cfg, err := config.Load(file, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}

	tools, err := configured.Tools(cfg)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)

	s = &session{app: newApp(io.Discard, io.Discard), cfg: cfg, log: log, p: configured.New(cfg, tools, log)}
	for _, region := range cfg.RegionNames() {
		opt, err := s.p.VaultOptions(t.Context(), region)
		if err != nil {
			t.Fatal(err)
		}
		opt.Set = "11111111-2222-3333-4444-555555555555"

		opt.Now = func() time.Time { return time.Now().Add(-13 * time.Hour) }
		if _, err := vault.Init(t.Context(), opt); err != nil {
			t.Fatal(err)
		}
	}

	return file, s
}

func TestStatusTellsWhatSchedulesFound(t *testing.T) {
	file, s := vaultsOnly(t, "{address: 127.0.0.1:1}")
	ctx := t.Context()

	g, err := s.p.Group("shop")
	if err != nil {
		t.Fatal(err)
	}

	set, err := s.p.Set(ctx, "shop", "east")
	if err != nil {
		t.Fatal(err)
	}
	problems := func() string {
		return strings.Join(readiness.Gather(ctx, s.sources(), g, readiness.Scope{}).Status().Problems, "\n")
	}
	now := time.Now().UTC()
	cut := func(age time.Duration) targets.Cut {
		at := now.Add(-age)
		return targets.Cut{ID: targets.IDTime(at) + "-abcd", Group: "shop", QuiescedAt: at}
	}
	seal := func(c targets.Cut, regions ...string) {
		t.Helper()

		c.SealedAt, c.SealedIn = c.QuiescedAt, regions
		if _, err := (vault.Set{Vaults: set.Vaults, Durability: len(regions)}).SaveCut(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	want := func(yes bool, words ...string) {
		t.Helper()

		got := problems()
		for _, w := range words {
			if strings.Contains(got, w) != yes {
				t.Errorf("%q is said: %v, want %v:\n%s", w, !yes, yes, got)
			}
		}
	}

	// Bases.
	base := func(id string, age time.Duration) {
		t.Helper()
		at := now.Add(-age)

		start := targets.Position{Kind: targets.Postgres, Timeline: "7000000000000000001-00000001"}
		for _, v := range set.Vaults { // the record alone: whether its bytes are there is the check's to say
			body, err := json.Marshal(targets.Artifact{ID: id, Shard: g.Shards[0].Shard, Kind: targets.Postgres, Region: "east", Method: "files",
				From: start, Until: start, Snapshot: strings.Repeat("0", 64), Path: "/srv/data", Finished: at})
			if err != nil {
				t.Fatal(err)
			}

			if err := v.PutEncrypted(ctx, vault.BaseRecordKey(g.Shards[0].Shard, id), nil, body); err != nil {
				t.Fatal(err)
			}
		}
	}

	want(true, "there is no sealed cut", "the vault of east was made at", "has never been checked")
	base("old", 50*time.Hour)
	want(true, "the newest base is 2 d 2 h old")
	base("new", 30*time.Hour) // a little late is not twice
	want(false, "the newest base is")

	// A vault that falls behind.
	seal(cut(10*time.Minute), "east", "west")
	seal(cut(9*time.Minute), "east")
	want(false, "older than the newest of all", "abandoned")
	seal(cut(time.Minute), "east")
	want(true, "the newest cut in the vault of west is 9 min")

	// Abandoned cuts, in one vault alone, before and after the newest sealed one.
	abandon := func(c targets.Cut, reason string) {
		t.Helper()

		x := inventory.AbandonedCut{Cut: c, Reason: reason, AbandonedAt: c.QuiescedAt.Add(time.Second)}
		if _, err := (vault.Set{Vaults: set.Vaults[1:]}).SaveReport(ctx, inventory.AbandonedReports, c.ID, x); err != nil {
			t.Fatal(err)
		}
	}
	abandon(cut(5*time.Minute), "of long ago")
	want(false, "abandoned")
	lost := cut(10 * time.Second)
	abandon(lost, "orders/0 lags")
	want(true, "1 cut abandoned since", "orders/0 lags", "drctl cut show "+lost.ID)

	for _, args := range [][]string{{"cut", "show", lost.ID, "--vault", "west"}, {"cut", "show", lost.ID, "--vault", "west", "--json"}} {
		if out, err := command(ctx, file, args...); err != nil || !strings.Contains(out, "abandoned") || !strings.Contains(out, "orders/0 lags") {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}

	if _, err := command(ctx, file, "cut", "show", "19700101T000000.000Z-0000"); !fail.Is(err, fail.NotFound) {
		t.Errorf("a cut that never was: %v", err)
	}

	// Checks: the newest one of each vault counts, in whichever vault it is told.
	readData := "1/1"
	check := func(region string, age time.Duration, findings ...targets.Finding) {
		t.Helper()

		out := upkeep.Check{Group: "shop", Region: region, Started: now.Add(-age), Checks: len(findings), Findings: findings, ReadData: readData}
		for _, f := range findings {
			if f.Severity == targets.Failed {
				out.Failed++
			}
		}

		if err := upkeep.SaveCheck(ctx, s.p, g, out); err != nil {
			t.Fatal(err)
		}
	}
	good := targets.Finding{Check: "vault: bases", Subject: "west: bases/orders/0/", Severity: targets.Passed}
	bad := targets.Finding{Check: "vault: encrypted objects", Subject: "west: streams/orders/0/x", Severity: targets.Failed}

	check("west", 3*time.Hour, good)
	want(false, "found damage", "was last checked")
	check("west", 2*time.Hour, good, bad)
	at := now.Add(-2 * time.Hour).Local().Format(time.DateTime)
	want(true, "the check at "+at+" found damage: vault of west: 1 of 2 checks failed, the first: west: streams/orders/0/x", "backup verify --vault west")
	check("west", time.Hour, good, good)
	want(false, "found damage")
	check("east", 13*time.Hour, good)
	want(true, "the vault of east was last checked at")
	want(false, "never been checked")

	// Damage stays until a check that reads as much finds nothing.
	at = now.Add(-50 * time.Minute).Local().Format(time.DateTime)
	said := "the check at " + at + " found damage, and none since has read as much and found nothing: vault of west: 1 of 1"

	check("west", 50*time.Minute, bad)

	for i, c := range []struct {
		read string
		said bool
	}{{"", true}, {"1/3", true}, {"3/3", true}, {"1/3", true}, {"1/2", true}, {"5%", true}, {"2/3", false}} {
		readData = c.read

		check("west", 49*time.Minute-time.Duration(i)*time.Minute, good)
		want(c.said, said)
	}
	readData = "2/3"

	check("west", 30*time.Minute, bad)
	readData = "3/3"

	check("west", 29*time.Minute, good)
	want(true, "found damage")
	readData = "2/3"

	check("west", 28*time.Minute, good)
	want(false, "found damage")
	readData = "1/3"

	check("west", 20*time.Minute, bad)
	readData = "100%"

	check("west", 19*time.Minute, good)
	want(false, "found damage")
}

// A check by hand is a check: status knows of it, and of what it found.
func TestVerifyByHandIsKept(t *testing.T) {
	file, s := vaultsOnly(t, "{address: 127.0.0.1:1}")
	var out, errs bytes.Buffer
	root := newApp(&out, &errs).root()
	root.SetArgs([]string{"--config", file, "backup", "verify"})

	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}

	if !strings.Contains(errs.String(), "done: vault of east") || !strings.Contains(out.String(), "vault east: ") {
		t.Errorf("progress:\n%s\n%s", &errs, &out)
	}

	for _, region := range []string{"east", "west"} {
		v, err := s.p.Vault(t.Context(), "west")
		if err != nil {
			t.Fatal(err)
		}

		checks, err := upkeep.CheckHistory(t.Context(), []*vault.Vault{v}, "shop", region)
		if out := checks.Newest; err != nil || out.Failed != 0 || len(out.Findings) == 0 || out.ReadData != "1/1" {
			t.Errorf("check of %s: %+v, %v", region, out, err)
		}
	}
}

// command runs drctl in this process.
func command(ctx context.Context, file string, args ...string) (string, error) {
	var out bytes.Buffer
	root := newApp(&out, io.Discard).root()
	root.SetArgs(append([]string{"--config", file}, args...))
	err := root.ExecuteContext(ctx)

	return out.String(), err
}
