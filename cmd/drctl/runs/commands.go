package runs

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"drctl/internal/engine"
	"drctl/internal/engine/looked"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/progress"
	"drctl/internal/ui"
)

// Faces is what the commands need of the program.
type Faces struct {
	// Engine dials the configured engine. Ids of the platform's runs begin with prefix.
	Engine func(context.Context) (c client.Client, prefix string, done func(), err error)
	// Attach waits for a run, and cancels it first when that is asked for.
	Attach func(ctx context.Context, id string, cancel bool) error
	Out    io.Writer
	JSON   *bool
	Print  func(any) error
}

// Commands is the command with its subcommands.
func (f Faces) Commands() *cobra.Command {
	c := &cobra.Command{Use: "runs", Short: "List, show, follow and cancel what runs in the engine"}
	list := &cobra.Command{
		Use: "list", Short: "List what runs of this platform", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.list(cmd.Context()) },
	}
	show := &cobra.Command{
		Use: "show ID", Short: "Show what a run does, waits for, or how it ended", Args: ui.OneArg("a run"),
		Long: `Shows the newest run of an id: its state, what it waits for and since when, failed attempts
with their reasons, and who works on it. The engine keeps runs that have ended for a while.`,
		Example: "  drctl runs show recover/shop\n  drctl runs show backup/shop --json",
		RunE:    func(cmd *cobra.Command, args []string) error { return f.show(cmd.Context(), args[0]) },
	}
	attach := &cobra.Command{
		Use: "attach ID", Short: "Follow a run to its end; an interrupt leaves it running", Args: ui.OneArg("a run"),
		RunE: func(cmd *cobra.Command, args []string) error { return f.Attach(cmd.Context(), args[0], false) },
	}
	cancel := &cobra.Command{
		Use: "cancel ID", Short: "Cancel a run and wait for its clean-up; an interrupt leaves that to the engine", Args: ui.OneArg("a run"),
		RunE: func(cmd *cobra.Command, args []string) error { return f.Attach(cmd.Context(), args[0], true) },
	}
	c.AddCommand(list, show, attach, cancel)

	return c
}

func (f Faces) list(ctx context.Context) error {
	c, prefix, done, err := f.Engine(ctx)
	if err != nil {
		return err
	}
	defer done()

	all, err := engine.Running(ctx, c, prefix)
	if err != nil {
		return err
	}

	if *f.JSON {
		return f.Print(append([]engine.Run{}, all...))
	}

	rows := make([][]string, len(all))
	for i, r := range all {
		rows[i] = []string{r.ID, r.Workflow, human.Duration(time.Since(r.Started)), r.Queue}
	}

	return progress.Table(f.Out, []string{"RUN", "WORKFLOW", "FOR", "QUEUE"}, rows)
}

func (f Faces) show(ctx context.Context, id string) error {
	c, prefix, done, err := f.Engine(ctx)
	if err != nil {
		return err
	}
	defer done()

	if !strings.HasPrefix(id, prefix) {
		id = prefix + id
	}

	r, err := looked.At(ctx, c, id)
	if fail.Is(err, fail.NotFound) {
		var names []string

		all, _ := engine.Running(ctx, c, prefix)
		for _, x := range all {
			names = append(names, x.ID)
		}

		return fail.New(fail.Invalid, "usage", id, human.Suggest(id, names), fmt.Errorf("there is no run %q, or the engine does not keep it any more", id))
	}

	if err != nil {
		return err
	}

	if *f.JSON {
		return f.Print(r)
	}

	return Write(f.Out, r, time.Now())
}

// Write writes a run for people.
func Write(out io.Writer, r looked.Run, now time.Time) error {
	end := now
	if !r.Ended.IsZero() {
		end = r.Ended
	}

	fmt.Fprintf(out, "%s: %s, %s, since %s (%s)\n", r.ID, r.Workflow, r.State, r.Started.UTC().Format(time.DateTime+" UTC"), human.Duration(end.Sub(r.Started)))
	fmt.Fprintf(out, "run %s, queue %s, %s in its history\n", r.RunID, r.Queue, human.Plural(int(r.Events), "event"))

	if !r.Ended.IsZero() {
		fmt.Fprintf(out, "ended %s\n", r.Ended.UTC().Format(time.DateTime+" UTC"))
	}

	if !r.Limit.IsZero() {
		fmt.Fprintf(out, "the engine ends it at %s\n", r.Limit.UTC().Format(time.DateTime+" UTC"))
	}

	if r.Error != "" {
		fmt.Fprintf(out, "%s\n", human.Clean(r.Error))
	}

	if len(r.Pending) == 0 {
		if r.State == "running" {
			fmt.Fprintln(out, "no activity runs or waits to run: it waits for a timer, a signal or its own worker")
		}

		return nil
	}
	rows := make([][]string, len(r.Pending))

	for i, p := range r.Pending {
		b := p.Beat()

		what := p.Activity
		if b.Shard != "" {
			what += " " + b.Shard
		}

		rows[i] = []string{what, doing(p, b), human.Duration(now.Sub(p.Scheduled)), fmt.Sprint(p.Attempt), p.Queue, p.Worker}
	}

	if err := progress.Table(out, []string{"ACTIVITY", "STATE", "FOR", "ATTEMPT", "QUEUE", "WORKER"}, rows); err != nil {
		return err
	}

	for _, p := range r.Pending {
		if p.LastFailure != "" {
			fmt.Fprintf(out, "%s: the attempt before failed: %s\n", p.Activity, human.Clean(p.LastFailure))
		}

		if !p.NextAttempt.IsZero() && p.NextAttempt.After(now) {
			fmt.Fprintf(out, "%s: tried again in %s\n", p.Activity, human.Duration(p.NextAttempt.Sub(now)))
		}
	}

	return nil
}

// doing is what an activity does, as far as it says so.
func doing(p engine.Pending, b engine.Beat) string {
	switch {
	case p.State == "scheduled" && p.NextAttempt.IsZero():
		return "no worker has it"
	case b.Phase != "":
		return p.State + ", " + b.Phase
	}

	return p.State
}
