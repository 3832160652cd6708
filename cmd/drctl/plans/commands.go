package plans

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/answer"
	"drctl/cmd/drctl/choosing"
	"drctl/config"
	"drctl/drills/simulate"
	"drctl/internal/atomicfile"
	"drctl/internal/fail"
	"drctl/internal/progress"
	"drctl/internal/report/dag"
	"drctl/internal/ui"
	"drctl/internal/vault"
	"drctl/restore/choices"
	"drctl/restore/failover"
	"drctl/restore/plan"
)

// Faces is what the commands need of the program.
type Faces struct {
	Load func() (*config.Config, error)
	Out  io.Writer
	JSON *bool
	// Vaults opens the vaults of a group that answer; nil opens those of the configuration.
	Vaults func(ctx context.Context, group string) (vault.Set, error)
	// Foresee foresees both ways of a failover; nil asks what the configuration names.
	Foresee func(ctx context.Context, cfg *config.Config, a choices.Ask) choices.Table
}

// print prints a value as JSON, or what text writes.
func (f Faces) print(v any, text func() error) error {
	if *f.JSON {
		return ui.PrintJSON(f.Out, v)
	}

	return text()
}

// NoWitness says what a plan lacks where there are fewer than three voters.
const NoWitness = "There is no witness: nothing keeps another engine from a recovery of the group at the same time, and no guard can prove that a region is silent."

// Command is "drctl plan".
func (f Faces) Command() *cobra.Command {
	c := &cobra.Command{Use: "plan", Short: "The recovery plans between regions: show, check, compare, foresee"}
	c.AddCommand(f.show(), f.lint(), f.diff(), f.forecast(), f.history())

	return c
}

func (f Faces) show() *cobra.Command {
	var s Wanted
	var svg string
	c := &cobra.Command{
		Use: "show", Short: "Show the plan of a switchover, failover or failback", Args: cobra.NoArgs,
		Long: `Shows the plan that is derived from the configuration, with what --extra adds and
changes, and what its past runs and drills say of it. The hash changes with every edit, and with
nothing else.

Of a failover it shows both choices side by side: what each would lose now and how long it
would take, as far as the standbys and the vaults that answer say. Nothing is changed.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, t, err := f.derive(s)
			if err != nil {
				return err
			}

			if svg != "" {
				return picture(svg, d)
			}

			shown := answer.PlanShown{Definition: d}
			if shown.Choices, err = f.choices(cmd.Context(), s, d); err != nil {
				return err
			}

			return f.print(shown, func() error {
				fmt.Fprintf(f.Out, "%s, %d steps, plan %s\n", title(d), len(d.Steps), d.Hash())

				if !t.Witness {
					fmt.Fprintln(f.Out, NoWitness)
				}

				if err := f.tell(cmd.Context(), d); err != nil {
					return err
				}

				if shown.Choices != nil {
					if err := choosing.Print(f.Out, *shown.Choices); err != nil {
						return err
					}
				}

				fmt.Fprintln(f.Out)
				head, rows := table(d)

				return progress.Table(f.Out, head, rows)
			})
		},
	}
	s.Flags(c)
	c.Flags().StringVar(&svg, "svg", "", "write a picture of the plan to this file")

	return c
}

func (f Faces) derive(s Wanted) (plan.Definition, failover.Topology, error) {
	cfg, err := f.Load()
	if err != nil {
		return plan.Definition{}, failover.Topology{}, err
	}

	return s.Plan(cfg, nil)
}

// choices are both ways of a failover, as they are foreseen; nil of other plans.
func (f Faces) choices(ctx context.Context, s Wanted, d plan.Definition) (*choices.Table, error) {
	if d.Mode != plan.ModeFailover {
		return nil, nil
	}

	cfg, err := f.Load()
	if err != nil {
		return nil, err
	}

	foresee := f.Foresee
	if foresee == nil {
		foresee = choosing.Foresee
	}
	t := foresee(ctx, cfg, s.Both(cfg, d, nil))

	return &t, nil
}

// tell says what is known of a plan.
func (f Faces) tell(ctx context.Context, d plan.Definition) error {
	cfg, err := f.Load()
	if err == nil {
		Tell(ctx, f.Out, f.vaults(cfg), cfg, d)
	}

	return err
}

func title(d plan.Definition) string {
	t := fmt.Sprintf("%s: %s from %s to %s", d.Group, d.Mode, d.From, d.To)
	if d.Choice != "" {
		t += " (" + string(d.Choice) + ")"
	}

	return t
}

func picture(path string, d plan.Definition) error {
	var b bytes.Buffer
	if err := dag.SVG(&b, title(d), boxes(d)); err != nil {
		return err
	}

	return atomicfile.Write(path, b.Bytes(), 0o644)
}

func (f Faces) lint() *cobra.Command {
	var s Wanted
	c := &cobra.Command{
		Use: "lint [FILE]", Short: "Find what is wrong with a plan, or with one in a file", Args: cobra.MaximumNArgs(1),
		Long: `Finds circles, steps that nobody can run, a promotion without proof of silence or without
all log, clients let go too early, what could be undone too late, and what is left out.
Exit status 4 when the plan must not run.`,
		RunE: func(_ *cobra.Command, args []string) error {
			d, t, err := f.derive(s)
			if err == nil && len(args) == 1 {
				d, err = definition(args[0])
			}

			if err != nil {
				return err
			}
			found := failover.Lint(d, t)

			if err := f.print(found, func() error { return problems(f.Out, d, found) }); err != nil {
				return err
			}

			if failover.HasErrors(found) {
				return fail.Newf(fail.Unverified, "plan lint", d.Group, "the plan must not run as it is")
			}

			return nil
		},
	}
	s.Flags(c)

	return c
}

func problems(w io.Writer, d plan.Definition, found []failover.Problem) error {
	var rows [][]string

	for _, p := range found {
		weight := "look"
		if p.Error {
			weight = "ERROR"
		}
		rows = append(rows, []string{weight, p.Step, p.Text})
	}

	if len(rows) == 0 {
		_, err := fmt.Fprintf(w, "%s, %d steps: nothing found\n", title(d), len(d.Steps))
		return err
	}

	return progress.Table(w, []string{"", "STEP", "WHAT"}, rows)
}

func (f Faces) diff() *cobra.Command {
	var s Wanted
	c := &cobra.Command{
		Use: "diff FILE [FILE]", Short: "Compare a kept plan with today's, or two kept ones", Args: cobra.RangeArgs(1, 2),
		Long: "Compares plans that plan show --json has printed. Exit status 4 when they differ.",
		RunE: func(_ *cobra.Command, args []string) error {
			was, err := definition(args[0])
			if err != nil {
				return err
			}

			var is plan.Definition
			if len(args) == 2 {
				is, err = definition(args[1])
			} else {
				is, _, err = f.derive(s)
			}

			if err != nil {
				return err
			}
			changes := failover.Diff(was, is)

			if err := f.print(changes, func() error { return differences(f.Out, changes) }); err != nil {
				return err
			}

			if len(changes) > 0 {
				return fail.Newf(fail.Unverified, "plan diff", is.Group, "the plans differ, and drills of %.12s say nothing of %.12s", was.Hash(), is.Hash())
			}

			return nil
		},
	}
	s.Flags(c)

	return c
}

func differences(w io.Writer, changes []failover.Difference) error {
	var rows [][]string

	for _, c := range changes {
		what := c.Field
		if what == "" && c.Was == "" {
			what = "added"
		} else if what == "" {
			what = "gone"
		}
		rows = append(rows, []string{c.Step, what, c.Was, c.Is})
	}

	return progress.Table(w, []string{"STEP", "WHAT", "WAS", "IS"}, rows)
}

// Simulate is "drctl drill simulate".
func (f Faces) Simulate() *cobra.Command {
	var s Wanted
	var g game
	c := &cobra.Command{
		Use: "simulate", Short: "Play a plan at the table: thousands of schedules with faults in every step", Args: cobra.NoArgs,
		Long: `Plays the plan through the interpreter of the real day against simulated stores, vaults,
guards, routes and people, with faults in every step. Nothing is touched. A schedule is
found again by its seed: --seed N --schedules 1 tells it step by step.
Exit status 4 when something was that must never be.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.simulate(cmd.Context(), s, g) },
	}
	s.Flags(c)
	c.Flags().Uint64Var(&g.first, "seed", 1, "first seed; 0 is the schedule in which nothing goes wrong")
	c.Flags().IntVar(&g.schedules, "schedules", 10000, "how many seeds are played")
	c.Flags().StringVar(&g.bug, "plant", "", "plant a bug, to see that it is found: "+strings.Join(sorted(simulate.Bugs), ", "))

	return c
}

