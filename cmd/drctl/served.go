package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"drctl/internal/engine"
	"drctl/internal/platform"
	"drctl/restore/served"
)

// servedWatch looks whether workers serve what a run waits for, and says it
// once of each queue that has none.
type servedWatch struct {
	s     *session
	run   client.WorkflowRun
	queue string // the run's own; "" until it is known
	next  time.Time
	said  []string // queues
}

func (s *session) watchServed(run client.WorkflowRun) *servedWatch {
	return &servedWatch{s: s, run: run}
}

// look asks about the queues of the run and of those of its activities that no
// worker has taken.
func (w *servedWatch) look(ctx context.Context, ps []engine.Pending) {
	if time.Now().Before(w.next) || w.s.own {
		return
	}
	w.next = time.Now().Add(askServed)

	queues := w.own(ctx)
	for _, p := range ps {
		if p.State == "scheduled" && p.LastFailure == "" && p.Queue != "" && !slices.Contains(queues, p.Queue) {
			queues = append(queues, p.Queue)
		}
	}

	for _, q := range queues {
		if slices.Contains(w.said, q) || !w.unserved(ctx, q) {
			continue
		}
		w.said = append(w.said, q)
		w.s.app.say(slog.LevelInfo, "nobody serves %s, which %s waits for; %s", q, w.run.GetID(), w.s.serve(q))
	}
}

// own is the run's queue.
func (w *servedWatch) own(ctx context.Context) []string {
	if w.queue == "" {
		st, err := engine.StateOf(ctx, w.s.engine, w.run.GetID())
		if err != nil {
			return nil
		}
		w.queue = st.Queue
	}

	return []string{w.queue}
}

func (w *servedWatch) unserved(ctx context.Context, queue string) bool {
	kind := enums.TASK_QUEUE_TYPE_ACTIVITY
	if queue == w.queue {
		kind = enums.TASK_QUEUE_TYPE_WORKFLOW
	}

	at, err := engine.Polled(ctx, w.s.engine, queue, kind)

	return err == nil && !engine.Served(at)
}

// dead reports whether the run cannot even hear that it is cancelled.
func (w *servedWatch) dead(ctx context.Context) bool {
	for _, q := range append(w.own(ctx), w.said...) {
		if w.unserved(ctx, q) {
			return true
		}
	}

	return false
}

// need says what must come before the run can end.
func (w *servedWatch) need() string {
	if len(w.said) > 0 {
		return "a worker serves " + strings.Join(w.said, " and ")
	}

	return "its clean-up is done; see: drctl status"
}

// serve says how a queue gets a worker.
func (s *session) serve(queue string) string {
	q, host, role := platform.QueueOf(queue)

	region := ""
	if s.cfg != nil {
		for _, r := range s.cfg.RegionNames() {
			if s.cfg.Regions[r].Queue == q {
				region = r
			}
		}
	}

	switch {
	case region == "":
		return "start the worker that serves it"
	case host == "" && (role == platform.Base || s.embedded()):
		return served.HowTo(s.embedded(), region)
	case host != "":
		return "start on " + host + ": " + platform.ServeWith(region, host, role)
	}

	return "start: " + platform.ServeWith(region, host, role)
}
