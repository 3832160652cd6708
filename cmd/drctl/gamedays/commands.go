package gamedays

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/configured"
	"drctl/cmd/drctl/regional"
	"drctl/drills"
	"drctl/drills/gameday"
	"drctl/internal/approval"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/planting"
	"drctl/internal/platform"
	"drctl/internal/progress"
	"drctl/internal/ui"
	"drctl/internal/vault"
	"drctl/targets"
	"drctl/workflows"

	day "drctl/workflows/gameday"
)

// Faces is what the commands need of the program.
type Faces struct {
	// Offline is the platform of the configuration; no engine is asked.
	Offline  func() (*configured.Platform, *slog.Logger, error)
	Out, Err io.Writer
	JSON     *bool
	// Run starts a workflow, and waits for its result; an interrupt cancels it. Cancel cancels the one of an
	// id and waits for its end; not-found when none runs.
	Run    func(ctx context.Context, id, name, queue string, in, out any) error
	Cancel func(ctx context.Context, id string) error
	// Faults keeps what was planted on this host.
	Faults func(p platform.Resolver, state string, log *slog.Logger) *planting.Keeper
	// By is who runs the command.
	By func() string
}

// Input is a game day as a command or a schedule starts it, and its workflow id.
func Input(p *configured.Platform, name, by, trigger string) (id string, in day.In, err error) {
	d, err := Definition(p.Config, name)
	if err != nil {
		return "", in, err
	}
	ids := workflows.IDs(p.Config.Name)

	return ids.Drill(name), day.In{Name: name, By: by, Trigger: trigger, Queue: p.Config.Regions[d.Vault].Queue, Recover: ids.Recover(d.Group)}, nil
}

// WithoutEffect refuses flags of restores that were given with a game day.
func WithoutEffect(given map[string]bool) error {
	maps.DeleteFunc(given, func(_ string, is bool) bool { return !is })

	if len(given) == 0 {
		return nil
	}

	return fail.New(fail.Invalid, "flags", strings.Join(slices.Sorted(maps.Keys(given)), ", "), "leave them out", errors.New("a game day is held by the workers of its hosts, and restores nothing into a sandbox"))
}

// Hold holds a game day and returns where its record is.
func (f Faces) Hold(ctx context.Context, name, trigger string, yes bool) (out drills.Outcome, err error) {
	p, _, err := f.Offline()
	if err != nil {
		return out, err
	}

	d, err := Definition(p.Config, name)
	if err != nil {
		return out, err
	}

	id, in, err := Input(p, name, f.By(), trigger)
	if err != nil {
		return out, err
	}
	in.Hash = d.Hash() // of what is shown

	if !*f.JSON {
		fmt.Fprintf(f.Out, "game day %s of %s: recovery %s\n", name, d.Group, d.Run)

		for _, x := range d.Faults {
			fmt.Fprintln(f.Out, "  "+x.Words())
		}
	}

	if !yes {
		if err := ui.Confirm(f.Err, "hold the game day", "group", d.Group); err != nil {
			return out, err
		}
	}

	return out, f.Run(ctx, id, workflows.GameDayName, in.Queue, in, &out)
}

// Commands are those of game days alone.
func (f Faces) Commands() []*cobra.Command {
	abort := &cobra.Command{Use: "abort NAME", Short: "End a game day, and take away what it has planted", Args: ui.OneArg("a drill"),
		Long: `Cancels the game day: what was planted is taken away, a recovery that it runs is taken back,
unless a promotion has begun. What is left on this host is taken away also when no engine
answers. Exit status 4 when something is left over.`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.abort(cmd.Context(), args[0]) }}

	left := &cobra.Command{Use: "leftovers", Short: "List what game days have planted and nobody has taken away", Args: cobra.NoArgs,
		Long: `Reads the vaults, which know of every fault before it is planted, and this host's own records.
Exit status 4 when something is left over.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.leftovers(cmd.Context(), "") }}

	var key, as string
	var length time.Duration
	var yes bool
	approve := &cobra.Command{Use: "approve NAME", Short: "Approve that a game day breaks servers in production, with a signature of your own", Args: ui.OneArg("a drill"),
		Long: `Shows what is approved, and signs it with your SSH key: the drill and its plan, by their hashes.
Two different people of recovery.GROUP.approvers have to do that, and any change voids it.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.approve(cmd.Context(), args[0], key, as, length, yes)
		}}
	fl := approve.Flags()
	fl.StringVar(&key, "key", "", "SSH key (default: ~/.ssh/id_ed25519)")
	fl.StringVar(&as, "as", "", "your name among the approvers (default: the one whose key it is)")
	fl.DurationVar(&length, "for", time.Hour, "for how long the approval holds, 24h at most")
	fl.BoolVar(&yes, "yes", false, "do not ask before it is signed")

	return []*cobra.Command{abort, left, approve}
}

