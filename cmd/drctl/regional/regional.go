package regional

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"drctl/cmd/drctl/configured"
	"drctl/cmd/drctl/plans"
	"drctl/cmd/drctl/reconciling"
	"drctl/config"
	"drctl/internal/fail"
	"drctl/internal/ui"
	"drctl/internal/vault"
	"drctl/restore/failover"
	"drctl/restore/inventory"
	"drctl/restore/machine"
	"drctl/restore/plan"
	"drctl/workflows"
	"drctl/workflows/recovery"
)

// Engine is an engine with the platform that its workers serve.
type Engine struct {
	Client   client.Client
	Platform *configured.Platform
	IDs      workflows.IDs
	Close    func()
}

// Faces is what the commands need of the program.
type Faces struct {
	Load     func() (*config.Config, error)
	Out, Err io.Writer
	JSON     *bool
	// Online connects to the platform's engine, Embedded starts one of this command's own.
	Online   func(ctx context.Context) (Engine, error)
	Embedded func(ctx context.Context, bin string) (Engine, error)
	// Start starts a workflow; one that runs under this id already is a conflict.
	Start func(ctx context.Context, c client.Client, id, name, queue string, arg any) (client.WorkflowRun, error)
	// Say tells a person something beside the answer.
	Say func(level slog.Level, format string, args ...any)
	// By is who runs the command.
	By func() string
}

// Commands are all of them.
func (f Faces) Commands() []*cobra.Command {
	home := f.kind(plan.ModeFailback, "Go home again",
		`A switchover home, after the instances there follow the present primaries again.`)
	home.AddCommand(f.Reconciling().Command())

	return []*cobra.Command{f.kind(plan.ModeSwitchover, "Leave a region for another, with nothing lost",
		`Makes the servers of the other region the primaries: clients are kept waiting, the old
primaries are stopped in order, the standbys show that they hold the very last record,
are promoted, and the routes lead there. What fails before the first promotion is taken
back by itself.`),
		f.kind(plan.ModeFailover, "Bring a group up in another region when its own is lost",
			`Promotes the standbys of the other region, after what the vault has beyond them was fed
to them. Nothing is promoted before it is proven that the old side is silent: by the
program that policy names, or by a person who has made sure and says so
(drctl recovery answer STEP vouch --reason ...).`),
		home, f.recovery()}
}

// Reconciling are the commands that bring together what went on separately.
func (f Faces) Reconciling() reconciling.Faces {
	return reconciling.Faces{Load: f.Load, Out: f.Out, Err: f.Err, JSON: f.JSON, Say: f.Say}
}

// running are the flags of a run.
type running struct {
	plans.Wanted
	engine, engineBin string
	hook              []string
	vouch             string
	yes               bool
}

func (f Faces) kind(m plan.Mode, short, long string) *cobra.Command {
	c := &cobra.Command{Use: string(m), Short: short}
	r := running{Wanted: plans.Wanted{Mode: string(m)}}
	run := &cobra.Command{Use: "run", Short: short, Long: long, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), r) }}
	r.Flags(run)
	fl := run.Flags()
	r.engines(run)

	if m == plan.ModeFailover {
		fl.StringArrayVar(&r.hook, "fence", nil, "program, then each argument, that takes power or network from a server: it is told which by $DRCTL_INSTANCE, $DRCTL_ADDRESS, $DRCTL_SHARD and $DRCTL_REGION, and its success is proof of silence")
		fl.StringVar(&r.vouch, "vouch", "", "where no --fence does it: your statement that the servers of the region that is left take no writes and cannot come back to take any, and how you made sure; it is recorded with your name")
	}

	c.AddCommand(run)

	return c
}

// engines are the flags of what runs it.
func (r *running) engines(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&r.engine, "engine", "configured", "configured, or embedded: an engine of its own, for when the platform's is lost")
	fl.StringVar(&r.engineBin, "engine-bin", "", "path of drctl-engine (default: beside drctl, then PATH)")
	fl.BoolVar(&r.yes, "yes", false, "do not ask before anything is touched")
}

// derive makes the plan that is to run. edit has the last word of the policy; it may be nil.
func (r running) derive(cfg *config.Config, edit func(*failover.Policy)) (plan.Definition, error) {
	d, t, err := r.Plan(cfg, func(p *failover.Policy) {
		r.hooked(p)

		if edit != nil {
			edit(p)
		}
	})
	if err != nil {
		return d, err
	}

	if p := failover.Lint(d, t); failover.HasErrors(p) {
		return d, fail.New(fail.Unverified, "recovery plan", d.Group, "see all of it with: drctl plan lint --mode "+r.Mode, errors.New("the plan must not run as it is"))
	}

	return d, nil
}

