package main

import (
	"context"
	"log/slog"
	"time"

	"drctl/restore/readiness"
)

const (
	// watchEvery is how often drctl up and a worker look for problems.
	watchEvery = 30 * time.Second
	// watchSoon is how often they look in the first watchBegin, when most that
	// is wrong shows.
	watchSoon  = 5 * time.Second
	watchBegin = time.Minute
	// mendedAfter is in how many looks in a row a problem must be gone before
	// that is said: one that comes and goes is not told each time.
	mendedAfter = 3
)

// watch keeps what was last said of every problem, so that each is logged when
// it appears, when its reason changes and when it is gone, and not each time
// that something is tried again.
type watch struct {
	log  *slog.Logger
	said map[string]*saidProblem // by code and subject
}

type saidProblem struct {
	problem readiness.Problem
	reasons map[string]bool // that were given for it
	gone    int             // looks in a row in which it was not there
}

func newWatch(log *slog.Logger) *watch { return &watch{log: log, said: map[string]*saidProblem{}} }

// tell logs what has changed.
func (w *watch) tell(ctx context.Context, ps []readiness.Problem) {
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
			w.log.Log(ctx, p.LogLevel(), p.Short(), p.LogAttrs()...)
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

// problems asks what is cheap to ask, of every group, and judges it. With a
// region it says what concerns that region alone.
func (s *session) problems(ctx context.Context, region string) []readiness.Problem {
	var out []readiness.Problem

	seen := map[string]bool{} // what concerns several groups is one problem
	for _, name := range s.cfg.GroupNames() {
		g, err := s.p.Group(name)
		if err != nil {
			out = append(out, readiness.Problem{Code: "configuration", Severity: readiness.Critical, Subject: name, What: "the group " + name + " cannot be described"}.Because(err))
			continue
		}

		found := readiness.Gather(ctx, s.sources(), g, readiness.Scope{Shallow: true, Region: region}).Judge()
		for _, p := range readiness.Lasting(found, region, g.Home) {
			if key := p.Code + " " + p.Subject + " " + p.Why; !seen[key] {
				seen[key] = true
				out = append(out, p)
			}
		}
	}

	return out
}

// watching looks for problems until ctx ends. The engine is dialled anew when
// it has been away.
func (s *session) watching(ctx context.Context, w *watch, region string) {
	defer s.close()

	begin := time.Now()
	for {
		every := watchEvery
		if time.Since(begin) < watchBegin {
			every = watchSoon
		}

		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}

		if s.engine == nil {
			s.redial(ctx)
		}

		ps := s.problems(ctx, region)
		if ctx.Err() != nil {
			return // what did not answer was cut off
		}

		w.tell(ctx, ps)
	}
}

// redialLimit is how long an engine may take to answer anew.
const redialLimit = 5 * time.Second

func (s *session) redial(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, redialLimit)
	defer cancel()
	s.engine, s.engineErr = dial(ctx, s.cfg, slog.New(slog.DiscardHandler))
}

// withoutEngine are the problems that can be told before there is an engine.
func withoutEngine(ps []readiness.Problem) []readiness.Problem {
	var out []readiness.Problem
	for _, p := range ps {
		if p.Code != "engine-unreachable" {
			out = append(out, p)
		}
	}

	return out
}
