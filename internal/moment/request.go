package moment

import (
	"fmt"
	"slices"
	"time"

	"drctl/internal/fail"
	"drctl/internal/proof"
	"drctl/targets"
)

const opFind = "moment: find"

// Shard is a part of the group. Region and Instance go into the cut as they are.
type Shard struct {
	ID       targets.ShardID
	Kind     targets.Kind
	Region   string
	Instance string
}

// Policy says how the platform makes its global transactions known, and what a cut must be.
type Policy struct {
	// Modes are the modes (targets.ModeTagged ...); none: what the logs show decides.
	Modes []string `json:"modes,omitempty"`
	// Limit is how long a global transaction may be half done before it is called broken.
	Limit time.Duration `json:"limit_ns"`
	// GIDs maps gids of different shards to one transaction: see proof.Policy.
	GIDs string `json:"gids,omitempty"`
	// Grades are acceptable, the best first; none means all.
	Grades []targets.Grade `json:"grades,omitempty"`
	// Drift of clocks in parts in a million; 0 means clock.Drift.
	Drift int64 `json:"drift_ppm,omitempty"`
}

// Wish says which moment is wanted: one of the three.
type Wish struct {
	// Observer and Span want an instant within a time of one observer, such as a burst of
	// observations that was just stored: the one in the widest gap.
	Observer string
	Span     proof.Span
	// Around is the wall time of the span, about; zero is now.
	Around time.Time
	// At wants the last moment at or before a time.
	At time.Time
	// From and Until want all moments between two times.
	From, Until time.Time
}

// Request asks for a moment of a group.
type Request struct {
	Group  string
	Shards []Shard
	Policy Policy
	Wish   Wish
	// Holds are times in which the gate, or tables, were held; instants of Wish.Observer.
	Holds []proof.Hold
}

// longestWindow is how long the time between From and Until may be.
const longestWindow = 15 * time.Minute

func (r *Request) check() error {
	bad := func(format string, args ...any) error {
		return fail.Newf(fail.Invalid, opFind, r.Group, format, args...)
	}
	wishes, logs := 0, 0

	for _, wished := range []bool{r.Wish.Observer != "", !r.Wish.At.IsZero(), !r.Wish.Until.IsZero()} {
		if wished {
			wishes++
		}
	}

	switch {
	case wishes != 1:
		return bad("%d moments are wished for, and not one", wishes)
	case r.Policy.Limit <= 0:
		return bad("the limit of half-done global transactions must be positive")
	case r.Wish.Until.Sub(r.Wish.From) > longestWindow:
		return bad("a window of more than %s", longestWindow)
	}

	for _, s := range r.Shards {
		if err := s.ID.Check(); err != nil {
			return bad("%w", err)
		}

		if s.Kind == targets.Postgres {
			logs++
		}
	}

	if logs == 0 {
		return fail.New(fail.Unsupported, opFind, r.Group, "take the cut at a barrier", fmt.Errorf("the group has no shard whose log has a clock"))
	}

	return r.Policy.check()
}

func (p *Policy) check() error {
	for _, m := range p.Modes {
		if !slices.Contains([]string{targets.ModeTagged, targets.ModeTwoPhase, targets.ModeGate, targets.ModeLocks}, m) {
			return fail.Newf(fail.Invalid, opFind, "policy", "there is no mode %q", m)
		}
	}

	return nil
}

// grades are those that are acceptable. Where nobody said and nothing was locked, none is by locks.
func (r *Request) grades() (all []proof.Grade) {
	for _, g := range r.Policy.Grades {
		all = append(all, proof.Grade(g))
	}

	switch {
	case len(all) > 0:
		return all
	case slices.ContainsFunc(r.Holds, func(h proof.Hold) bool { return h.By == proof.ByLocks }):
		return []proof.Grade{proof.Proven, proof.Locked, proof.Ordered}
	}

	return []proof.Grade{proof.Proven, proof.Ordered}
}

// lead is the time in which a server tells of its open transactions, and as much for one that is long.
var lead = 30 * time.Second

// back is how far before an instant the log is read, at first.
func (p *Policy) back() time.Duration { return p.Limit + lead }

// decide turns the modes into what the search is to demand, by what the look shows
// where nobody said.
func (p *Policy) decide(look *proof.Look) (proof.Policy, []string) {
	modes := p.Modes
	if len(modes) == 0 {
		modes = shown(look)
	}
	has := func(m string) bool { return slices.Contains(modes, m) }

	return proof.Policy{Tagged: has(targets.ModeTagged), TwoPhase: has(targets.ModeTwoPhase), Gated: has(targets.ModeGate),
		Limit: int64(p.Limit), GIDs: p.GIDs, Drift: p.Drift}, modes
}

// shown are the modes that a look shows.
func shown(look *proof.Look) (modes []string) {
	tags, gids := false, false
	for _, s := range look.Stretches {
		for _, records := range [][]proof.Record{s.Earlier, s.Records} {
			for _, r := range records {
				tags = tags || len(r.Tags) > 0
				gids = gids || r.GID != "" || r.Kind == proof.CommitPrepared
			}
		}
	}

	if look.Base != nil { // what an earlier one has shown is not forgotten
		for _, k := range look.Base.Kept {
			tags, gids = tags || !k.TwoPhase, gids || k.TwoPhase
		}
	}

	if tags {
		modes = append(modes, targets.ModeTagged)
	}

	if gids {
		modes = append(modes, targets.ModeTwoPhase)
	}

	for _, h := range look.Holds {
		mode := map[string]string{proof.ByGate: targets.ModeGate, proof.ByLocks: targets.ModeLocks}[h.By]
		if !slices.Contains(modes, mode) {
			modes = append(modes, mode)
		}
	}

	return modes
}
