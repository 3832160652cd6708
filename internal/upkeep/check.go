package upkeep

import (
	"context"
	"fmt"
	"slices"
	"time"

	"drctl/internal/fail"
	"drctl/internal/observation/batches"
	"drctl/internal/platform"
	"drctl/internal/stream"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

// Check is the outcome of a check of what one vault holds of a group. It is also
// the report of it in the vaults.
type Check struct {
	Group    string            `json:"group"`
	Region   string            `json:"region"`
	Started  time.Time         `json:"started"`
	ReadData string            `json:"read_data"`
	Findings []targets.Finding `json:"findings"` // in a report or an answer the first of them, the worst first
	Checks   int               `json:"checks"`   // findings in all
	Failed   int               `json:"failed"`
	Took     time.Duration     `json:"took_ns"`
}

// String says what was found wrong: "vault of east: 2 of 40 checks failed, the
// first: orders/0@east: stream".
func (c Check) String() string {
	s := fmt.Sprintf("vault of %s: %d of %d checks failed", c.Region, c.Failed, c.Checks)
	if i := slices.IndexFunc(c.Findings, func(f targets.Finding) bool { return f.Severity == targets.Failed }); i >= 0 {
		s += fmt.Sprintf(", the first: %s: %s", c.Findings[i].Subject, c.Findings[i].Check)
	}

	return s
}

// CheckVault checks every stored byte of a group in one vault, that its
// observations are what their names say, that a base leads to every cut (it only
// warns of cuts older than the oldest base), and that the streams are contiguous
// from the oldest base to the newest cut of every branch of a shard's log. An error means that it could not be checked. Progress
// gets the bytes read.
func CheckVault(ctx context.Context, v *vault.Vault, g platform.Group, readData string, p targets.Progress) (Check, error) {
	start := time.Now()
	out := Check{Group: g.Name, Region: v.Region(), Started: start.UTC(), ReadData: readData}
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

	observed, err := batches.Verify(ctx, v, g.Name, p)
	findings = append(findings, observed...)

	if err != nil {
		return findings, err
	}

	cuts, err := v.Cuts(ctx, g.Name)
	if err != nil && !fail.Is(err, fail.Corrupt) { // damaged records are findings above
		return findings, err
	}

	for _, s := range g.Shards {
		if s.Kind.Traits().Manifest {
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
	bases, err := v.Bases(ctx, shard)              // oldest first
	if err != nil && !fail.Is(err, fail.Corrupt) { // damaged records are findings of the vault's own check
		return nil, err
	}

	ls, err := stream.Load(ctx, v, shard)
	if err != nil {
		return nil, err
	}

	subject := shard.String() + "@" + v.Region()
	bases, findings := usable(ls, bases, subject)
	var branches []string

	ends := map[string]targets.Position{}

	var lost, old []targets.Cut // without a base
	for _, c := range cuts {
		p, ok := c.Point(shard)
		if !ok || c.SealedAt.IsZero() {
			continue
		}

		if oldestBase(ls, bases, p.Position) < 0 {
			if len(bases) > 0 && c.QuiescedAt.Before(bases[0].Finished) {
				old = append(old, c)
			} else {
				lost = append(lost, c)
			}

			continue
		}

		if _, ok := ends[p.Position.Timeline]; !ok {
			branches = append(branches, p.Position.Timeline)
		}
		ends[p.Position.Timeline] = p.Position // the newest of each branch
	}

	findings = append(findings, baseless(subject, lost, targets.Failed, "no base leads there, though the cut was sealed")...)
	// Somebody has given them up with their base, or their base is lost.
	findings = append(findings, baseless(subject, old, targets.Warned, "older than the oldest base: they can no longer be recovered")...)

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
		findings = append(findings, behindHole(ls, bases, ends[b], fs, subject)...)
	}

	return findings, nil
}

// baseless tells of sealed cuts, in their order, to which no base leads.
func baseless(subject string, cuts []targets.Cut, how targets.Severity, why string) []targets.Finding {
	if len(cuts) == 0 {
		return nil
	}

	which := "cut " + cuts[0].ID
	if n := len(cuts); n > 1 {
		which = fmt.Sprintf("%d cuts, from %s to %s", n, cuts[0].ID, cuts[n-1].ID)
	}

	return []targets.Finding{{Check: "base-for-cut", Subject: subject, Severity: how, Expected: "a base that leads to " + which, Got: "none", Detail: why}}
}

// behindHole makes sure that a base leads to the end of a branch that has a
// declared hole: what lies behind it is lost without one.
func behindHole(ls []timeline.Timeline, bases []targets.Artifact, end targets.Position, fs []targets.Finding, subject string) []targets.Finding {
	hole := slices.ContainsFunc(fs, func(f targets.Finding) bool { return f.Severity == targets.Warned })

	missing := slices.ContainsFunc(fs, func(f targets.Finding) bool { return f.Severity == targets.Failed })
	if !hole || missing { // what is missing is said already
		return nil
	}

	if slices.ContainsFunc(bases, func(b targets.Artifact) bool {
		_, from := timeline.Path(ls, b.From, end)
		_, until := timeline.Path(ls, b.Until, end)
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
func usable(ls []timeline.Timeline, bases []targets.Artifact, subject string) (good []targets.Artifact, rest []targets.Finding) {
	for _, b := range bases {
		l := timeline.Find(ls, b.From.Timeline)
		if l == nil || !l.Origin || b.From.Offset >= l.Offset {
			good = append(good, b)
			continue
		}
		rest = append(rest, targets.Finding{Check: "base-usable", Subject: subject, Severity: targets.Skipped,
			Expected: fmt.Sprintf("base %s, at %d, in the archived part of its log", b.ID, b.From.Offset), Got: fmt.Sprintf("archived from %d on", l.Offset),
			Detail: "the base is of no use, and nothing needs it; retention removes it with its age"})
	}

	return good, rest
}

// oldestBase is the index of the first base from which the position can be
// reached, through the timelines that its own descends from; -1 when none is.
func oldestBase(ls []timeline.Timeline, bases []targets.Artifact, to targets.Position) int {
	way := slices.Collect(timeline.NewIndex(ls).Back(to))

	return slices.IndexFunc(bases, func(b targets.Artifact) bool {
		return slices.ContainsFunc(way, func(s timeline.Step) bool { return s.ID == b.From.Timeline && b.Until.Offset <= s.UpTo })
	})
}

// maxText is how many bytes of a text of a finding are kept.
const maxText = 1024

// Worst are the first n findings, the failed ones first, with texts cut short.
func Worst(all []targets.Finding, n int) []targets.Finding {
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
