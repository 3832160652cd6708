package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"drctl/internal/engine"
	"drctl/internal/platform"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/targets"
)

// CheckVault verifies what a vault holds of a group.
func (a *Activities) CheckVault(ctx context.Context, in CheckIn) (CheckOut, error) {
	out, err := a.check(ctx, in)
	return out, engine.EncodeError(err)
}

func (a *Activities) check(parent context.Context, in CheckIn) (CheckOut, error) {
	ctx, cancel := stoppable(parent)
	defer cancel(nil)
	g, err := a.Platform.Group(in.Group)
	if err != nil {
		return CheckOut{Region: in.Region}, err
	}
	v, err := a.Platform.Vault(ctx, in.Region)
	if err != nil {
		return CheckOut{Region: in.Region}, err
	}
	beat := &beater{ctx: ctx, shard: "vault of " + in.Region}
	beat.progress("check", 0, 0)
	// Reading one large object and restic's own check report nothing meanwhile.
	stop := beatEvery(ctx, 5*time.Second, beat.current)
	defer stop()
	readData, err := nextPart(ctx, v, in.Group, in.Region, in.ReadData)
	if err != nil {
		return CheckOut{Region: in.Region}, err
	}
	out, err := CheckGroup(ctx, v, g, readData, beat.progress)
	if err != nil {
		return out, err
	}
	for _, f := range out.Findings {
		if f.Severity == targets.Failed || f.Severity == targets.Warned {
			a.Log.WarnContext(ctx, "check", "vault", in.Region, "severity", string(f.Severity), "check", f.Check, "subject", f.Subject,
				"expected", f.Expected, "got", f.Got, "detail", f.Detail)
		}
	}
	err = SaveCheck(ctx, a.Platform, g, out) // whole
	out.Findings = worst(out.Findings, maxListed)
	return out, err
}

// What crosses the boundary is bounded, as the engine refuses more than 2 MB:
// so many of a list, and so many bytes of a text.
const (
	maxListed = 100
	maxText   = 1024
)

// worst are the first n findings, the failed ones first, with texts cut short.
func worst(all []targets.Finding, n int) []targets.Finding {
	rank := map[targets.Severity]int{targets.Failed: 0, targets.Warned: 1}
	of := func(f targets.Finding) int {
		if r, ok := rank[f.Severity]; ok {
			return r
		}
		return len(rank)
	}
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b targets.Finding) int { return of(a) - of(b) })
	all = all[:min(len(all), n)]
	for i := range all {
		for _, text := range []*string{&all[i].Expected, &all[i].Got, &all[i].Detail} {
			if len(*text) > maxText {
				*text = (*text)[:maxText] + " [cut off]"
			}
		}
	}
	return all
}

// CheckGroup checks every stored byte of a group in one vault, that a base
// leads to every cut since the first base, and that the streams are contiguous
// from the oldest base to the newest cut of every branch of a shard's log. An
// error means that it could not be checked. Progress gets the bytes read.
func CheckGroup(ctx context.Context, v *vault.Vault, g platform.Group, readData string, p targets.Progress) (CheckOut, error) {
	start := time.Now()
	out := CheckOut{Group: g.Name, Region: v.Region(), Started: start.UTC(), ReadData: readData}
	var err error
	out.Findings, err = verifyVault(ctx, v, g, readData, p)
	out.Checks, out.Failed, out.Took = len(out.Findings), failures(out.Findings), time.Since(start)
	return out, err
}

func verifyVault(ctx context.Context, v *vault.Vault, g platform.Group, readData string, p targets.Progress) ([]targets.Finding, error) {
	shards := make([]targets.ShardID, len(g.Shards))
	for i, s := range g.Shards {
		shards[i] = s.Shard
	}
	findings, err := v.Verify(ctx, vault.VerifyOptions{ReadData: readData, Shards: shards, Groups: []string{g.Name}, Progress: p})
	if err != nil {
		return findings, err
	}
	cuts, cerr := v.Cuts(ctx, g.Name) // damaged records are findings above
	if cerr != nil && len(cuts) == 0 {
		return findings, nil
	}
	for _, s := range g.Shards {
		if s.Kind == targets.S3 {
			continue
		}
		p.Report("stream of "+s.Shard.String(), 0, 0)
		fs, err := verifyStream(ctx, v, s.Shard, cuts)
		if err != nil {
			return findings, err
		}
		findings = append(findings, fs...)
	}
	return findings, nil
}

