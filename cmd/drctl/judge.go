package main

import (
	"fmt"
	"strings"
	"time"

	"drctl/activities"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/platform"
	"drctl/internal/topology"
	"drctl/targets"
	"drctl/workflows"
)

const (
	// startGrace is how long an archiver may take to begin before that is said.
	startGrace = time.Minute
	// stillAfter is how long a base may make no progress before that is said.
	stillAfter = 2 * time.Minute
	// takeGrace is how long a task may wait for a worker that is there.
	takeGrace = time.Minute
)

// judge says everything that is wrong. It only looks at what was found out, and
// is the one place that decides what a problem is.
func (f facts) judge() []problem {
	var out []problem
	out = append(out, f.judgeEngine()...)
	out = append(out, f.judgeInstances()...)
	for _, x := range f.shards() {
		out = append(out, x.problems...)
	}
	out = append(out, f.judgeJobs()...)
	out = append(out, f.judgeVaults()...)
	out = append(out, f.judgeCuts()...)
	out = append(out, f.judgeSchedules()...)
	return append(out, f.judgeChecks()...)
}

func (f facts) judgeEngine() (out []problem) {
	if f.engine.err != nil {
		return []problem{problem{Code: "engine-unreachable", Severity: critical, Subject: "engine", What: "the engine is unreachable"}.of(f.engine.err)}
	}
	for _, r := range f.engine.regions {
		if engine.Served(r.polled) {
			continue
		}
		p := problem{Code: "region-unserved", Severity: critical, Subject: r.region, Region: r.region, What: "nobody serves " + r.queue, Since: r.polled, Next: serve(f.engine.embedded, r.region)}
		if ws := f.engine.waiting(r.queue); len(ws) > 0 {
			p.Detail = fmt.Sprintf("%s waiting there, the oldest, %s, since %s", count(len(ws), "run"), ws[0].ID, clock(ws[0].Started))
		}
		out = append(out, p)
	}
	for _, err := range f.engine.silent {
		out = append(out, problem{Code: "engine-silent", Severity: warning, Subject: "engine", What: "the engine did not say everything"}.of(err))
	}
	return out
}

// serve says how a region gets a worker.
func serve(embedded bool, region string) string {
	if embedded {
		return "start: drctl up (if it runs, its log says why the worker of " + region + " does not)"
	}
	return "start: drctl worker --region " + region
}

// served reports whether a region's queue has a worker, as far as is known.
func (f facts) served(region string) bool {
	for _, r := range f.engine.regions {
		if r.region == region {
			return engine.Served(r.polled)
		}
	}
	return true
}

func (f facts) judgeInstances() (out []problem) {
	writable := map[targets.ShardID][]instanceStatus{}
	for _, i := range f.instances {
		name := i.Shard.String() + "@" + i.Region
		if len(i.Lacks) > 0 {
			out = append(out, lacking(name, i))
		}
		switch {
		case i.err == nil:
		case len(i.Lacks) > 0 && fail.Is(i.err, fail.Denied): // said above, with all the others
		default:
			out = append(out, problem{Code: "instance-unreachable", Severity: critical, Subject: name, Region: i.Region, What: name}.of(i.err))
		}
		if i.err == nil && i.lacksErr != nil {
			out = append(out, problem{Code: "grants-unknown", Severity: warning, Subject: name, Region: i.Region, What: name + ": what its user may do cannot be told"}.of(i.lacksErr))
		}
		for _, w := range i.Status.Warnings {
			out = append(out, problem{Code: "instance-warning", Severity: warning, Subject: name, Region: i.Region, What: name, Why: w})
		}
		if i.Status.Writable {
			writable[i.Shard] = append(writable[i.Shard], i)
		}
	}
	for _, sh := range f.group.Shards {
		if is := writable[sh.Shard]; len(is) > 1 && sh.Kind != targets.S3 {
			out = append(out, split(sh.Shard, is))
		}
	}
	return out
}

// lacking lists every missing right of an instance's user with the statements.
func lacking(name string, i instanceStatus) problem {
	var what, fix []string
	for _, l := range i.Lacks {
		what, fix = append(what, l.What+" (for "+l.For+")"), append(fix, l.Fix)
	}
	return problem{Code: "grants-missing", Severity: critical, Subject: name, Region: i.Region, What: name + ": the user lacks " + strings.Join(what, ", "),
		Next: "as an administrator run: " + strings.Join(fix, "; ")}
}

