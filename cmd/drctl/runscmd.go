package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/answer"
	"drctl/internal/engine"
	"drctl/internal/human"
	"drctl/internal/progress"
	"drctl/internal/ui"
)

func (a *app) runsCmd() *cobra.Command {
	c := &cobra.Command{Use: "runs", Short: "List, follow and cancel what runs in the engine"}
	list := &cobra.Command{
		Use: "list", Short: "List what runs of this platform", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runsList(cmd.Context()) },
	}
	attach := &cobra.Command{
		Use: "attach ID", Short: "Follow a run to its end; an interrupt leaves it running", Args: ui.OneArg("a run"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runsAttach(cmd.Context(), args[0], false) },
	}
	cancel := &cobra.Command{
		Use: "cancel ID", Short: "Cancel a run and wait for its clean-up; an interrupt leaves that to the engine", Args: ui.OneArg("a run"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runsAttach(cmd.Context(), args[0], true) },
	}
	c.AddCommand(list, attach, cancel)

	return c
}

func (a *app) runsList(ctx context.Context) error {
	s, err := a.online(ctx)
	if err != nil {
		return err
	}
	defer s.close()

	runs, err := engine.Running(ctx, s.engine, s.ids().Prefix())
	if err != nil {
		return err
	}

	if a.json {
		return a.printJSON(append([]engine.Run{}, runs...))
	}

	rows := make([][]string, len(runs))
	for i, r := range runs {
		rows[i] = []string{r.ID, r.Workflow, human.Duration(time.Since(r.Started)), r.Queue}
	}

	return progress.Table(a.out, []string{"RUN", "WORKFLOW", "FOR", "QUEUE"}, rows)
}

// runsAttach waits for a run, and cancels it first when that is asked for.
func (a *app) runsAttach(ctx context.Context, id string, cancel bool) error {
	s, err := a.online(ctx)
	if err != nil {
		return err
	}
	defer s.close()

	runs, err := engine.Running(ctx, s.engine, s.ids().Prefix())
	if err != nil {
		return err
	}
	byID := map[string]engine.Run{}

	var names []string
	for _, r := range runs {
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
