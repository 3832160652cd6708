package choices

import (
	"slices"
	"sync"
	"time"

	"drctl/restore/ahead"
	"drctl/restore/losses"
	"drctl/restore/moments"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/targets/handover"
)

// facts are what was found out. What was not told within the limit is not there.
type facts struct {
	mu     *sync.Mutex
	at     time.Time
	limit  time.Duration
	shards []shard
	past   timed
	latest found
	sealed found
	// noVault is set when no vault answers.
	noVault error
	notes   []string
}

// found is a moment, and whether anybody has answered.
type found struct {
	moments.Latest
	err  error
	told bool
}

// place is where a server stands, by itself.
type place struct {
	at    targets.Position // zero of an old side that takes no writes
	when  time.Time
	heard *handover.Heard
	err   error
	told  bool
}

// shard is what is known of one that has a log.
type shard struct {
	id           targets.ShardID
	kind         targets.Kind
	standby, old place
	// line and path are what the vault has beyond the standby.
	line     ahead.Line
	path     []targets.Span
	lineErr  error
	lineTold bool
	lost     losses.Shard
	lostTold bool
}

// reach is where the shard's log would end with newest: where its standby stands, or the vault
// beyond it. Zero when it is not known.
func (s shard) reach() targets.Position {
	switch {
	case !s.standby.told || s.standby.err != nil:
		return targets.Position{}
	case s.lineTold && s.lineErr == nil && len(s.path) > 0:
		return s.line.At
	}

	return s.standby.at
}

// newFacts are those of the shards that a failover would promote.
func newFacts(a Ask, limit time.Duration) *facts {
	f := &facts{mu: &sync.Mutex{}, at: time.Now().UTC(), limit: limit}

	for _, p := range a.Plans {
		for _, s := range p.Definition.Steps {
			if s.Do != plan.OpPromote || !s.Kind.Traits().Log || slices.ContainsFunc(f.shards, func(o shard) bool { return o.id == s.On }) {
				continue
			}
			f.shards = append(f.shards, shard{id: s.On, kind: s.Kind})
		}
	}

	return f
}

// keep changes the facts.
func (f *facts) keep(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()

	change()
}

// seen is a copy of what is known by now.
func (f *facts) seen() facts {
	f.mu.Lock()
	defer f.mu.Unlock()

	out := *f
	out.shards, out.notes = slices.Clone(f.shards), slices.Clone(f.notes)

	return out
}
