package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/progress"
)

func (a *app) scheduleCmd() *cobra.Command {
	c := &cobra.Command{Use: "schedule", Short: "List, pause and resume the schedules"}
	list := &cobra.Command{
		Use: "list", Short: "List the schedules of this platform", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.scheduleList(cmd.Context()) },
	}
	var all bool
	var reason string
	pause := &cobra.Command{
		Use: "pause [ID...]", Short: "Pause schedules; they stay paused until they are resumed, whatever is applied",
		RunE: func(cmd *cobra.Command, ids []string) error {
			return a.scheduleEach(cmd.Context(), ids, all, "paused", func(ctx context.Context, s *session, id string) error {
				return engine.PauseSchedule(ctx, s.engine, id, reason)
			})
		},
	}
	pause.Flags().StringVar(&reason, "reason", "", "why, for whoever finds it paused")
	resume := &cobra.Command{
		Use: "resume [ID...]", Short: "Resume paused schedules; what fell due meanwhile is not made up for",
		RunE: func(cmd *cobra.Command, ids []string) error {
			return a.scheduleEach(cmd.Context(), ids, all, "resumed", func(ctx context.Context, s *session, id string) error {
				return engine.ResumeSchedule(ctx, s.engine, id)
			})
		},
	}
	for _, x := range []*cobra.Command{pause, resume} {
		x.Flags().BoolVar(&all, "all", false, "all schedules of this platform")
	}
	c.AddCommand(list, pause, resume)
	return c
}

func (a *app) scheduleList(ctx context.Context) error {
	s, err := a.online(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	out, err := engine.Schedules(ctx, s.engine, s.cfg.Name)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(out)
	}
	rows := make([][]string, len(out))
	for i, x := range out {
		next := ""
		if !x.Next.IsZero() {
			next = x.Next.Local().Format(time.DateTime)
		}
		state := "active"
		if x.Paused {
			state = "PAUSED"
		}
		rows[i] = []string{x.ID, state, next, x.Note}
	}
	return progress.Table(a.out, []string{"SCHEDULE", "STATE", "NEXT", "NOTE"}, rows)
}

// scheduleEach does something to the schedules that are named, or to all. An id
// may be given without the platform's name before it.
func (a *app) scheduleEach(ctx context.Context, ids []string, all bool, did string, do func(context.Context, *session, string) error) error {
	if all == (len(ids) > 0) {
		return fail.New(fail.Invalid, "usage", "", "list them with: drctl schedule list", errors.New("name schedules, or give --all"))
	}
	s, err := a.online(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	have, err := engine.Schedules(ctx, s.engine, s.cfg.Name)
	if err != nil {
		return err
	}
	var names []string
	for _, x := range have {
		names = append(names, x.ID)
	}
	todo := names
	if !all {
		if todo, err = s.ownIDs("schedule", ids, names); err != nil {
			return err
		}
	}
	changes := []engine.Change{}
	for _, id := range todo {
		if err := do(ctx, s, id); err != nil {
			return err
		}
		changes = append(changes, engine.Change{ID: id, Action: did, Paused: did == "paused"})
		if !a.json {
			fmt.Fprintf(a.out, "%s: %s\n", id, did)
		}
	}
	if a.json {
		return a.printJSON(changes)
	}
	return nil
}

// ownIDs finds each of ids among the platform's own, where it stands as it is or
// with the platform's name before it. Nobody touches another platform's.
func (s *session) ownIDs(what string, ids, have []string) ([]string, error) {
	var out []string
	for _, id := range ids {
		if full := s.ids().Prefix() + id; slices.Contains(have, full) {
			id = full
		}
		if err := known(what, id, id, have); err != nil {
			return nil, err
		}
		out = append(out, id)
	}
	return out, nil
}
