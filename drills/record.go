package drills

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"time"

	"drctl/internal/report/evidence"
	"drctl/targets"
)

// Facts are what a drill knows about itself when it ends. Whatever is left
// zero is recorded as not recorded, with the reason. Facts hold no secrets:
// instances stay outside, only Isolation and the cut's own names come in.
type Facts struct {
	ID                       string // "" makes one from name and start
	Def                      Definition
	Tool                     evidence.Tool
	ClockSource              string // whose clocks the times are of
	ClockSync                string // "chrony, offset 12 µs"; "" is not recorded
	Generated                time.Time
	Started, Ended, Finished time.Time // by the engine's clock; Ended is when all results were known
	Disaster, Declared       time.Time // of a simulated disaster; zero when there is none
	By                       string    // who or what set it off
	Previous, NextDue        time.Time
	Absent                   string
	Plan                     evidence.Plan
	Cut                      targets.Cut
	Sample                   evidence.Sample
	Bases                    map[string]targets.Artifact // by shard "target/shard"
	Outcomes                 map[string]targets.Outcome  // likewise
	VaultURL, KeyID          string
	LockedUntil              time.Time
	Exclusions               []evidence.Exclusion
	Steps                    []evidence.Step
	Findings                 []targets.Finding
	// Checked are those of Findings that are about one store, by the shard of
	// every store that was to be verified.
	Checked                  map[string][]targets.Finding
	Isolation                evidence.Isolation
	Prechecks                []evidence.Precheck
	Decisions                []evidence.Decision
	CleanUp                  evidence.CleanUp
	Posture                  evidence.Posture
	Attachments              []evidence.Attachment
	PreviousUnknown, LostWhy string // reasons for gaps, where there is a better one than ours
}

// Record measures, judges and writes down a drill. It is pure. The record is
// not sealed yet: evidence.Finalize hashes it.
func Record(f Facts) evidence.Record {
	m := Measure(Timing{Ordered: f.Started, Ended: f.Ended, Disaster: f.Disaster, Declared: f.Declared, Steps: f.Steps, Cut: f.Cut, Sample: f.Sample})
	if f.LostWhy != "" {
		m.Lost = evidence.Unknown[int64](f.LostWhy)
	}
	v := Judge(f, m)

	r := evidence.Record{
		Schema: evidence.Version, ID: f.ID, Kind: evidence.RestoreDrill, Name: f.Def.Name,
		GeneratedAt: f.Generated, Started: f.Started, Finished: f.Finished,
		Tool:  f.Tool,
		Clock: evidence.Clock{Source: cmp.Or(f.ClockSource, "system clock of the worker's host"), Synchronised: evidence.KnownIf(f.ClockSync, "the worker did not ask the host's time service")},
		Plan:  f.Plan, Scope: scope(f), Test: test(f), Verdict: v,
		Scenario:     evidence.KnownIf(f.Def.Scenario, "the drill's definition gives none"),
		Hypothesis:   evidence.KnownIf(f.Def.Hypothesis, "the drill's definition gives none"),
		Participants: Participants(f.Def.Participants),
		Absent:       evidence.KnownIf(f.Absent, "nobody said who should have taken part"),
		Decisions:    f.Decisions, Prechecks: f.Prechecks,
		RecoveryPoint: recoveryPoint(f), Sample: f.Sample,
		Objectives: f.Def.Objectives, Measured: m, Steps: slices.Clone(f.Steps), Checks: Checked(f.Findings),
		Isolation: f.Isolation, CleanUp: f.CleanUp, Posture: f.Posture, Attachments: f.Attachments,
	}
	if r.ID == "" {
		r.ID = "drill-" + f.Def.Name + "-" + targets.IDTime(f.Started)
	}
	r.Findings = issues(r.ID, v)
	FillReasons(&r)

	return r
}

