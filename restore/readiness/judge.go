package readiness

import (
	"fmt"
	"strings"
	"time"

	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/platform"
	"drctl/internal/topology"
	"drctl/restore/readiness/problem"
	"drctl/restore/served"
	"drctl/targets"
)

const (
	// startGrace is how long an archiver may take to begin before that is said.
	startGrace = time.Minute
	// stillAfter is how long a base may make no progress before that is said.
	stillAfter = 2 * time.Minute
	// takeGrace is how long a task may wait for a worker that is there.
	takeGrace = time.Minute
)

// Judge says everything that is wrong. It only looks at what was found out, and
// is the one place that decides what a problem is.
func (f Facts) Judge() []Problem {
	var out []Problem
	out = append(out, f.judgeEngine()...)

	out = append(out, f.judgeInstances()...)
	for _, x := range f.shards() {
		out = append(out, x.problems...)
	}
	out = append(out, f.judgeObserver()...)
	out = append(out, f.judgeJobs()...)
	out = append(out, f.judgeVaults()...)
	out = append(out, f.judgeCuts()...)
	out = append(append(out, f.judgeSchedules()...), f.judgeGlass()...)
	out = append(out, f.judgePlan()...)

	return append(out, f.judgeChecks()...)
}

func (f Facts) judgeEngine() (out []Problem) {
	if f.engine.Err != nil {
		return []Problem{Problem{Code: "engine-unreachable", Severity: Critical, Subject: "engine", What: "the engine is unreachable"}.Because(f.engine.Err)}
	}

	for _, r := range f.engine.Regions {
		if engine.Served(r.Polled) {
			continue
		}

		p := Problem{Code: "region-unserved", Severity: Critical, Subject: r.Region, Region: r.Region, What: "nobody serves " + r.Queue, Since: r.Polled, Next: served.HowTo(f.engine.Embedded, r.Region)}
		if ws := f.engine.waiting(r.Queue); len(ws) > 0 {
			p.Detail = fmt.Sprintf("%s waiting there, the oldest, %s, since %s", human.Plural(len(ws), "run"), ws[0].ID, problem.Clock(ws[0].Started, f.now))
		}
		out = append(out, p)
	}

	out = append(out, f.judgeQueues()...)

	for _, err := range f.engine.Silent {
		out = append(out, Problem{Code: "engine-silent", Severity: Warning, Subject: "engine", What: "the engine did not say everything"}.Because(err))
	}

	return out
}

// judgeQueues says which roles and which named hosts have no worker.
func (f Facts) judgeQueues() (out []Problem) {
	for _, l := range served.Lacks(f.engine.Queues, f.served) {
		p := Problem{Code: "role-unserved", Severity: Critical, Subject: l.Subject, Region: l.Region, What: l.What, Since: l.Polled, Detail: l.Needed, Next: l.Next}
		if l.Host {
			p.Code = "host-unserved"
		}

		if l.Twice {
			p.Code, p.Since = "host-twice", time.Time{}
		}

		if l.Role == platform.Sandbox {
			p.Severity = Warning
		}

		out = append(out, p)
	}

	return out
}

// served reports whether a queue has a worker, as far as is known.
func (f Facts) served(queue string) bool {
	for _, r := range f.engine.Regions {
		if r.Queue == queue {
			return engine.Served(r.Polled)
		}
	}

	for _, q := range f.engine.Queues {
		if q.Queue == queue {
			return engine.Served(q.Polled)
		}
	}

	return true
}

func (f Facts) judgeInstances() (out []Problem) {
	writable := map[targets.ShardID][]Instance{}
	for _, i := range f.instances {
		name := i.Shard.String() + "@" + i.Region
		if len(i.Lacks) > 0 {
			out = append(out, lacking(name, i))
		}

		switch {
		case i.err == nil:
		case len(i.Lacks) > 0 && fail.Is(i.err, fail.Denied): // said above, with all the others
		default:
			out = append(out, Problem{Code: "instance-unreachable", Severity: Critical, Subject: name, Region: i.Region, What: name}.Because(i.err))
		}

		if i.err == nil && i.lacksErr != nil {
			out = append(out, Problem{Code: "grants-unknown", Severity: Warning, Subject: name, Region: i.Region, What: name + ": what its user may do cannot be told"}.Because(i.lacksErr))
		}

		for _, w := range i.Status.Warnings {
			out = append(out, Problem{Code: "instance-warning", Severity: Warning, Subject: name, Region: i.Region, What: name, Why: w})
		}

		out = append(out, f.following(name, i)...)

		if i.Status.Writable {
			writable[i.Shard] = append(writable[i.Shard], i)
		}
	}

	for _, sh := range f.group.Shards {
		if is := writable[sh.Shard]; len(is) > 1 && sh.Kind.Traits().Log {
			out = append(out, split(sh.Shard, is))
		}
	}

	return out
}