// verifyStream checks one shard's log. A log may have branches: the timelines
// of a promoted PostgreSQL, or the replication ids of a Redis that lost its own
// with its memory, which has nothing to do with the one before.
func verifyStream(ctx context.Context, v *vault.Vault, shard targets.ShardID, cuts []targets.Cut) ([]targets.Finding, error) {
	bases, _ := v.Bases(ctx, shard) // damaged records are findings of the vault's own check; oldest first
	if len(bases) == 0 {
		return nil, nil
	}
	ls, err := stream.Load(ctx, v, shard)
	if err != nil {
		return nil, err
	}
	bases, findings := usable(ls, bases, shard.String()+"@"+v.Region())
	if len(bases) == 0 {
		return findings, nil
	}
	var branches []string
	ends := map[string]targets.Position{}
	for _, c := range cuts {
		p, ok := c.Point(shard)
		if !ok || c.SealedAt.IsZero() || c.QuiescedAt.Before(bases[0].Finished) {
			continue // what was cut before there was a base was never recoverable
		}
		if oldestBase(ls, bases, p.Position) < 0 {
			findings = append(findings, targets.Finding{Check: "base-for-cut", Subject: shard.String() + "@" + v.Region(), Severity: targets.Failed,
				Expected: "a base that leads to cut " + c.ID, Got: "none", Detail: "its timeline is " + p.Position.Timeline})
			continue
		}
		if _, ok := ends[p.Position.Timeline]; !ok {
			branches = append(branches, p.Position.Timeline)
		}
		ends[p.Position.Timeline] = p.Position // the newest of each branch
	}
	said := map[string]bool{} // branches have their beginning in common
	for _, b := range branches {
		fs, err := stream.Check(ctx, v, shard, bases[oldestBase(ls, bases, ends[b])].From, ends[b])
		if err != nil {
			return findings, err
		}
		for _, f := range fs {
			if key := f.Expected + f.Got; !said[key] {
				said[key] = true
				findings = append(findings, f)
			}
		}
		findings = append(findings, behindHole(ls, bases, ends[b], fs, shard.String()+"@"+v.Region())...)
	}
	return findings, nil
}

// behindHole makes sure that a base leads to the end of a branch that has a
// declared hole: what lies behind it is lost without one.
func behindHole(ls []stream.Timeline, bases []targets.Artifact, end targets.Position, fs []targets.Finding, subject string) []targets.Finding {
	hole := slices.ContainsFunc(fs, func(f targets.Finding) bool { return f.Severity == targets.Warned })
	missing := slices.ContainsFunc(fs, func(f targets.Finding) bool { return f.Severity == targets.Failed })
	if !hole || missing { // what is missing is said already
		return nil
	}
	if slices.ContainsFunc(bases, func(b targets.Artifact) bool {
		_, from := stream.Path(ls, b.From, end)
		_, until := stream.Path(ls, b.Until, end)
		return from == nil && until == nil
	}) {
		return nil
	}
	return []targets.Finding{{Check: "base-for-cut", Subject: subject, Severity: targets.Failed,
		Expected: "a base behind the hole in the log that leads to the newest cut", Got: "none", Detail: "take one with: drctl backup now"}}
}

// usable leaves out the bases to which no stream leads back, as the archive of
// their log began behind them: nothing was ever recoverable from them, so what
// they lack is no damage. Each is named.
func usable(ls []stream.Timeline, bases []targets.Artifact, subject string) (good []targets.Artifact, rest []targets.Finding) {
	for _, b := range bases {
		i := slices.IndexFunc(ls, func(l stream.Timeline) bool { return l.ID == b.From.Timeline && l.Origin })
		if i < 0 || b.From.Offset >= ls[i].Offset {
			good = append(good, b)
			continue
		}
		rest = append(rest, targets.Finding{Check: "base-usable", Subject: subject, Severity: targets.Skipped,
			Expected: fmt.Sprintf("base %s, at %d, in the archived part of its log", b.ID, b.From.Offset), Got: fmt.Sprintf("archived from %d on", ls[i].Offset),
			Detail: "the base is of no use, and nothing needs it; retention removes it with its age"})
	}
	return good, rest
}

// oldestBase is the index of the first base from which the position can be
// reached, through the timelines that its own descends from; -1 when none is.
func oldestBase(ls []stream.Timeline, bases []targets.Artifact, to targets.Position) int {
	way := []targets.Position{to}
	for range ls {
		at := way[len(way)-1]
		i := slices.IndexFunc(ls, func(l stream.Timeline) bool { return l.ID == at.Timeline })
		if i < 0 || ls[i].Parent.Timeline == "" {
			break
		}
		way = append(way, ls[i].Parent)
	}
	return slices.IndexFunc(bases, func(b targets.Artifact) bool {
		return slices.ContainsFunc(way, func(p targets.Position) bool { return p.Timeline == b.From.Timeline && b.Until.Offset <= p.Offset })
	})
}

// RetainOut says what retention removed.
type RetainOut struct {
	Region string `json:"region"`
	// How many went; the lists in Plan and Result may be cut off.
	Cuts      int                   `json:"cuts"`
	Bases     int                   `json:"bases"`
	Manifests int                   `json:"manifests"`
	Plan      vault.RetentionPlan   `json:"plan"`
	Result    vault.RetentionResult `json:"result"`
	// Report is the id of the vault's report of kind "retention" that has all.
	Report string `json:"report,omitempty"`
	// Error is why it broke off, in the report.
	Error string `json:"error,omitempty"`
}

