package readiness

import (
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

// An observer is judged by its activity and by what that says of each shard.
func TestObserversAreJudged(t *testing.T) {
	now := time.Now()
	began := now.Add(-10 * time.Minute)
	id := targets.ShardID{Target: "orders", Shard: "0"}
	group := platform.Group{Name: "shop", Home: "east", Shards: []platform.Shard{{Shard: id, Kind: targets.Postgres, Region: "west"}}}
	refused := fail.New(fail.NotFound, "configuration", "shop", "apply it", errors.New("there is no group of this name"))
	running := &engine.Pending{State: "started", Started: began, LastHeartbeat: now}
	silent := Observed{Failing: []NotObserved{{Shard: id, Since: began, Why: "observe: orders/0@west: the server did not answer in time"}}, FailingCount: 1}
	young, many := silent, silent
	young.Failing = []NotObserved{{Shard: id, Since: now.Add(-time.Second), Why: "x"}}
	many.FailingCount = 3
	dead := map[targets.ShardID]Archiver{id: {Missing: true}}

	for _, c := range []struct {
		name      string
		x         *Observer
		archivers map[targets.ShardID]Archiver
		want      string
	}{
		{"nothing has a log", nil, nil, ""},
		{"all are observed", &Observer{Started: began, Observe: running}, nil, ""},
		{"there is none", &Observer{Missing: true}, nil, "shop: no observer runs, so that no cut can be proven from the logs; start it with: drctl apply"},
		{"it fails again and again", &Observer{Started: began, Observe: &engine.Pending{State: "scheduled", Attempt: 7, Started: began, LastFailure: refused.Error(), LastError: refused, NextAttempt: now.Add(20 * time.Second)}}, nil,
			"shop: the observer fails, so that no cut can be proven from the logs since " + problem.Clock(began, now) + " (attempt 7, next in 20 s): configuration: shop: there is no group of this name; apply it"},
		{"the engine gave it up", &Observer{Again: 30 * time.Second, Streak: engine.Streak{Failures: 3, Since: began, Last: now.Add(-10 * time.Second), Err: refused}}, nil,
			"shop: the observer fails, so that no cut can be proven from the logs since " + problem.Clock(began, now) + " (attempt 4, next in 20 s): configuration: shop: there is no group of this name; apply it"},
		{"it has just begun", &Observer{Started: now}, nil, ""},
		{"it never begins", &Observer{Started: began, Observe: &engine.Pending{State: "scheduled", Scheduled: began}}, nil, "shop: the observer has not begun; see the log of the worker of east"},
		{"a server is silent", &Observer{Observe: running, Said: silent}, nil,
			"orders/0 is not observed, so that no cut can be proven from the logs since " + problem.Clock(began, now) + ": observe: orders/0@west: the server did not answer in time"},
		{"a server was just restarted", &Observer{Observe: running, Said: young}, nil, ""},
		{"its archiver says why", &Observer{Observe: running, Said: silent}, dead, ""},
		{"more than are named", &Observer{Observe: running, Said: many}, dead, "2 more shards of shop not observed"},
		{"a vault is away", &Observer{Observe: running, Said: Observed{Trouble: "out of reach: the vault of west"}}, nil,
			"shop: not every vault has what was observed: out of reach: the vault of west; bring the vault back"},
	} {
		f := Facts{now: now, group: group, engine: Engine{Observer: c.x, Archivers: c.archivers, Regions: []Region{{"east", "drctl.east", now}}}}
		if got := strings.Join(problem.Texts(f.judgeObserver(), now), "\n"); got != c.want {
			t.Errorf("%s:\ngot  %q\nwant %q", c.name, got, c.want)
		}
	}
}
