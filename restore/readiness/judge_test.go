package readiness

import (
	"cmp"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/restore/readiness/problem"
	"drctl/targets"
)

// What runs is judged by what it said last.
func TestJobsAreJudgedByTheirBeats(t *testing.T) {
	now := time.Now()
	shard := targets.ShardID{Target: "orders", Shard: "0"}
	job := func(p engine.Pending, b engine.Beat) string {
		t.Helper()

		var err error
		if p.Details, err = json.Marshal(b); err != nil {
			t.Fatal(err)
		}
		p.Workflow, p.Queue = "backup/shop", "drctl.east"
		j := Job{Pending: p, Name: cmp.Or(p.Activity, "base"), Moves: p.Activity == ""}
		f := Facts{now: now, group: platform.Group{Name: "shop"}, engine: Engine{Jobs: []Job{j}, Regions: []Region{{"east", "drctl.east", now}}}}

		return strings.Join(problem.Texts(f.judgeJobs(), now), "\n")
	}
	began := now.Add(-10 * time.Minute)
	still := engine.Beat{Shard: shard.String(), Phase: "save", Done: 68 << 20, Moved: began}
	moving := still
	moving.Moved = now.Add(-time.Second)

	refused := fail.New(fail.Denied, "base", "orders/0@east", "GRANT it", errors.New("permission denied"))
	for _, c := range []struct {
		name, want string
		p          engine.Pending
		b          engine.Beat
	}{
		{"a base that waits", "base of orders/0 makes no progress since " + problem.Clock(began, now) + " (save, 68 MiB done); see the log of its worker and of the server", engine.Pending{State: "started"}, still},
		{"a base that moves", "", engine.Pending{State: "started"}, moving},
		{"a base that is tried again", "base of orders/0 fails since " + problem.Clock(began, now) + " (attempt 3, next in 20 s): base: orders/0@east: permission denied; GRANT it",
			engine.Pending{State: "scheduled", Attempt: 3, LastFailure: refused.Error(), LastError: refused, LastEnded: began, NextAttempt: now.Add(20 * time.Second)}, moving},
		{"a base that no worker takes", "base of shop waits for a worker since " + problem.Clock(began, now), engine.Pending{State: "scheduled", Scheduled: began}, engine.Beat{}},
		{"a check reads for long without a count", "", engine.Pending{Activity: "check", State: "started"}, still},
	} {
		if got := job(c.p, c.b); got != c.want {
			t.Errorf("%s:\ngot  %q\nwant %q", c.name, got, c.want)
		}
	}
}

