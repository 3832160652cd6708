package watch

import (
	"fmt"
	"time"

	"drctl/targets"
)

// State is what a watcher does at a moment.
type State struct {
	Observer string
	// Failing are the shards that are not observed, in order; Observed counts the others.
	Failing  []Failing
	Observed int
	// Trouble says what is wrong with keeping what was observed; "" is nothing.
	Trouble string
}

// Failing is a shard that is not observed.
type Failing struct {
	Shard targets.ShardID
	Since time.Time
	Err   string
}

// State tells what the watcher does now.
func (w *Watcher) State() State {
	st := State{Observer: w.by.Name(), Trouble: w.keep.state()}

	for _, s := range w.seats {
		err := s.why()
		if err == nil {
			st.Observed++
			continue
		}

		s.mu.Lock()
		since := s.since
		s.mu.Unlock()
		st.Failing = append(st.Failing, Failing{Shard: s.Shard.Shard, Since: since, Err: inALine(err)})
	}

	return st
}

// state says what is wrong; "" is nothing.
func (k *keeper) state() string {
	k.mu.Lock()
	defer k.mu.Unlock()

	text := ""
	if k.trouble != nil {
		text = inALine(k.trouble)
	}

	if k.lost > 0 {
		text = fmt.Sprintf("%d batches of observations are lost, the newest of %s; %s", k.lost, k.lostAt.Format(time.RFC3339), text)
	}

	return text
}