// lacking lists every missing right of an instance's user with the statements.
func lacking(name string, i Instance) Problem {
	var what, fix []string
	for _, l := range i.Lacks {
		what, fix = append(what, l.What+" (for "+l.For+")"), append(fix, l.Fix)
	}

	return Problem{Code: "grants-missing", Severity: Critical, Subject: name, Region: i.Region, What: name + ": the user lacks " + strings.Join(what, ", "),
		Next: "as an administrator run: " + strings.Join(fix, "; ")}
}

// split says that more than one server of a shard takes writes.
func split(id targets.ShardID, is []Instance) Problem {
	var servers []topology.Server
	for _, i := range is {
		servers = append(servers, topology.Server{Instance: targets.Instance{Shard: i.Shard, Region: i.Region, Kind: i.Status.Position.Kind}, Status: i.Status})
	}

	return Problem{Code: "two-primaries", Severity: Critical, Subject: id.String(), What: id.String() + ": " + topology.SplitBrain(servers)}
}

// judgeArchiver says whether a shard is archived, up to where, and why not.
func (f Facts) judgeArchiver(sh platform.Shard) (archiving bool, offset uint64, p Problem) {
	x, asked := f.engine.Archivers[sh.Shard]
	p = Problem{Code: "archiver-failing", Severity: Critical, Subject: sh.Shard.String(), Region: sh.Region, What: fmt.Sprintf("archiver of %s fails", sh.Shard)}

	none := Problem{}
	if !asked {
		return false, 0, none // the engine did not answer, which is said
	}
	pending := x.Follow != nil

	var a engine.Pending
	if pending {
		a = *x.Follow
	}

	b := a.Beat()
	switch {
	case x.Missing:
		p.Code, p.What, p.Next = "archiver-missing", sh.Shard.String()+": no archiver runs", "start them with: drctl apply"
		return false, 0, p
	case x.Err != nil:
		p.Code, p.What = "archiver-unknown", fmt.Sprintf("archiver of %s: the engine did not say how it is", sh.Shard)
		return false, 0, p.Because(x.Err)
	case pending && a.State == "started" && b.Phase == engine.Following && !a.LastHeartbeat.Before(a.Started):
		if b.Trouble == "" {
			return true, b.Offset, none
		}
		p.Code, p.What, p.Why, p.Severity = "archive-hindered", sh.Shard.String()+": archived, but hindered", b.Trouble, Warning

		return true, b.Offset, p
	case pending && a.LastFailure != "":
		p.Since, p.Detail = failingSince(a, b), attempts(a.Attempt, a.NextAttempt, f.now)
		return false, 0, p.Because(a.LastError)
	case x.Streak.Failures > 0:
		p.Since, p.Detail = x.Streak.Since, attempts(x.Streak.Failures+1, x.Streak.Last.Add(x.Again), f.now)
		if x.Streak.More {
			p.Detail += ", longer than the engine was asked"
		}

		return false, 0, p.Because(x.Streak.Err)
	case !f.served(sh.Queue), !f.served(platform.Queue(sh.Queue, "", platform.Archive)):
		return false, 0, none // which is said of the region
	}
	since := x.Started

	p.Code, p.What, p.Severity = "archiver-starting", fmt.Sprintf("archiver of %s has not begun", sh.Shard), Warning
	if pending {
		if since = a.Started; a.State == "scheduled" {
			since, p.What = a.Scheduled, fmt.Sprintf("archiver of %s waits for a worker", sh.Shard)
		}
	}

	if p.Since = since; f.now.Sub(since) < startGrace {
		return false, 0, none
	}
	p.Next = "see the log of the worker of " + sh.Region

	return false, 0, p
}

// failingSince is when the first of an activity's failures in a row was.
func failingSince(a engine.Pending, b engine.Beat) time.Time {
	switch {
	case b.Phase == engine.Following && !a.LastEnded.IsZero():
		return a.LastEnded // until then it followed
	case !b.Failing.IsZero():
		return b.Failing
	case !a.Started.IsZero():
		return a.Started
	}

	return a.Scheduled
}

