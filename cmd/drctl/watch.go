package main

import (
	"context"
	"log/slog"
	"time"

	"drctl/cmd/drctl/told"
	"drctl/restore/readiness"
)

const (
	// watchEvery is how often drctl up and a worker look for problems.
	watchEvery = 30 * time.Second
	// watchSoon is how often they look in the first watchBegin, when most that
	// is wrong shows.
	watchSoon  = 5 * time.Second
	watchBegin = time.Minute
)

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
func (s *session) watching(ctx context.Context, w *told.Problems, region string) {
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

		w.Tell(ctx, ps)
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