// game is how a plan is played.
type game struct {
	first     uint64
	schedules int
	bug       string
}

func (f Faces) simulate(ctx context.Context, s Wanted, g game) error {
	d, t, err := f.derive(s)
	if err != nil {
		return err
	}

	if g.bug != "" && !slices.Contains(simulate.Bugs, simulate.Bug(g.bug)) || g.schedules < 1 {
		return fail.Newf(fail.Invalid, "flags", "--plant, --schedules", "plant one of %s, and play one schedule at least", strings.Join(sorted(simulate.Bugs), ", "))
	}

	table, err := simulate.Lay(d, t, d.Mode, simulate.Bug(g.bug))
	if err != nil {
		return err
	}

	if g.schedules == 1 {
		r := table.Play(g.first, true)
		if err := f.print(r, func() error { return told(f.Out, r) }); err != nil {
			return err
		}

		return judged(d, len(r.Violated))
	}

	sum, err := table.Many(ctx, g.first, g.schedules)
	if err != nil {
		return fail.FromContext("drill simulate", d.Group, err)
	}

	if err := f.print(sum, func() error { return summed(f.Out, d, sum) }); err != nil {
		return err
	}

	return judged(d, sum.Violated)
}

func judged(d plan.Definition, violated int) error {
	if violated == 0 {
		return nil
	}

	return fail.Newf(fail.Unverified, "drill simulate", d.Group, "what must never be was, in %d schedules", violated)
}

func told(w io.Writer, r simulate.Result) error {
	for _, line := range r.Trace {
		fmt.Fprintln(w, line)
	}
	_, err := fmt.Fprintf(w, "seed %d: %s after %d events and %d faults\n", r.Seed, r.Verdict, r.Events, r.Faults)

	return err
}

func summed(w io.Writer, d plan.Definition, s simulate.Summary) error {
	fmt.Fprintf(w, "%s, plan %.12s: %d schedules from seed %d, %d faults\n", title(d), s.Definition, s.Schedules, s.FirstSeed, s.Faults)
	fmt.Fprintf(w, "reached %d, taken back %d, given up by people in between %d, VIOLATED %d\n", s.Reached, s.TakenBack, s.Parted, s.Violated)

	for _, f := range s.Findings {
		fmt.Fprintf(w, "seed %d: %s\n", f.Seed, strings.Join(f.Violated, "; "))
	}

	return nil
}
