package main

import (
	"context"
	"fmt"

	"drctl/internal/engine"
	"drctl/internal/logs"
	"drctl/internal/progress"
	"drctl/internal/ui"
)

// view shows the pending activities of a run on standard error.
type view struct {
	d      *progress.Display
	prefix string // of the rows' names, where they are not the command's own run
	// outcome says how an activity ended that is no longer pending, when that
	// is known.
	outcome func(context.Context, engine.Pending) (known bool, err error)
	seen    map[string]engine.Pending // by row
}

func (s *session) progressView() *view {
	return &view{seen: map[string]engine.Pending{}, d: s.app.display(), outcome: func(ctx context.Context, p engine.Pending) (bool, error) {
		return engine.Outcome(ctx, s.engine, p)
	}}
}

// display shows progress on standard error, which has nothing but records where
// the log is JSON.
func (a *app) display() *progress.Display {
	return progress.New(a.err, progress.Options{TTY: ui.IsTerminal(a.err), NoColor: a.noColor, JSON: a.json || a.logFormat == logs.JSON})
}

// update shows what the activities said with their last beats, and how those
// ended that are no longer pending. One whose end is not known yet stays as it
// was until the next update.
func (v *view) update(ctx context.Context, ps []engine.Pending) {
	now := map[string]bool{}
	for _, p := range ps {
		b := p.Beat()

		name := p.Activity
		if b.Shard != "" {
			name = b.Shard
		}
		name = v.prefix + name
		now[name] = true

		row := progress.Row{Name: name, Phase: b.Phase, Done: b.Done, Total: b.Total, Detail: b.Detail}
		if p.Attempt > 1 {
			row.Detail = fmt.Sprintf("attempt %d after: %s", p.Attempt, p.LastFailure)
		}
		v.seen[name] = p
		v.d.Set(row)
	}

	for name, p := range v.seen {
		if now[name] {
			continue
		}

		if known, err := v.outcome(ctx, p); known {
			delete(v.seen, name)
			v.d.Finish(name, err)
		}
	}
}

// finish shows the last: the run has ended, and all that belonged to it.
func (v *view) finish(ctx context.Context) {
	v.update(ctx, nil)
	v.d.Close()
}
