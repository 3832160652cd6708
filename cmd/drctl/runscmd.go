package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"drctl/cmd/drctl/answer"
	"drctl/cmd/drctl/runs"
	"drctl/internal/engine"
)

func (a *app) runsCmd() *cobra.Command {
	return runs.Faces{Out: a.out, JSON: &a.json, Print: a.printJSON, Attach: a.runsAttach, Engine: func(ctx context.Context) (client.Client, string, func(), error) {
		s, err := a.online(ctx)
		if err != nil {
			return nil, "", nil, err
		}

		return s.engine, s.ids().Prefix(), s.close, nil
	}}.Commands()
}

// runsAttach waits for a run, and cancels it first when that is asked for.
func (a *app) runsAttach(ctx context.Context, id string, cancel bool) error {
	s, err := a.online(ctx)
	if err != nil {
		return err
	}
	defer s.close()

	all, err := engine.Running(ctx, s.engine, s.ids().Prefix())
	if err != nil {
		return err
	}
	byID := map[string]engine.Run{}

	var names []string
	for _, r := range all {
		byID[r.ID] = r
		names = append(names, r.ID)
	}

	ids, err := s.ownIDs("run", []string{id}, names)
	if err != nil {
		return err
	}

	run := s.engine.GetWorkflow(ctx, ids[0], byID[ids[0]].RunID)
	if cancel {
		a.say(slog.LevelInfo, "cancelling %s and cleaning up; interrupt to leave that to the engine", ids[0])

		if err := s.cancel(ctx, run); err != nil {
			return err
		}
	}

	err = s.wait(ctx, run, false, nil)
	if cancel && ctx.Err() == nil && errors.Is(err, context.Canceled) {
		err = nil
	}

	if err != nil {
		return err
	}

	if a.json {
		return a.printJSON(answer.Started{WorkflowID: run.GetID(), RunID: run.GetRunID()})
	}

	fmt.Fprintf(a.out, "%s has ended\n", run.GetID())

	return nil
}