// An archiver is judged by its activity, or by those that the engine gave up.
func TestArchiversAreJudged(t *testing.T) {
	now := time.Now()
	sh := platform.Shard{Shard: targets.ShardID{Target: "orders", Shard: "0"}, Kind: targets.Postgres, Region: "east"}
	refused := fail.New(fail.Denied, "follow", "orders/0@east", "ALTER ROLE drctl REPLICATION", errors.New("must be replication role"))
	began := now.Add(-10 * time.Minute)
	pending := func(p engine.Pending, b engine.Beat) Archiver {
		p.Details, _ = json.Marshal(b)
		return Archiver{Started: began, Follow: &p}
	}

	following := engine.Beat{Phase: engine.Following, Offset: 77}
	for _, c := range []struct {
		name      string
		x         Archiver
		archiving bool
		want      string
	}{
		{"it follows", pending(engine.Pending{State: "started", Started: began, LastHeartbeat: now}, following), true, ""},
		{"it follows and the server keeps its log", pending(engine.Pending{State: "started", Started: began, LastHeartbeat: now},
			engine.Beat{Phase: engine.Following, Offset: 77, Trouble: "the server keeps its log: no right"}), true, "orders/0: archived, but hindered: the server keeps its log: no right"},
		{"it follows again", pending(engine.Pending{State: "started", Attempt: 4, Started: began, LastHeartbeat: now, LastFailure: "x", LastError: refused}, following), true, ""},
		{"its worker died while it followed", pending(engine.Pending{State: "scheduled", Attempt: 2, Started: began, LastEnded: now.Add(-time.Minute), LastFailure: refused.Error(), LastError: refused}, following), false,
			"archiver of orders/0 fails since " + problem.Clock(now.Add(-time.Minute), now) + " (attempt 2): follow: orders/0@east: must be replication role; ALTER ROLE drctl REPLICATION"},
		{"it fails again and again", pending(engine.Pending{State: "scheduled", Attempt: 14, NextAttempt: now.Add(20 * time.Second), LastFailure: refused.Error(), LastError: refused}, engine.Beat{Phase: "starting", Failing: began}), false,
			"archiver of orders/0 fails since " + problem.Clock(began, now) + " (attempt 14, next in 20 s): follow: orders/0@east: must be replication role; ALTER ROLE drctl REPLICATION"},
		{"the engine gave it up and the workflow waits", Archiver{Again: 30 * time.Second, Streak: engine.Streak{Failures: 3, Since: began, Last: now.Add(-10 * time.Second), Err: refused}}, false,
			"archiver of orders/0 fails since " + problem.Clock(began, now) + " (attempt 4, next in 20 s): follow: orders/0@east: must be replication role; ALTER ROLE drctl REPLICATION"},
		{"there is none", Archiver{Missing: true}, false, "orders/0: no archiver runs; start them with: drctl apply"},
		{"it has just begun", pending(engine.Pending{State: "started", Started: now}, engine.Beat{Phase: "starting"}), false, ""},
		{"it never begins", pending(engine.Pending{State: "started", Started: began}, engine.Beat{Phase: "starting"}), false,
			"archiver of orders/0 has not begun since " + problem.Clock(began, now) + "; see the log of the worker of east"},
	} {
		f := Facts{now: now, engine: Engine{Archivers: map[targets.ShardID]Archiver{sh.Shard: c.x}, Regions: []Region{{"east", "drctl.east", now}}}}
		archiving, _, p := f.judgeArchiver(sh)

		got := ""
		if p.Code != "" {
			got = p.Text(now)
		}

		if archiving != c.archiving || got != c.want {
			t.Errorf("%s: archiving %v\ngot  %q\nwant %q", c.name, archiving, got, c.want)
		}
	}
}

// A program that may be too old for a base is told once, whatever vaults hold it.
func TestUnfitProgramsAreToldOnce(t *testing.T) {
	old := "on this host: the base is of redis 8.0.0, the program here is redis 7.0.15"
	f := Facts{deep: true, group: platform.Group{Name: "shop"}, vaults: []vaultFacts{
		{region: "east", policy: true, newest: targets.Cut{ID: "c"}, unfit: []string{old}}, {region: "west", policy: true, newest: targets.Cut{ID: "c"}, unfit: []string{old}}}}

	n := 0
	for _, p := range f.judgeCuts() {
		if p.Code == "programs-unfit" {
			n++
		}
	}

	if n != 1 {
		t.Errorf("told %d times", n)
	}
}

// Lines for people are made from the same value as those for machines.
func TestProblemsAsLines(t *testing.T) {
	now := time.Now()
	at := now.Add(-time.Minute)
	p := Problem{What: "archiver of orders/0 fails", Since: at, Detail: attempts(14, at.Add(80*time.Second), at.Add(time.Minute))}.Because(
		fail.New(fail.Denied, "follow", "orders/0@east", "ALTER ROLE drctl REPLICATION", errors.New("must be replication role")))

	want := "archiver of orders/0 fails since " + problem.Clock(at, now) + " (attempt 14, next in 20 s): follow: orders/0@east: must be replication role; ALTER ROLE drctl REPLICATION"
	if p.Text(now) != want {
		t.Errorf("got  %s\nwant %s", p.Text(now), want)
	}

	if s := (Problem{What: "there is no sealed cut", Next: "take one with: drctl cut now"}).Text(now); s != "there is no sealed cut; take one with: drctl cut now" {
		t.Error(s)
	}
}
