package readiness

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/platform"
	"drctl/internal/timeline"
	"drctl/restore/inventory"
	"drctl/targets"
)

// shardFacts are a shard's line of status and what is wrong with it.
type shardFacts struct {
	Shard
	problems []Problem
}

// shards judges the archive and the bases of every shard that has a log.
func (f Facts) shards() []shardFacts {
	instances := map[targets.ShardID][]Instance{}
	for _, i := range f.instances {
		instances[i.Shard] = append(instances[i.Shard], i)
	}

	var out []shardFacts
	for _, sh := range f.group.Shards {
		var x shardFacts
		if !sh.Kind.Traits().Log {
			x.problems = append(x.problems, f.judgeBase(sh, f.now, "snapshot")...)
		} else {
			x = f.shard(sh, instances[sh.Shard])
		}
		x.Shard.Shard = sh.Shard
		out = append(out, x)
	}

	return out
}

// shard is what there is of a shard with a log, of which these are the instances.
func (f Facts) shard(sh platform.Shard, instances []Instance) (out shardFacts) {
	var p Problem
	if out.Archiving, out.Archived, p = f.judgeArchiver(sh); p.Code != "" {
		out.problems = append(out.problems, p)
	}

	for _, i := range instances {
		if i.Status.Writable && out.Archiving {
			out.Behind = max(0, int64(i.Status.Position.Offset)-int64(out.Archived))
		}
	}
	var bases []targets.Artifact
	var held [][]timeline.Timeline

	late := false
	for _, v := range f.vaults {
		bases = append(bases, v.bases[sh.Shard]...)
		held = append(held, v.timelines[sh.Shard])
		late = late || v.late || v.err != nil
	}

	for _, b := range bases {
		if b.Finished.After(out.NewestBase) {
			out.NewestBase = b.Finished
		}
	}

	if b, broken := timeline.NeedsBase(timeline.Union(held), bases); f.deep && broken {
		out.problems = append(out.problems, Problem{Code: "log-interrupted", Severity: Critical, Subject: sh.Shard.String(), Region: sh.Region,
			What: sh.Shard.String() + ": " + b.String(), Next: baseOnTheWay(f.engine.TakingBase, out.Archiving)})
	}

	if lack := outgrown(instances, bases); f.deep && lack != "" {
		out.problems = append(out.problems, Problem{Code: "base-outgrown", Severity: Critical, Subject: sh.Shard.String(), Region: sh.Region,
			What: sh.Shard.String() + ": " + lack, Next: baseOnTheWay(f.engine.TakingBase, out.Archiving)})
	}

	out.problems = append(out.problems, f.judgeBase(sh, out.NewestBase, "base")...)
	if len(out.problems) == 0 && f.deep && !(late && out.NewestBase.IsZero()) {
		if p, bad := f.baseDue(sh, out.NewestBase); bad {
			out.problems = append(out.problems, p)
		}
	}

	var said []string
	for _, p := range out.problems {
		said = append(said, strings.TrimPrefix(p.Text(f.now), sh.Shard.String()+": "))
	}
	out.Problem = strings.Join(said, "; ")

	return out
}

// judgeBase says why a shard's bases fail.
func (f Facts) judgeBase(sh platform.Shard, newest time.Time, what string) []Problem {
	s := f.engine.Bases[sh.Shard]
	if s.Failures == 0 {
		return nil
	}

	p := Problem{Code: "base-failing", Severity: Critical, Subject: sh.Shard.String(), Region: sh.Region, What: fmt.Sprintf("%s of %s fails", what, sh.Shard),
		Since: s.Since, Detail: times(s, f.now), Next: "try again with: drctl backup now"}
	if every := f.group.Policy.BaseEvery; what == "base" && f.deep && (newest.IsZero() || every > 0 && f.now.Sub(newest) > 2*every) {
		p.What = fmt.Sprintf("there is no base of %s", sh.Shard)
		if !newest.IsZero() {
			p.What = fmt.Sprintf("the newest base of %s is %s old, one is due every %s", sh.Shard, human.Duration(f.now.Sub(newest)), human.Duration(every))
		}
		p.What += "; taking one fails"
	}

	return []Problem{p.Because(s.Err)}
}

// baseDue says that a base is missing or late, of which nothing failed.
func (f Facts) baseDue(sh platform.Shard, newest time.Time) (Problem, bool) {
	p := Problem{Code: "base-missing", Severity: Critical, Subject: sh.Shard.String(), Region: sh.Region}

	every := f.group.Policy.BaseEvery
	switch age := f.now.Sub(newest); {
	case newest.IsZero() && f.engine.TakingBase:
		p.What = sh.Shard.String() + ": there is no base; one is being taken"
	case newest.IsZero():
		p.What, p.Next = sh.Shard.String()+": there is no base", "take one with: drctl backup now"
	case every > 0 && age > 2*every:
		p.Code, p.Severity, p.Next = "base-overdue", Warning, "see why with: drctl backup now"
		p.What = fmt.Sprintf("%s: the newest base is %s old, one is due every %s", sh.Shard, human.Duration(age), human.Duration(every))
	default:
		return p, false
	}

	return p, true
}

