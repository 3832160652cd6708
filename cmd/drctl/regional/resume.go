package regional

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/choosing"
	"drctl/internal/fail"
	"drctl/internal/ui"
	"drctl/restore/inventory"
	"drctl/restore/machine"
	"drctl/restore/plan"
	"drctl/restore/runs"
	"drctl/workflows/recovery"
)

func (f Faces) resumeCommand() *cobra.Command {
	var r running
	c := &cobra.Command{Use: "resume [RUN]", Short: "Take up a recovery whose engine is lost, with another engine", Args: cobra.MaximumNArgs(1),
		Long: `Goes on with a switchover, a failover or a failback whose engine died in the middle: by
what the vault of the region that takes over knows of it. What was running is done again,
what was being taken back is taken back, and people are asked again what they had not
answered for good: proof of silence is made anew. The newest run of the group is taken up,
and only while nothing newer has begun.

The engine that is lost does nothing for that run any more, should it come back.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.resume(cmd.Context(), r, strings.Join(args, ""))
		}}
	fl := c.Flags()
	fl.StringVarP(&r.Group, "group", "g", "", "group (default: the only one)")
	r.engines(c)
	fl.StringVar(&r.vouch, "vouch", "", "of a failover: your statement that the servers of the region that is left take no writes, as of failover run")

	return c
}

func (f Faces) resume(ctx context.Context, r running, run string) error {
	cfg, err := f.Load()
	if err != nil {
		return err
	}

	group, err := groupOf(cfg, r.Group)
	if err != nil {
		return err
	}

	if r.engine == "embedded" {
		if err := f.notElsewhere(ctx, group); err != nil {
			return err
		}
	}

	e, err := f.open(ctx, r)
	if err != nil {
		return err
	}
	defer e.Close()

	in, err := f.again(ctx, e, group, run)
	if err != nil {
		return err
	}

	fmt.Fprintf(f.Err, "run %s: %s of %s from %s to %s, begun by others, goes on with this engine\n", in.Run, in.Mode, group, in.From, in.To)

	if !r.yes {
		if err := ui.Confirm(f.Err, "resume", "group", group); err != nil {
			return err
		}
	}

	return f.start(ctx, e, r, in, nil)
}

// again is the input of a run that is taken up: all of it is in a vault.
func (f Faces) again(ctx context.Context, e Engine, group, run string) (recovery.In, error) {
	set, err := e.Platform.Answering(ctx, group)
	if err != nil {
		return recovery.In{}, err
	}

	p, err := runs.Open(ctx, set, group, run)
	if err != nil {
		return recovery.In{}, err
	}

	g, err := e.Platform.Group(group)
	if err != nil {
		return recovery.In{}, err
	}

	to, err := e.Platform.Vault(ctx, p.To)
	if err != nil {
		return recovery.In{}, err
	}

	takes, err := runs.Takes(ctx, to, group, p.Run)
	if err != nil {
		return recovery.In{}, err
	}
	ref := plan.Ref{ID: group + " " + string(p.Mode), SHA256: p.Plan, Vaults: []string{p.To}}

	d, err := inventory.LoadDefinition(ctx, e.Platform.Vault, ref)
	if err != nil {
		return recovery.In{}, err
	}

	return recovery.In{Run: p.Run, By: f.By(), Group: group, Choices: choosing.Kept(ctx, to, group, p.Run), Plan: ref, Mode: d.Mode, From: d.From, To: d.To, Take: takes + 1,
		Order: d.Outline(d.Mode).Folded(), Queues: g.Queues}, nil
}

// elsewhere is how long the configured engine has to say that it is well.
const elsewhere = 5 * time.Second

// notElsewhere refuses while the configured engine runs a recovery of the group.
func (f Faces) notElsewhere(ctx context.Context, group string) error {
	within, stop := context.WithTimeout(ctx, elsewhere)
	defer stop()

	e, err := f.Online(within)
	if err != nil { // it is lost, as far as can be seen from here
		return ctx.Err()
	}
	defer e.Close()

	out, err := state(within, e.Client, e.IDs.Recover(group), "")
	if err != nil || out.Verdict != machine.Open {
		return nil
	}

	return fail.New(fail.Conflict, "recovery: resume", group, "see drctl recovery show --group "+group, errors.New("the platform's engine answers, and runs it"))
}

// start starts a run and follows it to its end. known is what is foreseen of it, which may not be
// there yet; nil when nothing is.
func (f Faces) start(ctx context.Context, e Engine, r running, in recovery.In, known *foreseen) error {
	run, err := f.Start(ctx, e.Client, e.IDs.Recover(in.Group), recovery.Name, in.Queues[in.To], in)
	if err != nil {
		return err
	}

	f.Say(slog.LevelInfo, "run %s; should its engine be lost: drctl recovery resume %s --group %s --engine embedded", in.Run, in.Run, in.Group)

	var recorded sync.WaitGroup
	if known != nil {
		recorded.Go(func() { f.record(ctx, e, in, run, known) })
	}

	// Nobody else can reach an engine of this command's own.
	var typed <-chan string
	if r.engine == "embedded" && ui.IsTerminal(os.Stdin) {
		typed = lines(os.Stdin)

		f.Say(slog.LevelInfo, "answer what is asked here: STEP ANSWER REASON")
	}

	out, err := f.follow(ctx, e.Client, run, r.engine == "embedded", r.vouch, typed)

	recorded.Wait()

	if err != nil {
		return err
	}

	return f.tell(out)
}