func scope(f Facts) evidence.Scope {
	s := evidence.Scope{Group: f.Def.Group, Vault: f.Def.Vault, Exclusions: slices.Clone(f.Exclusions)}
	for _, p := range sortedShards(f.Cut) {
		s.Systems = append(s.Systems, evidence.System{Shard: p.Shard.String(), Kind: string(p.Kind), Region: p.Region})
	}

	if f.Def.Checks.Quick {
		s.Exclusions = append(s.Exclusions, evidence.Exclusion{What: "checks that read every byte", Reason: "the drill is defined as quick"})
	}

	if len(f.Def.Checks.Sums) == 0 && len(f.Def.Checks.Objects) == 0 {
		s.Exclusions = append(s.Exclusions, evidence.Exclusion{What: "reconciliation across stores", Reason: "the drill's definition has no sums and no object checks"})
	}

	return s
}

func test(f Facts) evidence.Test {
	return evidence.Test{Type: "restore into a sandbox", Trigger: cmp.Or(f.Def.Trigger, "manual"),
		By:       evidence.KnownIf(f.By, "the engine was not told who"),
		Previous: evidence.KnownIf(f.Previous, cmp.Or(f.PreviousUnknown, "no earlier record of this drill was found")),
		NextDue:  evidence.KnownIf(cmp.Or(f.NextDue, NextDue(f.Started, f.Def.Every)), "the drill has no schedule")}
}

// NextDue is when the schedule runs next: on multiples of its interval since 1970, whenever
// somebody runs the drill by hand in between. It is zero without an interval.
func NextDue(started time.Time, every time.Duration) time.Time {
	if every <= 0 {
		return time.Time{}
	}

	return started.Add(every - started.Sub(time.Unix(0, 0))%every).UTC()
}

var nameRole = regexp.MustCompile(`^(.+?)\s*\(([^()]+)\)$`)

// Participants are people as a definition names them: "name", or "name (role)".
func Participants(names []string) []evidence.Participant {
	out := []evidence.Participant{}
	for _, n := range names {
		p := evidence.Participant{Name: n, Role: evidence.Unknown[string]("the definition gives none; write: name (role)")}
		if m := nameRole.FindStringSubmatch(n); m != nil {
			p = evidence.Participant{Name: m[1], Role: evidence.Known(m[2])}
		}
		out = append(out, p)
	}

	return out
}

func sortedShards(c targets.Cut) []targets.ShardPoint {
	return slices.SortedFunc(slices.Values(c.Shards), func(a, b targets.ShardPoint) int { return a.Shard.Compare(b.Shard) })
}

func recoveryPoint(f Facts) evidence.RecoveryPoint {
	c := f.Cut

	r := evidence.RecoveryPoint{CutID: c.ID, Mode: string(c.Mode), QuiescedAt: c.QuiescedAt, ReleasedAt: c.ReleasedAt, SealedAt: c.SealedAt,
		SealedIn: c.SealedIn, Attempts: c.Attempts, Stall: c.Stall,
		Location:    evidence.KnownIf(f.VaultURL, "the vault's address was not passed on"),
		KeyID:       evidence.KnownIf(f.KeyID, "the vault's public key was not passed on"),
		LockedUntil: evidence.KnownIf(f.LockedUntil, "drctl did not ask the vault's store for an object lock")}
	for _, p := range sortedShards(c) {
		r.Shards = append(r.Shards, shardPoint(f, p))
	}

	return r
}

