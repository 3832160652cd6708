package report

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"drctl/internal/progress"
	"drctl/internal/report/evidence"
)

var update = flag.Bool("update", false, "write the golden files again")

var t0 = time.Date(2026, 3, 14, 3, 0, 0, 0, time.UTC)

func at(s float64) time.Time { return t0.Add(time.Duration(s * float64(time.Second))) }

// sample is a drill of four PostgreSQL shards, Redis and a bucket.
func sample(t testing.TB, passed bool) evidence.Record {
	t.Helper()
	step := func(id, phase, shard string, from, to float64, attempts int) evidence.Step {
		return evidence.Step{ID: id, Phase: phase, Shard: shard, Actor: "worker west-1", Attempts: attempts, Outcome: evidence.StepDone,
			PlannedStart: evidence.Unknown[time.Time]("the plan gives an order, not a time"), PlannedFinish: evidence.Unknown[time.Time]("the plan gives an order, not a time"),
			Started: evidence.Known(at(from)), Finished: evidence.Known(at(to)),
			InputSHA256: evidence.Known(strings.Repeat("a1", 32)), OutputSHA256: evidence.Unknown[string]("the step's output was not hashed")}
	}
	check := func(name, on, want, got, verdict string) evidence.Check {
		return evidence.Check{Name: name, Subject: on, Expected: want, Got: got, Verdict: verdict, Took: 12 * time.Millisecond, QuerySHA256: strings.Repeat("0f", 32)}
	}
	r := evidence.Record{Schema: evidence.Version, ID: "drill-nightly-20260314T030000.000Z", Kind: evidence.RestoreDrill, Name: "nightly",
		GeneratedAt: at(43), Started: t0, Finished: at(42), Tool: evidence.Tool{Name: "drctl", Version: "0.1.0", Commit: evidence.Known("4f2a9c1")},
		Clock: evidence.Clock{Source: "system clock of host west-1", Synchronised: evidence.Unknown[string]("the worker did not ask the host's time service")},
		Plan: evidence.Plan{ID: "restore-shop-20260314T030000.000", SHA256: strings.Repeat("9b", 32), Version: evidence.Unknown[string]("plans are made for each run"),
			Approver: evidence.Unknown[string]("a drill's plan needs no approval"), ApprovedAt: evidence.Unknown[time.Time]("a drill's plan needs no approval")},
		Scope: evidence.Scope{Group: "shop", Vault: "west", Exclusions: []evidence.Exclusion{{What: "search index", Reason: "rebuilt from the orders"}}},
		Test: evidence.Test{Type: "restore into a sandbox", Trigger: "schedule", By: evidence.Known("schedule drill/nightly"), Previous: evidence.Known(t0.Add(-24 * time.Hour)),
			NextDue: evidence.Known(t0.Add(24 * time.Hour))},
		Scenario:     evidence.Known("The east region is lost as a whole, engine included. Severe but plausible: the provider lost a region for 14 hours in 2021."),
		Hypothesis:   evidence.Known("The shop comes back in west within a minute, with at most 30 s of orders lost."),
		Participants: []evidence.Participant{{Name: "R. Okafor", Role: evidence.Known("duty engineer")}}, Absent: evidence.Unknown[string]("nobody said who should have taken part"),
		Prechecks: []evidence.Precheck{{Name: "free space", At: t0, Passed: true, Detail: "41 GiB free, 3 GiB needed"}},
		RecoveryPoint: evidence.RecoveryPoint{CutID: "20260314T025948.120Z-3fa9", Mode: "gate", QuiescedAt: at(-11.88), ReleasedAt: at(-11.876), SealedAt: at(-10.4),
			SealedIn: []string{"east", "west"}, Attempts: 1, Stall: 3400 * time.Microsecond, Location: evidence.Known("s3://drctl-west/vault"),
			KeyID: evidence.Known("age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq"), LockedUntil: evidence.Unknown[time.Time]("drctl did not ask the vault's store for an object lock")},
		Sample:     evidence.Sample{Population: 1440, PopulationSHA256: strings.Repeat("7c", 32), Method: "newest sealed cut of the group", Seed: "0"},
		Objectives: evidence.Objectives{RTO: time.Minute, RPO: 30 * time.Second},
		Isolation: evidence.Isolation{Network: evidence.NetworkNotIsolated, SandboxID: "drill-nightly-1", Directory: "/var/lib/drctl/sandbox/drill-nightly-1", Addresses: []string{"127.0.0.1:41001", "127.0.0.1:41002"}, Proven: true,
			Basis: []string{"every restored instance listens on a loopback address"}},
		CleanUp: evidence.CleanUp{RemovedAt: evidence.Known(at(41.5))},
		Posture: evidence.Posture{Coverage: evidence.Known("6 of 6 shards"), Frequency: evidence.Known("cut every minute, base every day"), Retention: evidence.Known("cuts 7 days, bases 30 days"),
			Encryption: evidence.Known("age X25519, ChaCha20-Poly1305"), Copies: evidence.Known("east, west; durable in 2"), Lock: evidence.Unknown[string]("not asked")},
		Attachments: []evidence.Attachment{evidence.Attach("plan.json", "application/json", []byte("{}"))},
		Measured: evidence.Measured{RTO: evidence.Known(38200 * time.Millisecond), RTOMethod: "wall clock of the coordinator, from the order to recover to the end of the last verification",
			RPO: evidence.Known(11880 * time.Millisecond), RPOMethod: "per store: instant of the order to recover, minus the instant before which every acknowledged write is inside the cut",
			Lost: evidence.Unknown[int64]("no journal from outside the stores was compared"),
			Phases: []evidence.Phase{{Name: "detect", Took: evidence.Unknown[time.Duration]("not exercised: the drill began with the order to recover")},
				{Name: "prepare", Started: t0, Finished: at(1.2), Took: evidence.Known(1200 * time.Millisecond)},
				{Name: "restore", Started: at(1.2), Finished: at(28), Took: evidence.Known(26800 * time.Millisecond)},
				{Name: "verify", Started: at(11), Finished: at(38.2), Took: evidence.Known(27200 * time.Millisecond)}}},
		Verdict: evidence.Verdict{Passed: true}}

	r.Steps = []evidence.Step{step("open-sandbox", "prepare", "", 0, 1.2, 1)}
	for i := range 4 {
		id := fmt.Sprintf("orders/%d", i)
		r.Steps = append(r.Steps, step("restore-"+id, "restore", id, 1.2, 11+float64(i)*5, 1+i/3), step("verify-"+id, "verify", id, 11+float64(i)*5, 17+float64(i)*6, 1))
		r.RecoveryPoint.Shards = append(r.RecoveryPoint.Shards, evidence.ShardPoint{Shard: id, Kind: "postgres", Region: "east", Instance: id + "@east (10.0.0." + fmt.Sprint(i) + ":5432)",
			Position: fmt.Sprintf("%d/A3F19C8 on timeline 1 of system 7412000000000000%03d", i, i), SystemID: fmt.Sprintf("7412000000000000%03d", i), Timeline: 1, LSN: fmt.Sprintf("%d/A3F19C8", i),
			RestorePoint: "drctl:20260314T025948.120Z-3fa9", Base: evidence.Known("20260313T010000.000Z-77aa"), BaseTaken: evidence.Known(t0.Add(-26 * time.Hour)),
			Reached: evidence.Known(fmt.Sprintf("%d/A3F19C8", i)), BytesMoved: evidence.Known(int64(260<<20 + i<<24))})
		r.Checks = append(r.Checks, check("starts", id, "accepts connections", "accepts connections", "passed"), check("pg_amcheck", id, "no damage", "no damage", "passed"))
		r.Measured.Stores = append(r.Measured.Stores, evidence.StoreRPO{Shard: id, RecoveredTo: at(-11.88), Reference: t0, Loss: 11880 * time.Millisecond})
	}

	r.Steps = append(r.Steps, step("restore-media/0", "restore", "media/0", 1.2, 9, 1), step("cross-check", "verify", "", 35, 38.2, 1), step("remove-sandbox", "clean-up", "", 38.2, 41.5, 1))
	for _, s := range r.RecoveryPoint.Shards {
		r.Scope.Systems = append(r.Scope.Systems, evidence.System{Shard: s.Shard, Kind: s.Kind, Region: s.Region})
	}

	r.Checks = append(r.Checks, check("money in all accounts", "orders", "=1000000", "1000000", "passed"), check("objects of media that rows of orders name", "media/0@sandbox", "18 204 whole objects", "18 204 whole objects", "passed"))
	if !passed {
		last := len(r.Steps) - 1
		r.Steps[4].Outcome, r.Steps[4].Error = evidence.StepFailed, "pg_amcheck: index orders_pkey is damaged"
		r.Steps[last].Outcome, r.Steps[last].NotRunReason = evidence.StepNotRun, "the sandbox is kept for inspection"
		r.Steps[last].Started, r.Steps[last].Finished = evidence.Unknown[time.Time]("the step did not run"), evidence.Unknown[time.Time]("the step did not run")
		r.Objectives.RTO = 30 * time.Second
		r.Checks[3].Verdict, r.Checks[3].Got = "failed", "index orders_pkey is damaged"
		r.Checks[5].Verdict, r.Checks[5].Got = "skipped", "not run"
		r.CleanUp = evidence.CleanUp{RemovedAt: evidence.Unknown[time.Time]("the sandbox is kept for inspection"), LeftOver: []string{"/var/lib/drctl/sandbox/drill-nightly-1"}}
		r.Verdict = evidence.Verdict{Failures: []string{`check "pg_amcheck" on orders/1: failed: expected no damage, got index orders_pkey is damaged`, "RTO objective missed: 38.2 s measured, 30 s allowed"},
			Warnings: []string{`check "pg_amcheck" on orders/2: skipped`}}
		r.Findings = []evidence.Issue{{ID: r.ID + "-01", Severity: evidence.Major, Title: r.Verdict.Failures[0], Owner: evidence.Unknown[string]("to be filled in at the review"),
			Due: evidence.Unknown[time.Time]("to be filled in at the review"), Closed: evidence.Unknown[string]("the finding is open")}}
	}

	sealed, _, err := evidence.Finalize(r)
	if err != nil {
		t.Fatal(err)
	}

	return sealed
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()

	p := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}

		if err := os.WriteFile(p, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}

	want, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}

	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; look at it and run with -update\n%s", p, got)
	}
}

