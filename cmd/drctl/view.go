package main

import (
	"encoding/json"
	"fmt"

	"drctl/activities"
	"drctl/internal/engine"
	"drctl/internal/progress"
)

// view shows the pending activities of a run on standard error.
type view struct {
	d    *progress.Display
	seen map[string]bool
}

func (a *app) progressView() *view {
	return &view{seen: map[string]bool{}, d: a.display()}
}

// display shows progress on standard error.
func (a *app) display() *progress.Display {
	return progress.New(a.err, progress.Options{TTY: tty(a.err), NoColor: a.noColor, JSON: a.json})
}

// update shows what the activities said with their last beats. An activity
// that is no longer pending is done; the result says how it ended.
func (v *view) update(ps []engine.Pending) {
	now := map[string]bool{}
	for _, p := range ps {
		var b activities.Beat
		_ = json.Unmarshal(p.Details, &b) // an activity that has not beaten yet has none
		name := p.Activity
		if b.Shard != "" {
			name = b.Shard
		}
		now[name] = true
		row := progress.Row{Name: name, Phase: b.Phase, Done: b.Done, Total: b.Total, Detail: b.Detail}
		if p.Attempt > 1 {
			row.Detail = fmt.Sprintf("attempt %d after: %s", p.Attempt, p.LastFailure)
		}
		v.seen[name] = true
		v.d.Set(row)
	}
	for name := range v.seen {
		if !now[name] {
			delete(v.seen, name)
			v.d.Finish(name, nil)
		}
	}
}

func (v *view) finish() { v.d.Close() }
