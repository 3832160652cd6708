package told

import (
	"context"
	"log/slog"
	"time"

	"drctl/restore/readiness"
)

// mendedAfter is in how many looks in a row a problem must be gone before
// that is said: one that comes and goes is not told each time.
const mendedAfter = 3

// Problems keeps what was last said of every problem, so that each is logged when
// it appears, when its reason changes and when it is gone, and not each time
// that something is tried again. It is for one goroutine at a time.
type Problems struct {
	log  *slog.Logger
	said map[string]*saidProblem // by code and subject
}

type saidProblem struct {
	problem readiness.Problem
	reasons map[string]bool // that were given for it
	gone    int             // looks in a row in which it was not there
}

// New has said nothing yet.
func New(log *slog.Logger) *Problems { return &Problems{log: log, said: map[string]*saidProblem{}} }

// Tell logs what has changed since it was called last.
func (w *Problems) Tell(ctx context.Context, ps []readiness.Problem) {
	now := map[string]bool{}
	for _, p := range ps {
		key := p.Key()
		now[key] = true

		was := w.said[key]
		if was == nil {
			was = &saidProblem{reasons: map[string]bool{}}
			w.said[key] = was
		}

		if !was.reasons[p.Reason()] {
			w.log.Log(ctx, level(p), p.Short(), attrs(p)...)
		}
		was.problem, was.gone, was.reasons[p.Reason()] = p, 0, true
	}

	for key, was := range w.said {
		if now[key] {
			continue
		}

		if was.gone++; was.gone >= mendedAfter {
			delete(w.said, key)
			w.log.Info("no longer: "+was.problem.Short(), "code", was.problem.Code, "subject", was.problem.Subject)
		}
	}
}

// level is the level of a problem in the log.
func level(p readiness.Problem) slog.Level {
	if p.Severity == readiness.Critical {
		return slog.LevelError
	}

	return slog.LevelWarn
}

// attrs are the keys and values, in turn, of a problem in the log.
func attrs(p readiness.Problem) []any {
	out := []any{"code", p.Code, "subject", p.Subject}
	for _, a := range []struct{ key, value string }{{"why", p.Why}, {"detail", p.Detail}, {"next", p.Next}} {
		if a.value != "" {
			out = append(out, a.key, a.value)
		}
	}

	if !p.Since.IsZero() {
		out = append(out, "since", p.Since.UTC().Format(time.RFC3339))
	}

	return out
}