// RetentionReport is the kind of the reports of what was removed.
const RetentionReport = "retention"

// bounded is what crosses the boundary: the counts, and the first of each list.
func (o RetainOut) bounded() RetainOut {
	o.Plan.Cuts, o.Plan.Shards = nil, nil // the result has them
	r := &o.Result
	r.Cuts, r.Snapshots = r.Cuts[:min(len(r.Cuts), maxListed)], r.Snapshots[:min(len(r.Snapshots), maxListed)]
	r.Shards = slices.Clone(r.Shards)
	bases, kept, streams, manifests := maxListed, maxListed, maxListed, maxListed
	for i := range r.Shards {
		s := &r.Shards[i]
		s.Bases, s.KeptBases = first(s.Bases, &bases), first(s.KeptBases, &kept)
		s.Streams, s.Manifests = first(s.Streams, &streams), first(s.Manifests, &manifests)
	}
	return o
}

// first takes what is left of an allowance.
func first[T any](list []T, left *int) []T {
	n := min(len(list), *left)
	*left -= n
	return list[:n]
}

// Retain applies a group's retention to one region's vault: the only place
// where anything is deleted from it.
func (a *Activities) Retain(ctx context.Context, in CheckIn) (RetainOut, error) {
	out, err := a.retain(ctx, in)
	return out, engine.EncodeError(err)
}

func (a *Activities) retain(parent context.Context, in CheckIn) (RetainOut, error) {
	ctx, cancel := stoppable(parent)
	defer cancel(nil)
	g, err := a.Platform.Group(in.Group)
	if err != nil {
		return RetainOut{Region: in.Region}, err
	}
	v, err := a.Platform.Vault(ctx, in.Region)
	if err != nil {
		return RetainOut{Region: in.Region}, err
	}
	stop := beatEvery(ctx, 2*time.Second, func() Beat { return Beat{Phase: "retain", Detail: in.Region} })
	defer stop()
	now := time.Now().UTC()
	out, rerr := ApplyRetention(ctx, v, g, now, false)
	r := out.Result // of one that broke off: what it removed before
	last, lerr := LastRetention(ctx, v, in.Group)
	if rerr != nil && ctx.Err() == nil {
		out.Error = rerr.Error()
	}
	if out.Cuts+out.Bases+out.Manifests+len(r.Snapshots) > 0 || r.Chunks+r.Objects+r.Condemned > 0 || out.Error != last.Error || lerr != nil {
		out.Report = now.Format("20060102T150405.000Z") + "-" + in.Group
		if _, err := (vault.Set{Vaults: []*vault.Vault{v}}).SaveReport(ctx, RetentionReport, out.Report, out); err != nil {
			return RetainOut{Region: in.Region}, errors.Join(rerr, err)
		}
	}
	if rerr != nil {
		return RetainOut{Region: in.Region}, rerr
	}
	a.Log.InfoContext(ctx, "retention", "vault", in.Region, "group", in.Group, "cuts", out.Cuts, "bases", out.Bases, "manifests", out.Manifests,
		"chunks", r.Chunks, "objects", r.Objects, "condemned", r.Condemned, "report", out.Report)
	return out.bounded(), nil
}

// LastRetention reads the newest report of a vault's retention: what the last run
// that removed anything did, or why the last run broke off. It is the zero value
// when there is none. One that has nothing to remove leaves a report only after
// one that broke off.
func LastRetention(ctx context.Context, v *vault.Vault, group string) (RetainOut, error) {
	ids, err := v.Reports(ctx, RetentionReport)
	if err != nil {
		return RetainOut{}, err
	}
	for _, id := range slices.Backward(ids) {
		if _, of, _ := strings.Cut(id, "Z-"); of == group {
			var out RetainOut
			err := v.Report(ctx, RetentionReport, id, &out)
			return out, err
		}
	}
	return RetainOut{}, nil
}

// ApplyRetention removes from a vault what the group's policy no longer keeps,
// or with dry only says what that would be.
func ApplyRetention(ctx context.Context, v *vault.Vault, g platform.Group, now time.Time, dry bool) (RetainOut, error) {
	out := RetainOut{Region: v.Region()}
	inv, err := v.Inventory(ctx, []string{g.Name})
	if err != nil {
		return out, err
	}
	pol := g.Policy.Retention
	if n := g.Policy.KeepCutsMin; n > 0 && len(inv.Cuts) > 0 {
		// Cuts are sorted by age: the Nth newest one widens the window.
		nth := inv.Cuts[max(0, len(inv.Cuts)-n)]
		pol.KeepCuts = max(pol.KeepCuts, now.Sub(nth.QuiescedAt)+time.Minute)
	}
	out.Plan = vault.PlanRetention(inv, pol, now)
	out.Result, err = v.Retain(ctx, out.Plan, vault.RetainOptions{DryRun: dry})
	out.Cuts = len(out.Result.Cuts)
	for _, s := range out.Result.Shards {
		out.Bases += len(s.Bases)
		out.Manifests += len(s.Manifests)
	}
	return out, err
}
