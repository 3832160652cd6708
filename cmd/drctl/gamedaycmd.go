package main

import (
	"context"
	"errors"
	"log/slog"

	"drctl/cmd/drctl/configured"
	"drctl/cmd/drctl/gamedays"
	"drctl/cmd/drctl/serve"
	"drctl/internal/engine"
	"drctl/internal/fail"
)

// gameDays are the commands of drills on the servers themselves.
func (a *app) gameDays() gamedays.Faces {
	return gamedays.Faces{Out: a.out, Err: a.err, JSON: &a.json, By: serve.Person, Faults: serve.Faults,
		Offline: func() (*configured.Platform, *slog.Logger, error) {
			s, err := a.offline()
			if err != nil {
				return nil, nil, err
			}

			return s.p, s.log, nil
		},
		Run: func(ctx context.Context, id, name, queue string, in, out any) error {
			s, err := a.online(ctx)
			if err != nil {
				return err
			}
			defer s.close()

			run, err := start(ctx, s.engine, id, name, queue, false, in)
			if err != nil {
				return err
			}

			return s.wait(ctx, run, true, out)
		},
		Cancel: func(ctx context.Context, id string) error {
			s, err := a.online(ctx)
			if err != nil {
				return err
			}
			defer s.close()

			runs, err := engine.Running(ctx, s.engine, id)
			if err != nil {
				return err
			}

			for _, r := range runs {
				if r.ID == id {
					run := s.engine.GetWorkflow(ctx, id, r.RunID)
					return errors.Join(s.cancel(ctx, run), s.wait(ctx, run, false, nil))
				}
			}

			return fail.Newf(fail.NotFound, "drill", id, "it does not run")
		}}
}

// gameDay holds one on the configured engine. given are flags of restores, and whether they were given.
func (a *app) gameDay(ctx context.Context, s *session, yes bool, name, trigger string, given map[string]bool) error {
	if err := gamedays.WithoutEffect(given); err != nil {
		return err
	}

	out, err := a.gameDays().Hold(ctx, name, trigger, yes)
	if err != nil {
		return err
	}

	return a.drillView().Done(ctx, s.p, out)
}