func (f Faces) run(ctx context.Context, r running) error {
	cfg, err := f.Load()
	if err != nil {
		return err
	}

	d, err := r.derive(cfg, nil)
	if err != nil {
		return err
	}

	if !*f.JSON {
		fmt.Fprintf(f.Out, "%s: %s from %s to %s, %d steps, plan %s\n", d.Group, d.Mode, d.From, d.To, len(d.Steps), d.Hash())

		if cfg.Voters() < 3 {
			fmt.Fprintln(f.Out, plans.NoWitness)
		}

		for _, name := range r.Stay {
			fmt.Fprintf(f.Out, "%s stays where it is\n", name)
		}
	}

	known := f.foresee(ctx, cfg, r, d)

	if !r.yes {
		<-known.done
		f.print(known)

		if err := ui.Confirm(f.Err, r.Mode, "group", d.Group); err != nil {
			return err
		}
	}

	e, err := f.open(ctx, r)
	if err != nil {
		return err
	}
	defer e.Close()

	in, err := input(ctx, e.Platform, d, f.By(), runID(time.Now()))
	if err != nil {
		return err
	}

	if known.there() {
		in.Choices = known.table
		f.print(known)
	}

	return f.start(ctx, e, r, in, known)
}

// lines are those that a person types.
func lines(r io.Reader) <-chan string {
	out := make(chan string)
	go func() {
		for s := bufio.NewScanner(r); s.Scan(); {
			out <- s.Text()
		}
	}()

	return out
}

func (f Faces) open(ctx context.Context, r running) (Engine, error) {
	switch r.engine {
	case "configured":
		if r.engineBin != "" {
			return Engine{}, fail.New(fail.Invalid, "flags", "--engine-bin", "add --engine embedded", errors.New("the configured engine runs already"))
		}

		return f.Online(ctx)
	case "embedded":
		return f.Embedded(ctx, r.engineBin)
	}

	return Engine{}, fail.New(fail.Invalid, "flags", "--engine", "use configured or embedded", errors.New(r.engine))
}

// input keeps the plan in the vaults, that of the region that takes over first.
func input(ctx context.Context, p *configured.Platform, d plan.Definition, by, run string) (recovery.In, error) {
	g, err := p.Group(d.Group)
	if err != nil {
		return recovery.In{}, err
	}

	to, err := p.Vault(ctx, d.To)
	if err != nil {
		return recovery.In{}, err
	}

	ref, err := inventory.SaveDefinition(ctx, vault.Set{Vaults: []*vault.Vault{to}, Durability: 1}, d)
	if err != nil {
		return recovery.In{}, err
	}

	return recovery.In{Run: run, By: by, Group: d.Group, Plan: ref, Mode: d.Mode, From: d.From, To: d.To,
		Order: d.Outline(d.Mode).Folded(), Queues: g.Queues}, nil
}

// runID names a run by its beginning, and by chance.
func runID(t time.Time) string {
	return strings.ReplaceAll(t.UTC().Format("20060102T150405.000"), ".", "-") + "-" + strings.ToLower(rand.Text()[:6])
}

func (f Faces) recovery() *cobra.Command {
	c := &cobra.Command{Use: "recovery", Short: "See a recovery between regions, and answer what it asks"}
	var group string
	show := &cobra.Command{Use: "show", Short: "Show how far the group's last recovery has come", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.show(cmd.Context(), group) }}

	var reply recovery.Reply
	answer := &cobra.Command{Use: "answer STEP ANSWER", Short: "Answer what a recovery asks: yes, no, retry, skip, vouch or give-up", Args: cobra.ExactArgs(2),
		Long: `Answers what the group's recovery asks of people. skip, vouch and give-up want a reason.

vouch: you have made sure yourself that the step's server takes no writes and cannot
come back to take any. It is recorded with your name as the proof of silence.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			reply.Step, reply.Answer = args[0], machine.Answer(args[1])
			return f.answer(cmd.Context(), group, reply)
		}}
	answer.Flags().StringVar(&reply.Reason, "reason", "", "why")

	for _, x := range []*cobra.Command{show, answer} {
		x.Flags().StringVarP(&group, "group", "g", "", "group (default: the only one)")
	}

	c.AddCommand(show, answer, f.approveCommand(), f.reviewsCommand(), f.reviewCommand(), f.lossCommand(), f.resumeCommand())

	return c
}

// groupOf is the group that is named, or the only one.
func groupOf(cfg *config.Config, name string) (string, error) {
	names := cfg.GroupNames()
	if name == "" && len(names) == 1 {
		return names[0], nil
	}

	if !slices.Contains(names, name) {
		return "", fail.New(fail.Invalid, "flags", "--group", "name one of: "+strings.Join(names, ", "), fmt.Errorf("there is no group %q", name))
	}

	return name, nil
}