// outgrown says what the newest base lacks of a shard's primary, "" when nothing.
func outgrown(instances []Instance, bases []targets.Artifact) string {
	for _, i := range instances {
		if i.Status.Writable {
			if lack := targets.Outgrown(bases, i.Status.Tablespaces); lack != "" {
				return lack
			}
		}
	}

	return ""
}

// baseOnTheWay says what becomes of a log that needs a new base.
func baseOnTheWay(taking, archiving bool) string {
	switch {
	case taking:
		return "a new base is being taken"
	case archiving:
		return "the archiver takes a new base within minutes"
	}

	return "take a new base with: drctl backup now"
}

// judgeVaults says which vaults cannot be used: one line for each, and one for all
// of them where the platform's key is not there.
func (f Facts) judgeVaults() (out []Problem) {
	locked := Problem{Code: "key-missing", Severity: Critical, Subject: "key"}
	var lacking []string

	for _, v := range f.vaults {
		if !v.policy {
			continue
		}

		p := Problem{Code: "vault-unavailable", Severity: Critical, Subject: v.region, Region: v.region}
		if errors.Is(v.err, platform.ErrNoKey) {
			lacking = append(lacking, v.region)
			locked = closed(locked, v)

			continue
		}

		if v.err != nil {
			out = append(out, closed(p, v))
			continue
		}

		for _, err := range v.unread {
			p.What = "the vault of " + v.region + " cannot be read whole"
			out = append(out, p.Because(err))
		}

		if why := v.retention.Error; why != "" {
			out = append(out, Problem{Code: "retention-breaks-off", Severity: Warning, Subject: v.region, Region: v.region,
				What: "retention of the vault of " + v.region + " breaks off, so nothing is removed from it", Why: why})
		}
	}

	switch {
	case len(lacking) == 1:
		locked.Region = lacking[0]
		out = append(out, locked)
	case len(lacking) > 1:
		locked.What = "the vaults of " + strings.Join(lacking, " and ") + " cannot be opened"
		out = append(out, locked)
	}

	return out
}

// closed words why a vault cannot be opened.
func closed(p Problem, v vaultFacts) Problem {
	p.What = "the vault of " + v.region + " cannot be opened"
	err := v.err

	var fe *fail.Error
	if errors.As(err, &fe) && fe.Op == platform.OpenOp(v.region) && fe.Err != nil {
		p.Next, err = fe.Hint, fe.Err
	}

	return p.Because(err)
}

// judgeCuts says why there is no new cut.
func (f Facts) judgeCuts() (out []Problem) {
	g := f.group
	newest, abandoned := f.newestCut(), f.abandonedSince()

	p := Problem{Severity: Critical, Subject: g.Name}
	if n := len(abandoned); n > 0 {
		last := abandoned[n-1]
		p.Code, p.Next = "cuts-abandoned", "see: drctl cut show "+last.Cut.ID

		p.What = fmt.Sprintf("%s abandoned since the newest sealed one, the last at %s", human.Plural(n, "cut"), last.AbandonedAt.Local().Format(time.DateTime))
		if newest.ID == "" {
			p.What = fmt.Sprintf("no cut is sealed yet, and %s abandoned, the last at %s", human.Plural(n, "cut"), last.AbandonedAt.Local().Format(time.DateTime))
		}

		p.Why = last.Reason
		out = append(out, p)
	}
	s := f.engine.Cuts
	failing := s.Failures > 0 && !s.Last.Before(newest.QuiescedAt)
	// An abandoned cut fails its run too: that is said once.
	if n := len(abandoned); failing && (n == 0 || s.Last.Sub(abandoned[n-1].AbandonedAt) > 5*time.Second) {
		out = append(out, Problem{Code: "cut-failing", Severity: Critical, Subject: g.Name, What: "cuts of " + g.Name + " fail", Since: s.Since, Detail: times(s, f.now)}.Because(s.Err))
	}

	if !f.deep {
		return out
	}

	for _, v := range f.vaults {
		if v.policy && v.newest.ID != "" && v.planErr != nil && !v.late {
			out = append(out, Problem{Code: "cut-unrecoverable", Severity: Critical, Subject: v.region, Region: v.region,
				What: "the newest cut in the vault of " + v.region + " cannot be recovered"}.Because(v.planErr))
		}
	}

	said := map[string]bool{}
	for _, v := range f.vaults {
		for _, text := range v.unfit {
			if !said[text] {
				said[text] = true
				out = append(out, Problem{Code: "programs-unfit", Severity: Warning, Subject: g.Name, What: "restoring " + text})
			}
		}
	}

	if newest.ID == "" {
		if f.read() {
			p = Problem{Code: "no-cut", Severity: Critical, Subject: g.Name, What: "there is no sealed cut"}
			if !failing {
				p.Next = "take one with: drctl cut now"
			}
			out = append(out, p)
		}

		return out
	}

	for _, at := range newest.Shards {
		for _, w := range at.Warnings {
			out = append(out, Problem{Code: "cut-incomplete", Severity: Warning, Subject: at.Shard.String(), What: at.Shard.String() + ": the newest cut: " + w})
		}
	}

	out = append(out, judgeGrade(g.Policy.Mode, newest)...)

	out = append(out, f.behind(newest)...)
	if age := f.now.Sub(newest.QuiescedAt); g.Policy.RPO > 0 && age > g.Policy.RPO {
		out = append(out, Problem{Code: "rpo-missed", Severity: Critical, Subject: g.Name,
			What: fmt.Sprintf("RPO objective missed: the newest sealed cut is %s old, %s allowed", human.Duration(age), human.Duration(g.Policy.RPO))})
	}

	return out
}

