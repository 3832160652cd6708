package readiness

import (
	"errors"
	"time"

	"drctl/internal/engine"
	"drctl/internal/human"
	"drctl/targets"
)

// observeGrace is how long a shard may not be observed before that is said: a server
// that is restarted is back by then.
const observeGrace = 30 * time.Second

// Observer is the run that observes a group.
type Observer struct {
	Missing bool // none runs
	Err     error
	Started time.Time
	// Observe is its activity; nil when the engine has none. Said is what that said
	// last, and of no meaning before it has said anything.
	Observe *engine.Pending
	Said    Observed
	Streak  engine.Streak // of attempts that the engine has given up
	// Again is how long after one of those the next is made.
	Again time.Duration
}

// Observed is what an observer says of itself.
type Observed struct {
	// Failing are shards that are not observed, the first of FailingCount.
	Failing      []NotObserved
	FailingCount int
	// Trouble says what is wrong with keeping what was observed.
	Trouble string
}

// NotObserved is a shard that is not observed.
type NotObserved struct {
	Shard targets.ShardID
	Since time.Time
	Why   string
}

// unproven is what comes of a group that is not observed.
const unproven = ", so that no cut can be proven from the logs"

// judgeObserver says whether the group is observed, which shards are not, and why.
func (f Facts) judgeObserver() []Problem {
	x := f.engine.Observer
	if x == nil {
		return nil // the group has no log, or the engine did not answer, which is said
	}

	name := f.group.Name
	p := Problem{Code: "observer-failing", Severity: Warning, Subject: name, Region: f.group.Home, What: name + ": the observer fails" + unproven}

	switch a := x.Observe; {
	case x.Missing:
		p.Code, p.What, p.Next = "observer-missing", name+": no observer runs"+unproven, "start it with: drctl apply"
	case x.Err != nil:
		p.Code, p.What = "observer-unknown", name+": the engine did not say how the observer is"
		p = p.Because(x.Err)
	case a != nil && a.State == "started" && !a.LastHeartbeat.IsZero() && !a.LastHeartbeat.Before(a.Started):
		return f.judgeObserved(x.Said)
	case a != nil && a.LastFailure != "":
		p.Since, p.Detail = failingSince(*a, engine.Beat{}), attempts(a.Attempt, a.NextAttempt, f.now)
		p = p.Because(a.LastError)
	case x.Streak.Failures > 0:
		p.Since, p.Detail = x.Streak.Since, attempts(x.Streak.Failures+1, x.Streak.Last.Add(x.Again), f.now)
		p = p.Because(x.Streak.Err)
	case !f.served(f.group.Home), f.now.Sub(x.Started) < startGrace:
		return nil // which is said of the region
	default:
		if a != nil && f.now.Sub(a.Scheduled) < startGrace {
			return nil
		}
		p.Code, p.What, p.Next = "observer-starting", name+": the observer has not begun", "see the log of the worker of "+f.group.Home
	}

	return []Problem{p}
}

// judgeObserved says what an observer that runs cannot do.
func (f Facts) judgeObserved(said Observed) (out []Problem) {
	regions := map[targets.ShardID]string{}
	silenced := map[targets.ShardID]bool{} // its archiver fails as well, and says why

	for _, sh := range f.group.Shards {
		if !sh.Kind.Traits().Log {
			continue
		}
		regions[sh.Shard] = sh.Region

		archiving, _, p := f.judgeArchiver(sh)
		silenced[sh.Shard] = !archiving && p.Code != ""
	}

	for _, s := range said.Failing {
		if silenced[s.Shard] || f.now.Sub(s.Since) < observeGrace {
			continue
		}

		p := Problem{Code: "shard-not-observed", Severity: Warning, Subject: s.Shard.String(), Region: regions[s.Shard],
			What: s.Shard.String() + " is not observed" + unproven, Since: s.Since}
		out = append(out, p.Because(errors.New(s.Why)))
	}

	if more := said.FailingCount - len(said.Failing); more > 0 {
		out = append(out, Problem{Code: "shard-not-observed", Severity: Warning, Subject: f.group.Name,
			What: human.Plural(more, "more shard") + " of " + f.group.Name + " not observed"})
	}

	if said.Trouble != "" {
		out = append(out, Problem{Code: "observations-not-kept", Severity: Warning, Subject: f.group.Name, Region: f.group.Home,
			What: f.group.Name + ": not every vault has what was observed", Why: said.Trouble, Next: "bring the vault back"})
	}

	return out
}
