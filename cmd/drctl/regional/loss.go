package regional

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/configured"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/progress"
	"drctl/internal/stream/tail"
	"drctl/internal/ui"
	"drctl/internal/vault"
	"drctl/restore/losses"
	"drctl/targets"
	"drctl/targets/all"
	"drctl/targets/handover"
)

// losing are the flags of the command that says what was lost.
type losing struct {
	group string
	read  bool
	list  bool
	most  int
}

func (f Faces) lossCommand() *cobra.Command {
	var l losing
	c := &cobra.Command{Use: "loss [RUN]", Short: "Say what a failover has lost, and read it from the old disks", Args: cobra.MaximumNArgs(1),
		Long: `Says what a failover has lost: at once what was seen of the old primaries beyond what
the new ones have, and what nobody knows. It needs no engine, only a vault.

With --read, on the host of the old servers and as root or as their user, it reads their
log behind the place where the new primaries took over: the lost transactions with their
time, their tags and how many rows of which table they changed. The servers there must
not run, and nothing is written there. What no vault has of that log is kept in the vaults
first. Do it before the old servers are made standbys: that undoes their log.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.loss(cmd.Context(), l, strings.Join(args, ""))
		}}
	fl := c.Flags()
	fl.StringVarP(&l.group, "group", "g", "", "group (default: the only one)")
	fl.BoolVar(&l.read, "read", false, "read the old servers' disks, which have to be on this host")
	fl.BoolVar(&l.list, "list", false, "list the runs of which a loss is recorded")
	fl.IntVar(&l.most, "most", 1000, "how many transactions of a shard are listed at most; all are counted")

	return c
}

func (f Faces) loss(ctx context.Context, l losing, run string) error {
	if l.list && (run != "" || l.read) {
		return fail.New(fail.Invalid, "flags", "--list", "leave out the run and --read", errors.New("it lists runs, and reads none"))
	}

	cfg, err := f.Load()
	if err != nil {
		return err
	}

	group, err := groupOf(cfg, l.group)
	if err != nil {
		return err
	}

	tools, err := configured.Tools(cfg)
	if err != nil {
		return err
	}
	p := configured.New(cfg, tools, slog.New(slog.DiscardHandler))

	set, err := p.Answering(ctx, group)
	if err != nil {
		return err
	}

	if l.list {
		return f.lossRuns(ctx, set, group)
	}

	st, err := losses.Load(ctx, set, group, run)
	if err != nil {
		return err
	}

	var failed error
	if l.read {
		failed = f.readDisks(ctx, p, set, &st, l.most)
	}

	if *f.JSON {
		return errors.Join(ui.PrintJSON(f.Out, st), failed)
	}

	fmt.Fprintf(f.Out, "run %s, epoch %d: %s from %s to %s\n", st.Run, st.Epoch, st.Group, st.From, st.To)

	return errors.Join(f.lossLines(&st), f.lossTable(st), failed)
}

func (f Faces) lossRuns(ctx context.Context, set vault.Set, group string) error {
	ids, err := losses.Runs(ctx, set, group)
	if err != nil {
		return err
	}

	if *f.JSON {
		return ui.PrintJSON(f.Out, ids)
	}

	for _, id := range ids {
		fmt.Fprintln(f.Out, id)
	}

	return nil
}

// readDisks reads the old log of every shard whose directory is in reach here. It goes
// on where one cannot be read.
func (f Faces) readDisks(ctx context.Context, p *configured.Platform, set vault.Set, st *losses.Statement, most int) error {
	tellers := map[targets.Kind]handover.LossTeller{}
	for _, d := range all.Drivers(all.Options{Tools: p.Programs}) {
		if t, ok := d.(handover.LossTeller); ok {
			tellers[d.Kind()] = t
		}
	}

	var errs []error

	for _, s := range st.Shards {
		teller, ok := tellers[s.Kind]
		if !ok {
			f.Say(slog.LevelInfo, "%s: stores of this kind keep no log on their disks that could be read", s.Shard)
			continue
		}

		r, err := f.readShard(ctx, p, teller, set, *st, s, most)
		if err != nil {
			errs = append(errs, err)
			continue
		}

		st.Take(r)
	}

	return errors.Join(errs...)
}

func (f Faces) readShard(ctx context.Context, p *configured.Platform, teller handover.LossTeller, set vault.Set, st losses.Statement, s losses.Shard, most int) (losses.Reading, error) {
	r := losses.Reading{Run: st.Run, Shard: s.Shard, By: f.By()}

	old, err := p.Instance(ctx, s.Shard, st.From)
	if err != nil {
		return r, err
	}

	next, err := p.Instance(ctx, s.Shard, st.To)
	if err != nil {
		return r, err
	}

	if old.DataDir == "" {
		return r, fail.New(fail.Unsupported, "recovery: loss", old.String(), "set its data_dir, and run this on its host", errors.New("where its disks are is not known"))
	}

	r.Loss, err = teller.Lost(ctx, handover.LossRequest{Old: old, New: next, Fork: s.Fork, Flushed: s.Known, Most: most, Tail: tail.Keeper{Set: set, Shard: s.Shard}})
	if err != nil {
		return r, err
	}

	return r, losses.SaveReading(ctx, set, st.Group, r)
}

// lossLines say of each shard what was lost.
func (f Faces) lossLines(st *losses.Statement) error {
	if st == nil {
		return nil
	}

	for _, s := range st.Shards {
		if _, err := fmt.Fprintf(f.Out, "%s: %s\n", s.Shard, st.Words(s)); err != nil {
			return err
		}

		if s.Read == nil {
			continue
		}

		for _, n := range s.Read.Notes {
			if _, err := fmt.Fprintf(f.Out, "%s: not found out: %s\n", s.Shard, n); err != nil {
				return err
			}
		}
	}

	for _, n := range st.Notes {
		if _, err := fmt.Fprintf(f.Out, "not found out: %s\n", n); err != nil {
			return err
		}
	}

	return nil
}

// lossTable lists the transactions that were read.
func (f Faces) lossTable(st losses.Statement) error {
	var rows [][]string

	for _, s := range st.Shards {
		if s.Read == nil {
			continue
		}

		for _, x := range s.Read.Lost {
			rows = append(rows, []string{s.Shard.String(), x.Stamp.UTC().Format(time.RFC3339Nano), fmt.Sprint(x.XID), x.Outcome, human.Clean(strings.TrimSpace(x.GID + " " + strings.Join(x.Tags, ", "))), changes(x.Rows)})
		}

		if more := s.Read.Count - len(s.Read.Lost); more > 0 {
			rows = append(rows, []string{s.Shard.String(), fmt.Sprintf("and %d more", more), "", "", "", changes(s.Read.Rows) + " in all"})
		}
	}

	if len(rows) == 0 {
		return nil
	}

	return progress.Table(f.Out, []string{"SHARD", "COMMITTED AT", "TRANSACTION", "", "TAGS", "ROWS"}, rows)
}

func changes(all []handover.LostRows) string {
	var out []string

	for _, r := range all {
		var did []string
		for _, x := range []struct {
			n    int
			what string
		}{{r.Inserted, "inserted"}, {r.Updated, "updated"}, {r.Deleted, "deleted"}} {
			if x.n > 0 {
				did = append(did, fmt.Sprintf("%d %s", x.n, x.what))
			}
		}
		out = append(out, r.Table+": "+strings.Join(did, ", "))
	}

	return strings.Join(out, "; ")
}