func (f Faces) abort(ctx context.Context, name string) error {
	p, log, err := f.Offline()
	if err != nil {
		return err
	}

	if _, err := Definition(p.Config, name); err != nil {
		return err
	}

	// Its end takes everything away; this host's own part is done whatever the engine says.
	err = f.Cancel(ctx, workflows.IDs(p.Config.Name).Drill(name))
	if fail.Is(err, fail.NotFound) || errors.Is(err, context.Canceled) && ctx.Err() == nil {
		err = nil
	}

	k := f.Faults(p, p.Config.StateDir, log)
	_, serr := k.Sweep(ctx, func(x planting.Fault) string {
		if x.Drill == name {
			return planting.Aborted
		}

		return ""
	})

	return errors.Join(f.leftovers(ctx, name), serr, err)
}

// left are the faults that are on record, of one drill or of all ("").
func (f Faces) left(ctx context.Context, p *configured.Platform, log *slog.Logger, drill string) (out []planting.Fault, err error) {
	local, err := f.Faults(p, p.Config.StateDir, log).All()
	errs := []error{err}

	gone := map[string]bool{}
	for _, x := range local {
		if x.Removed.IsZero() {
			out = append(out, x)
		}
		gone[x.ID] = true // this host knows it better than a vault
	}

	for _, name := range p.Config.GroupNames() {
		set, err := vaultsOf(ctx, p, name)
		if err == nil {
			var all []planting.Fault

			all, err = planting.Left(ctx, set, name)
			for _, x := range all {
				if !gone[x.ID] {
					out = append(out, x)
				}
			}
		}
		errs = append(errs, err)
	}

	if drill != "" {
		out = slices.DeleteFunc(out, func(x planting.Fault) bool { return x.Drill != drill })
	}

	return out, errors.Join(errs...)
}

func vaultsOf(ctx context.Context, p *configured.Platform, group string) (vault.Set, error) {
	g, err := p.Group(group)
	if err != nil {
		return vault.Set{}, err
	}

	set, err := p.Set(ctx, group, g.Home)
	if err != nil {
		return set, err
	}

	return set.Answering(ctx)
}

// leftovers lists what is left, and ends with 4 when something is.
func (f Faces) leftovers(ctx context.Context, drill string) error {
	p, log, err := f.Offline()
	if err != nil {
		return err
	}

	all, err := f.left(ctx, p, log, drill)

	if *f.JSON {
		if all == nil {
			all = []planting.Fault{}
		}

		err = errors.Join(ui.PrintJSON(f.Out, all), err)
	} else {
		var rows [][]string
		for _, x := range all {
			rows = append(rows, []string{x.Drill, x.Do, x.On, x.Host, x.Intended.Local().Format(time.DateTime), x.Until.Local().Format(time.DateTime), x.Left})
		}

		if len(rows) == 0 {
			fmt.Fprintln(f.Out, "nothing is left over")
		} else {
			err = errors.Join(progress.Table(f.Out, []string{"DRILL", "FAULT", "ON", "HOST", "SINCE", "UNTIL", ""}, rows), err)
		}
	}

	if err == nil && len(all) > 0 {
		err = ui.Exit{Code: 4, Message: human.Plural(len(all), "fault") + " left over: drctl drill abort NAME on its host"}
	}

	return err
}

func (f Faces) approve(ctx context.Context, name, key, as string, length time.Duration, yes bool) error {
	p, _, err := f.Offline()
	if err != nil {
		return err
	}

	d, err := Definition(p.Config, name)
	if err != nil {
		return err
	}

	hash := ""
	if d.Runs() {
		x, err := (Resolver{Platform: p}).Plan(d)
		if err != nil {
			return err
		}
		hash = x.Hash()
	}

	s := d.Subject(hash)
	fmt.Fprintf(f.Err, "%s\nplan  %s\ndrill %s\n", s.Words, strings.TrimSpace(hash), s.State)

	if !yes {
		if err := ui.Confirm(f.Err, "approve", "drill", name); err != nil {
			return err
		}
	}

	x, err := regional.Signed(ctx, p.Config, d.Group, key, as, length, s, f.Err)
	if err != nil {
		return err
	}

	// One that does not count is not kept: nobody is to believe that it does.
	if err := approval.Check(approval.Rule{Need: 1, Of: p.Approvers(d.Group)}, s, []approval.Approval{*x}, time.Now()); err != nil {
		return err
	}

	set, err := vaultsOf(ctx, p, d.Group)
	if err != nil {
		return err
	}
	set.Durability = 1

	if _, err := set.SaveReport(ctx, gameday.ApprovalKind(name), targets.IDTime(x.At)+"-"+x.By, x); err != nil {
		return err
	}

	if *f.JSON {
		return ui.PrintJSON(f.Out, x)
	}

	fmt.Fprintf(f.Out, "%s has approved the game day %s until %s\n", x.By, name, x.Expires.Local().Format(time.DateTime))

	return nil
}