// judgeJobs looks at what runs: what fails, waits, or does not move.
func (f Facts) judgeJobs() (out []Problem) {
	for _, a := range f.engine.Jobs {
		b := a.Beat()
		what := a.of(b)

		p := Problem{Code: "job-failing", Severity: Warning, Subject: a.Workflow + " " + what, What: what + " fails"}
		if a.Cut {
			p.Code = "cut-retried"
		}

		for _, r := range f.engine.Regions {
			if q, _, _ := platform.QueueOf(a.Queue); r.Queue == q {
				p.Region = r.Region
			}
		}

		switch {
		case a.LastFailure != "" && a.State == "scheduled":
			p.Since, p.Detail = a.LastEnded, attempts(a.Attempt, a.NextAttempt, f.now)
			out = append(out, p.Because(a.LastError))
		case a.LastFailure != "" && b.Moved.IsZero():
			p.Since, p.Detail = a.LastEnded, attempts(a.Attempt, time.Time{}, f.now)+" runs"
			out = append(out, p.Because(a.LastError))
		case a.State == "scheduled" && f.served(a.Queue) && f.now.Sub(a.Scheduled) > takeGrace:
			p.Code, p.What, p.Since = "job-waiting", what+" waits for a worker", a.Scheduled
			out = append(out, p)
		case a.State == "started" && a.Moves && !b.Moved.IsZero() && f.now.Sub(b.Moved) > stillAfter:
			p.Code, p.What, p.Since = "job-still", what+" makes no progress", b.Moved

			p.Detail = fmt.Sprintf("%s, %s done", b.Phase, human.Bytes(b.Done))
			if b.Detail != "" {
				p.Detail += ", " + b.Detail
			}
			p.Next = "see the log of its worker and of the server"
			out = append(out, p)
		}
	}

	return out
}

// of says what a job does, for people: "base of orders/0".
func (j Job) of(b engine.Beat) string {
	if b.Shard != "" {
		return j.Name + " of " + b.Shard
	}

	if _, of, ok := strings.Cut(j.Workflow, "/"); ok {
		return j.Name + " of " + of
	}

	return j.Name + " of " + j.Workflow
}

// judgeSchedules looks at what runs by itself, and at what it came to.
func (f Facts) judgeSchedules() (out []Problem) {
	for _, x := range f.engine.Schedules {
		p := Problem{Severity: Warning, Subject: x.ID}
		switch {
		case x.Missing:
			p.Code, p.What, p.Next = "schedule-missing", "there is no schedule "+x.ID, "make it with: drctl apply"
			out = append(out, p)

			continue
		case x.Paused:
			p.Code, p.What, p.Detail = "schedule-paused", "the schedule "+x.ID+" is paused", x.Note
			out = append(out, p)
		}

		if q, bad := f.judgeRuns(x); bad {
			out = append(out, q)
		}

		for _, r := range f.engine.Running {
			if limit := max(2*x.Every, 10*time.Minute); strings.HasPrefix(r.ID, x.WorkflowID+"-") && f.now.Sub(r.Started) > limit && f.served(r.Queue) {
				out = append(out, Problem{Code: "schedule-stuck", Severity: Warning, Subject: x.ID, What: "a scheduled run of " + x.ID + " has not ended", Since: r.Started, Detail: r.ID})
			}
		}

		if q, overdue := f.overdueDrill(x); overdue {
			out = append(out, q)
		}
	}

	return out
}

// judgeRuns says what keeps failing of a schedule. What cuts and bases fail of
// is said with them, and what checks find is read from their reports.
func (f Facts) judgeRuns(x Schedule) (Problem, bool) {
	name := map[RunKind]string{RetentionRuns: "retention of " + f.group.Name, CheckRuns: "the check of " + f.group.Name}[x.Kind]
	if name == "" {
		name = x.ID
	}
	s := x.Streak

	told := false // by others
	switch x.Kind {
	case CutRuns:
		told = f.engine.Cuts.Failures > 0
	case BaseRuns:
		for _, b := range f.engine.Bases {
			told = told || b.Failures > 0
		}
	}

	if s.Failures == 0 && !told && x.Runs.Last.After(x.Newest.Ended) {
		s = x.Runs // the schedule's own run, when what it starts never came to an end of its own
		if fail.Is(s.Err, fail.Unverified) {
			return Problem{}, false
		}
	}

	if s.Failures == 0 {
		return Problem{}, false
	}
	p := Problem{Code: "run-failing", Severity: Warning, Subject: x.ID, What: name + " fails", Since: s.Since, Detail: times(s, f.now)}

	return p.Because(s.Err), true
}

// times says how often something failed: "7 times, last at 09:20".
func times(s engine.Streak, now time.Time) string {
	if s.Failures == 1 {
		return ""
	}

	d := fmt.Sprintf("%d times, last at %s", s.Failures, problem.Clock(s.Last, now))
	if s.More {
		d += ", and before"
	}

	return d
}

// judgeGlass has people look at recoveries that went on without approvals.
func (f Facts) judgeGlass() (out []Problem) {
	for _, x := range f.glass {
		out = append(out, Problem{Code: "glass-broken", Severity: Warning, Subject: x.ID, What: "a " + string(x.Mode) + " of " + x.Group + " went on without the approvals that are wanted", Since: x.At, Why: human.Clean(x.By + ": " + x.Reason), Next: "look at it, then: drctl recovery review " + x.ID + " --group " + x.Group + " --note ..."})
	}

	return out
}