func shardPoint(f Facts, p targets.ShardPoint) evidence.ShardPoint {
	id := p.Shard.String()

	s := evidence.ShardPoint{Shard: id, Kind: string(p.Kind), Region: p.Region, Instance: p.Instance, Position: p.Position.String(),
		RestorePoint: p.Position.RestorePoint, AsOf: p.Position.AsOf, Manifest: p.Position.Manifest}
	switch p.Kind {
	case targets.Postgres:
		s.LSN = targets.FormatLSN(p.Position.Offset)
		if sys, tl, err := targets.ParsePostgresTimeline(p.Position.Timeline); err == nil {
			s.SystemID, s.Timeline = sys, tl
		}
	case targets.Redis:
		s.ReplicationID, s.Offset = p.Position.Timeline, fmt.Sprint(p.Position.Offset)
	}
	s.Base = evidence.Unknown[string]("no base was reported for this shard")

	s.BaseTaken = evidence.Unknown[time.Time]("no base was reported for this shard")
	if p.Kind.Traits().Manifest {
		s.Base = evidence.Unknown[string]("an object store is restored from its manifest, not from a base")
		s.BaseTaken = evidence.Unknown[time.Time]("an object store is restored from its manifest, not from a base")
	}

	if b, ok := f.Bases[id]; ok && b.ID != "" {
		s.Base, s.BaseTaken = evidence.Known(b.ID), evidence.KnownIf(b.Finished, "the base's record does not say")
	}
	s.Reached = evidence.Unknown[string]("the shard was not restored")

	s.BytesMoved = evidence.Unknown[int64]("the shard was not restored")
	if o, ok := f.Outcomes[id]; ok {
		s.Reached = evidence.KnownIf(o.Reached.String(), "the driver did not say")
		s.BytesMoved = evidence.Known(o.Bytes)
	}

	return s
}

// Checked are findings as a record has them; those of an unknown severity have failed.
func Checked(fs []targets.Finding) []evidence.Check {
	out := []evidence.Check{}
	for _, f := range fs {
		sev := f.Severity
		if sev != targets.Passed && sev != targets.Warned && sev != targets.Skipped {
			sev = targets.Failed
		}
		out = append(out, evidence.Check{Name: f.Check, Subject: f.Subject, QuerySHA256: f.Query, Expected: f.Expected, Got: f.Got,
			Verdict: string(sev), Detail: f.Detail, Took: f.Took})
	}

	return out
}

// issues opens one finding for every failure and warning. Who owns it, and by
// when it must be closed, is for people to say.
func issues(id string, v evidence.Verdict) []evidence.Issue {
	out := []evidence.Issue{}
	open := func(severity string, titles []string) {
		for _, t := range titles {
			out = append(out, evidence.Issue{ID: fmt.Sprintf("%s-%02d", id, len(out)+1), Severity: severity, Title: t,
				Owner:  evidence.Unknown[string]("to be filled in at the review"),
				Due:    evidence.Unknown[time.Time]("to be filled in at the review"),
				Closed: evidence.Unknown[string]("the finding is open")})
		}
	}
	open(evidence.Major, v.Failures)
	open(evidence.Minor, v.Warnings)

	return out
}

// FillReasons gives every gap that the caller left without a reason one that
// says where the value should have come from.
func FillReasons(r *evidence.Record) {
	say := func(m *evidence.Text, why string) {
		if m.Value == nil && m.NotRecorded == "" {
			m.NotRecorded = why
		}
	}
	at := func(m *evidence.Instant, why string) {
		if m.Value == nil && m.NotRecorded == "" {
			m.NotRecorded = why
		}
	}

	say(&r.Tool.Commit, "the program was built without it")
	say(&r.Plan.Version, "plans are made for each run and named by their content hash")
	say(&r.Plan.Approver, "a drill's plan needs no approval: it touches a sandbox only")
	at(&r.Plan.ApprovedAt, "a drill's plan needs no approval: it touches a sandbox only")
	at(&r.CleanUp.RemovedAt, "the sandbox was not removed before the record was made")

	for i := range r.Steps {
		s := &r.Steps[i]
		at(&s.PlannedStart, "the plan gives an order, not a time")
		at(&s.PlannedFinish, "the plan gives an order, not a time")
		at(&s.Started, "the step did not run")
		at(&s.Finished, "the step did not run")
		say(&s.InputSHA256, "the step's input was not hashed")
		say(&s.OutputSHA256, "the step's output was not hashed")
	}

	for _, m := range []*evidence.Text{&r.Posture.Coverage, &r.Posture.Frequency, &r.Posture.Retention, &r.Posture.Encryption, &r.Posture.Copies, &r.Posture.Lock} {
		say(m, "the configuration's policy was not passed on")
	}
}