// split says that more than one server of a shard takes writes.
func split(id targets.ShardID, is []instanceStatus) problem {
	var servers []topology.Server
	for _, i := range is {
		servers = append(servers, topology.Server{Instance: targets.Instance{Shard: i.Shard, Region: i.Region, Kind: i.Status.Position.Kind}, Status: i.Status})
	}
	return problem{Code: "two-primaries", Severity: critical, Subject: id.String(), What: id.String() + ": " + topology.SplitBrain(servers)}
}

// judgeArchiver says whether a shard is archived, up to where, and why not.
func (f facts) judgeArchiver(sh platform.Shard) (archiving bool, offset uint64, p problem) {
	x, asked := f.engine.archivers[sh.Shard]
	p = problem{Code: "archiver-failing", Severity: critical, Subject: sh.Shard.String(), Region: sh.Region, What: fmt.Sprintf("archiver of %s fails", sh.Shard)}
	none := problem{}
	if !asked {
		return false, 0, none // the engine did not answer, which is said
	}
	a, pending := x.follow()
	b := beatOf(a)
	switch {
	case x.missing:
		p.Code, p.What, p.Next = "archiver-missing", sh.Shard.String()+": no archiver runs", "start them with: drctl apply"
		return false, 0, p
	case x.err != nil:
		p.Code, p.What = "archiver-unknown", fmt.Sprintf("archiver of %s: the engine did not say how it is", sh.Shard)
		return false, 0, p.of(x.err)
	case pending && a.State == "started" && b.Phase == activities.PhaseFollowing && !a.LastHeartbeat.Before(a.Started):
		if b.Trouble == "" {
			return true, b.Offset, none
		}
		p.Code, p.What, p.Why, p.Severity = "archive-hindered", sh.Shard.String()+": archived, but hindered", b.Trouble, warning
		return true, b.Offset, p
	case pending && a.LastFailure != "":
		p.Since, p.Detail = failingSince(a, b), attempts(a.Attempt, a.NextAttempt, f.now)
		return false, 0, p.of(a.LastError)
	case x.streak.Failures > 0:
		p.Since, p.Detail = x.streak.Since, attempts(x.streak.Failures+1, x.streak.Last.Add(workflows.ArchiveAgain), f.now)
		if x.streak.More {
			p.Detail += ", longer than the engine was asked"
		}
		return false, 0, p.of(x.streak.Err)
	case !f.served(sh.Region):
		return false, 0, none // which is said of the region
	}
	since := x.state.Started
	p.Code, p.What, p.Severity = "archiver-starting", fmt.Sprintf("archiver of %s has not begun", sh.Shard), warning
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
func failingSince(a engine.Pending, b activities.Beat) time.Time {
	switch {
	case b.Phase == activities.PhaseFollowing && !a.LastEnded.IsZero():
		return a.LastEnded // until then it followed
	case !b.Failing.IsZero():
		return b.Failing
	case !a.Started.IsZero():
		return a.Started
	}
	return a.Scheduled
}

// judgeJobs looks at what runs: what fails, waits, or does not move.
func (f facts) judgeJobs() (out []problem) {
	for _, a := range f.engine.pending {
		b := beatOf(a)
		what := jobName(a, b)
		p := problem{Code: "job-failing", Severity: warning, Subject: a.Workflow + " " + what, What: what + " fails"}
		if a.Activity == activities.QuiesceCutName || a.Activity == activities.SealCutName {
			p.Code = "cut-retried"
		}
		for _, r := range f.engine.regions {
			if r.queue == a.Queue {
				p.Region = r.region
			}
		}
		switch {
		case a.LastFailure != "" && a.State == "scheduled":
			p.Since, p.Detail = a.LastEnded, attempts(a.Attempt, a.NextAttempt, f.now)
			out = append(out, p.of(a.LastError))
		case a.LastFailure != "" && b.Moved.IsZero():
			p.Since, p.Detail = a.LastEnded, attempts(a.Attempt, time.Time{}, f.now)+" runs"
			out = append(out, p.of(a.LastError))
		case a.State == "scheduled" && f.served(p.Region) && f.now.Sub(a.Scheduled) > takeGrace:
			p.Code, p.What, p.Since = "job-waiting", what+" waits for a worker", a.Scheduled
			out = append(out, p)
		case a.State == "started" && moves(a.Activity) && !b.Moved.IsZero() && f.now.Sub(b.Moved) > stillAfter:
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

// moves reports whether an activity that works shows it by its progress.
func moves(activity string) bool {
	return activity == activities.TakeBaseName || activity == activities.CopyVaultName || activity == activities.SnapshotName
}

// jobName says what an activity does, for people: "base of orders/0".
func jobName(a engine.Pending, b activities.Beat) string {
	name, ok := map[string]string{
		activities.TakeBaseName: "base", activities.CopyVaultName: "copy of the bases", activities.SnapshotName: "snapshot", activities.QuiesceCutName: "cut",
		activities.SealCutName: "sealing of the cut", activities.CheckVaultName: "check", activities.RetainName: "retention", activities.ShareCutsName: "sharing of cuts",
	}[a.Activity]
	if !ok {
		name = a.Activity
	}
	if b.Shard != "" {
		return name + " of " + b.Shard
	}
	if _, of, ok := strings.Cut(a.Workflow, "/"); ok {
		return name + " of " + of
	}
	return name + " of " + a.Workflow
}

// judgeSchedules looks at what runs by itself, and at what it came to.
func (f facts) judgeSchedules() (out []problem) {
	for _, x := range f.engine.schedules {
		p := problem{Severity: warning, Subject: x.ID}
		switch {
		case x.missing:
			p.Code, p.What, p.Next = "schedule-missing", "there is no schedule "+x.ID, "make it with: drctl apply"
			out = append(out, p)
			continue
		case x.paused:
			p.Code, p.What, p.Detail = "schedule-paused", "the schedule "+x.ID+" is paused", x.note
			out = append(out, p)
		}
		if q, bad := f.judgeRuns(x); bad {
			out = append(out, q)
		}
		for _, r := range f.engine.running {
			if limit := max(2*x.Every, 10*time.Minute); strings.HasPrefix(r.ID, x.WorkflowID+"-") && f.now.Sub(r.Started) > limit && f.queueServed(r.Queue) {
				out = append(out, problem{Code: "schedule-stuck", Severity: warning, Subject: x.ID, What: "a scheduled run of " + x.ID + " has not ended", Since: r.Started, Detail: r.ID})
			}
		}
		// A drill that fails is said; one that never comes to its end is as bad.
		if x.in.Workflow == workflows.RunDrillName && !x.paused && !x.newest.Ended.IsZero() && f.now.Sub(x.newest.Ended) > 2*x.Every {
			out = append(out, problem{Code: "drill-overdue", Severity: warning, Subject: x.ID,
				What: fmt.Sprintf("%s last ran at %s, one is due every %s", x.ID, x.newest.Ended.Local().Format(time.DateTime), human.Duration(x.Every))})
		}
	}
	return out
}

func (f facts) queueServed(queue string) bool {
	for _, r := range f.engine.regions {
		if r.queue == queue {
			return engine.Served(r.polled)
		}
	}
	return true
}

// judgeRuns says what keeps failing of a schedule. What cuts and bases fail of
// is said with them, and what checks find is read from their reports.
func (f facts) judgeRuns(x scheduleFacts) (problem, bool) {
	name := map[string]string{workflows.RetainName: "retention of " + f.group.Name, workflows.CheckName: "the check of " + f.group.Name}[x.in.Workflow]
	if name == "" {
		name = x.ID
	}
	s := x.streak
	told := false // by others
	switch x.in.Workflow {
	case workflows.TakeCutName:
		told = f.engine.cuts.Failures > 0
	case workflows.TakeBackupName:
		for _, b := range f.engine.bases {
			told = told || b.Failures > 0
		}
	}
	if s.Failures == 0 && !told && x.runs.Last.After(x.newest.Ended) {
		s = x.runs // the schedule's own run, when what it starts never came to an end of its own
		if fail.Is(s.Err, fail.Unverified) {
			return problem{}, false
		}
	}
	if s.Failures == 0 {
		return problem{}, false
	}
	p := problem{Code: "run-failing", Severity: warning, Subject: x.ID, What: name + " fails", Since: s.Since, Detail: times(s)}
	return p.of(s.Err), true
}

// times says how often something failed: "7 times, last at 09:20".
func times(s engine.Streak) string {
	if s.Failures == 1 {
		return ""
	}
	d := fmt.Sprintf("%d times, last at %s", s.Failures, clock(s.Last))
	if s.More {
		d += ", and before"
	}
	return d
}