func render(t *testing.T, r evidence.Record) string {
	t.Helper()

	var b bytes.Buffer
	if err := HTML(&b, r); err != nil {
		t.Fatal(err)
	}

	return b.String()
}

func TestGolden(t *testing.T) {
	for name, passed := range map[string]bool{"passed": true, "failed": false} {
		r := sample(t, passed)
		golden(t, name+".html", []byte(render(t, r)))

		var b bytes.Buffer
		if err := Text(&b, r, progress.Style{NoColor: true}); err != nil {
			t.Fatal(err)
		}

		golden(t, name+".txt", b.Bytes())
	}
}

func TestPageIsSelfContained(t *testing.T) {
	p := render(t, sample(t, false))
	for _, re := range []string{`(?i)<script`, `(?i)<link`, `(?i)<img`, `(?i)<iframe`, `(?i)\ssrc=`, `(?i)\shref=`, `(?i)@import`, `(?i)url\((?:[^#]|$)`, `(?i)\son[a-z]+=`} {
		if m := regexp.MustCompile(re).FindString(p); m != "" {
			t.Errorf("the page holds %q", m)
		}
	}

	for _, want := range []string{`<html lang="en">`, "<title>FAILED", "<h1>", `scope="col"`, `scope="row"`, `role="img"`, "<desc", "✗ FAILED", sample(t, false).ContentSHA256} {
		if !strings.Contains(p, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

// TestColourIsNotTheOnlySignal takes every colour and class away and looks
// whether the words still tell the outcomes apart.
func TestColourIsNotTheOnlySignal(t *testing.T) {
	words := regexp.MustCompile(`(?s)<style>.*</style>|<[^>]*>`).ReplaceAllString(render(t, sample(t, false)), " ")
	for _, w := range []string{"✗ FAILED", "✗ missed", "✓ met", "✗ failed", "– skipped", "not run", "✗ not-run"} {
		if !strings.Contains(words, w) {
			t.Errorf("without colour the page does not say %q", w)
		}
	}
}

const hostile = "\"><script>alert(1)</script>'}]]>{{.}}\x1b[31m\u202egnp\u0000`javascript:x`"

// poison puts hostile text everywhere that a name or an answer can come from.
func poison(r evidence.Record) evidence.Record {
	r.Name, r.ID, r.Scope.Group, r.Scope.Vault = hostile, hostile, hostile, hostile
	r.Scenario, r.Tool.Commit, r.Clock.Source = evidence.Known(hostile), evidence.Known(hostile), hostile

	r.Verdict.Warnings = append(r.Verdict.Warnings, hostile)
	for i := range r.Steps {
		r.Steps[i].ID, r.Steps[i].Phase, r.Steps[i].Actor, r.Steps[i].Error = hostile+fmt.Sprint(i), hostile, hostile, hostile
	}

	for i := range r.Checks {
		r.Checks[i].Name, r.Checks[i].Subject, r.Checks[i].Expected, r.Checks[i].Got, r.Checks[i].QuerySHA256 = hostile, hostile, hostile, hostile, hostile
	}

	for i := range r.RecoveryPoint.Shards {
		r.RecoveryPoint.Shards[i].Shard, r.RecoveryPoint.Shards[i].Position = hostile, hostile
		r.Measured.Stores[i].Shard = hostile
	}
	r.Isolation.Addresses, r.Isolation.Basis, r.CleanUp.LeftOver = []string{hostile}, []string{hostile}, []string{hostile}
	r.Attachments[0].Name, r.RecoveryPoint.CutID, r.Review.Comment = hostile, hostile, hostile

	return r
}

func TestHostileNamesStayText(t *testing.T) {
	r := poison(sample(t, true))

	p := render(t, r)
	for _, bad := range []string{"<script", "\x1b", "\u202e", "\x00"} {
		if strings.Contains(p, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}

	if !strings.Contains(p, "&lt;script&gt;") {
		t.Error("the hostile text is not shown at all")
	}

	var b bytes.Buffer
	if err := Text(&b, r, progress.Style{NoColor: true}); err != nil {
		t.Fatal(err)
	}

	for _, bad := range []string{"\x1b", "\u202e", "\x00"} {
		if strings.Contains(b.String(), bad) {
			t.Errorf("the terminal summary holds %q", bad)
		}
	}
}

func TestEmptyRecordRenders(t *testing.T) {
	r := evidence.Record{Schema: evidence.Version, ID: "x", Verdict: evidence.Verdict{Failures: []string{"nothing happened"}}}

	p := render(t, r)
	if !strings.Contains(p, "not recorded: no reason given") {
		t.Error("a gap without a reason is not shown as one")
	}

	var b bytes.Buffer
	if err := Text(&b, r, progress.Style{}); err != nil {
		t.Fatal(err)
	}
}

func TestBar(t *testing.T) {
	for _, c := range []struct {
		got, want time.Duration
		state     string
		fill      int
	}{
		{0, time.Second, "met", 0}, {time.Second, time.Second, "met", 150}, {time.Second + 1, time.Second, "missed", 150},
		{time.Hour, time.Second, "missed", 200}, {time.Second, 0, "no objective", 0}, {1, time.Hour, "met", 1},
	} {
		if b := newBar("x", evidence.Known(c.got), c.want); b.State != c.state || b.Fill != c.fill {
			t.Errorf("%v of %v: %+v, want %s %d", c.got, c.want, b, c.state, c.fill)
		}
	}

	if b := newBar("x", evidence.Unknown[time.Duration]("why"), time.Second); b.State != "not measured" || b.Gap != "why" {
		t.Errorf("%+v", b)
	}
}

func TestGanttStaysInsideItsFrame(t *testing.T) {
	r := sample(t, false)
	for _, scale := range []time.Duration{1, time.Millisecond, time.Second, time.Hour} {
		for i := range r.Steps {
			r.Steps[i].Started, r.Steps[i].Finished = evidence.Known(t0), evidence.Known(t0.Add(time.Duration(i)*scale))
		}
		r.Started, r.Finished = t0, t0

		g := newGantt(r)
		if len(g.Ticks) > 10 || len(g.Ticks) == 0 {
			t.Errorf("%v: %d ticks", scale, len(g.Ticks))
		}

		for _, row := range g.Rows {
			if row.Ran && (row.X < labelWidth || row.X+row.W > chartWidth) {
				t.Errorf("%v: bar from %d to %d", scale, row.X, row.X+row.W)
			}
		}
	}
}