// read reports whether any vault of the policy was read.
func (f Facts) read() bool {
	return slices.ContainsFunc(f.vaults, func(v vaultFacts) bool { return v.policy && v.err == nil && !v.late })
}

// newestCut is the newest cut that any vault offers.
func (f Facts) newestCut() (newest targets.Cut) {
	for _, v := range f.vaults {
		if v.policy && v.newest.ID > newest.ID {
			newest = v.newest
		}
	}

	return newest
}

// abandonedSince are the cuts abandoned after the newest sealed one, each once.
func (f Facts) abandonedSince() []inventory.AbandonedCut {
	newest := f.newestCut()

	var out []inventory.AbandonedCut
	for _, v := range f.vaults {
		for _, x := range v.abandoned {
			if x.Cut.ID >= newest.ID {
				out = append(out, x)
			}
		}
	}

	slices.SortFunc(out, func(x, y inventory.AbandonedCut) int { return strings.Compare(x.Cut.ID, y.Cut.ID) })

	return slices.CompactFunc(out, func(x, y inventory.AbandonedCut) bool { return x.Cut.ID == y.Cut.ID })
}

// behind says which vaults fall behind. A cut is sealed when enough vaults hold
// it: the others may fall behind for a while, but not unseen.
func (f Facts) behind(newest targets.Cut) (out []Problem) {
	for _, v := range f.vaults {
		if !v.policy || v.err != nil || v.late {
			continue
		}

		p := Problem{Code: "vault-behind", Severity: Warning, Subject: v.region, Region: v.region}
		switch lag := newest.QuiescedAt.Sub(v.newest.QuiescedAt); {
		case v.newest.ID == "":
			p.What = fmt.Sprintf("the vault of %s holds no cut", v.region)
		case lag > max(2*f.group.Policy.CutEvery, f.group.Policy.RPO, time.Minute):
			p.What = fmt.Sprintf("the newest cut in the vault of %s is %s older than the newest of all", v.region, human.Duration(lag))
		default:
			continue
		}
		out = append(out, p)
	}

	return out
}

// judgeChecks says what the vaults' checks found, and which are overdue.
func (f Facts) judgeChecks() (out []Problem) {
	every := f.group.Policy.CheckEvery

	overdue := func(since time.Time) bool { return every > 0 && f.now.Sub(since) > 2*every }
	for _, c := range f.checks {
		p := Problem{Severity: Warning, Subject: c.region, Region: c.region}
		if c.err != nil {
			out = append(out, Problem{Code: "checks-unread", Severity: Warning, Subject: c.region, What: "the checks of the vault of " + c.region + " cannot be read"}.Because(c.err))
		}

		newest, damaged := c.checks.Newest, c.checks.Damaged
		if newest.Started.IsZero() {
			for _, v := range f.vaults {
				if v.region == c.region && v.v != nil && c.err == nil && overdue(v.v.Created()) {
					p.Code, p.Next = "check-overdue", "see why with: drctl backup verify --vault "+c.region
					p.What = fmt.Sprintf("the vault of %s was made at %s and has never been checked, a check is due every %s", c.region, v.v.Created().Local().Format(time.DateTime), human.Duration(every))
					out = append(out, p)
				}
			}

			continue
		}

		if !damaged.Started.IsZero() {
			since := ""
			if damaged.Started.Before(newest.Started) {
				since = ", and none since has read as much and found nothing"
			}
			out = append(out, Problem{Code: "damage", Severity: Critical, Subject: c.region, Region: c.region,
				What: fmt.Sprintf("the check at %s found damage%s", damaged.Started.Local().Format(time.DateTime), since), Why: damaged.String(), Next: "see: drctl backup verify --vault " + c.region})
		}

		if overdue(newest.Started) {
			p.Code, p.What = "check-overdue", fmt.Sprintf("the vault of %s was last checked at %s, a check is due every %s", c.region, newest.Started.Local().Format(time.DateTime), human.Duration(every))
			out = append(out, p)
		}
	}

	return out
}
