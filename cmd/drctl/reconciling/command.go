package reconciling

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/configured"
	"drctl/config"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/progress"
	"drctl/internal/ui"
	"drctl/internal/vault"
	"drctl/restore/parted"
	"drctl/targets"
	"drctl/targets/all"
	"drctl/targets/reconciliation"
)

const op = "failback: reconcile"

// every is how often it is said how far it is.
const every = 2 * time.Second

// Faces is what the command needs of the program.
type Faces struct {
	Load     func() (*config.Config, error)
	Out, Err io.Writer
	JSON     *bool
	Say      func(level slog.Level, format string, args ...any)
}

// wanted are the flags.
type wanted struct {
	group, target, from, to, cut string
	dry, remove, fill, yes       bool
}

// Command is "drctl failback reconcile".
func (f Faces) Command() *cobra.Command {
	var w wanted
	c := &cobra.Command{Use: "reconcile", Short: "Bring buckets together that took writes in two regions", Args: cobra.NoArgs,
		Long: `Copies to each bucket what only the other has, and reads it back. Nothing is overwritten: what
both have with different content is a conflict, which is listed with both sides and left
alone. What one bucket had when the regions parted, by the newest cut before that, and has no
more was deleted there: that is listed too, and deleted on the other side only with
--delete, when the bucket itself shows the deletion and the object is as it was. A bucket that
keeps no versions does not show it: what is missing there was deleted, or lost, or never came
there; --fill copies it again. A bucket that has nothing any more of what both had deletes nothing
on the other side: it may be the wrong one, or emptied by mistake. The command may be repeated,
and goes on where it was broken off. It needs no engine. A failback does it by itself.

Exit status 4 while there are conflicts, objects that could not be copied, objects that are missing
although nothing shows that they were deleted, or a bucket that has nothing any more.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), w) }}
	fl := c.Flags()
	fl.StringVarP(&w.group, "group", "g", "", "group (default: the only one)")
	fl.StringVar(&w.target, "target", "", "one target (default: all that take writes in both regions)")
	fl.StringVar(&w.from, "from", "", "one of the two regions (default: those that have the buckets)")
	fl.StringVar(&w.to, "to", "", "the other region")
	fl.StringVar(&w.cut, "cut", "", "cut of what both had (default: the newest from before the two regions parted)")
	fl.BoolVar(&w.dry, "dry-run", false, "only say what would be done")
	fl.BoolVar(&w.remove, "delete", false, "carry out the deletions that a bucket shows")
	fl.BoolVar(&w.fill, "fill", false, "copy what a bucket has no more without showing that it was deleted")
	fl.BoolVar(&w.yes, "yes", false, "do not ask before anything is touched")

	return c
}

func (f Faces) run(ctx context.Context, w wanted) error {
	cfg, err := f.Load()
	if err != nil {
		return err
	}

	if names := cfg.GroupNames(); w.group == "" && len(names) == 1 {
		w.group = names[0]
	}

	if cfg.Groups[w.group] == nil {
		return fail.New(fail.Invalid, "flags", "--group", "name one of: "+strings.Join(cfg.GroupNames(), ", "), fmt.Errorf("there is no group %q", w.group))
	}

	shards, err := w.shards(cfg)
	if err != nil {
		return err
	}

	tools, err := configured.Tools(cfg)
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	p := configured.New(cfg, tools, log)

	set, err := p.Answering(ctx, w.group)
	if err != nil {
		return err
	}

	if !w.dry && !w.yes {
		if err := ui.Confirm(f.Err, op, "group", w.group); err != nil {
			return err
		}
	}

	drivers := map[targets.Kind]targets.Driver{}
	for _, d := range all.Drivers(all.Options{Tools: tools, Log: log}) {
		drivers[d.Kind()] = d
	}

	out := []reconciliation.Result{}

	for _, s := range shards {
		r, err := f.shard(ctx, p, drivers[cfg.Kind(s.id)], set, w, s)
		if err != nil {
			return errors.Join(f.tell(append(out, r)), err)
		}
		out = append(out, r)
	}

	if err := f.tell(out); err != nil {
		return err
	}

	return f.open(out, w.group)
}

// pair is a shard with its two regions.
type pair struct {
	id   targets.ShardID
	a, b string
}

// shards are those that take writes in two regions.
func (w wanted) shards(cfg *config.Config) (out []pair, err error) {
	for _, id := range cfg.Shards(w.group) {
		if cfg.Kind(id).Traits().Log || w.target != "" && id.Target != w.target {
			continue
		}

		regions := cfg.ShardRegions(id)
		p := pair{id, w.from, w.to}

		if p.a == "" && p.b == "" && len(regions) == 2 {
			p.a, p.b = regions[0], regions[1]
		}

		switch {
		case len(regions) < 2: // there is no other side
		case p.a == "" || p.b == "" || p.a == p.b || !slices.Contains(regions, p.a) || !slices.Contains(regions, p.b):
			return nil, fail.New(fail.Invalid, "flags", "--from, --to", "name two of: "+strings.Join(regions, ", "), fmt.Errorf("%s is in %d regions", id, len(regions)))
		default:
			out = append(out, p)
		}
	}

	if len(out) == 0 {
		return nil, fail.New(fail.Invalid, op, w.group, "see the instances of its targets: drctl config show", errors.New("no store of the group takes writes in two regions"))
	}

	return out, nil
}

// shard reconciles one.
func (f Faces) shard(ctx context.Context, p *configured.Platform, driver targets.Driver, set vault.Set, w wanted, s pair) (reconciliation.Result, error) {
	none := reconciliation.Result{Shard: s.id, A: s.a, B: s.b, DryRun: w.dry}

	a, err := p.Instance(ctx, s.id, s.a)
	if err != nil {
		return none, err
	}

	b, err := p.Instance(ctx, s.id, s.b)
	if err != nil {
		return none, err
	}
	began := time.Now()
	told := began

	return parted.Reconcile(ctx, driver, set, a, b, parted.Options{Group: w.group, Cut: w.cut, DryRun: w.dry, Delete: w.remove, Fill: w.fill, Progress: func(r reconciliation.Result) {
		if time.Since(told) < every {
			return
		}
		told = time.Now()
		rate := float64(r.Bytes) / time.Since(began).Seconds()

		f.Say(slog.LevelInfo, "%s: %d objects looked at, %d copied (%s, %s/s), %d conflicts", s.id, r.Objects, r.ToA+r.ToB, human.Bytes(r.Bytes), human.Bytes(int64(rate)), r.Conflicts)
	}})
}

// open says what people have to look at.
func (f Faces) open(all []reconciliation.Result, group string) error {
	for _, r := range all {
		if err := parted.Open(r, group); err != nil {
			return err
		}
	}

	return nil
}

// tell prints what came of it.
func (f Faces) tell(all []reconciliation.Result) error {
	if *f.JSON {
		return ui.PrintJSON(f.Out, all)
	}

	for _, r := range all {
		fmt.Fprintln(f.Out, parted.Words(r))

		switch {
		case r.Note != "":
		case r.Ancestor == "":
			fmt.Fprintf(f.Out, "%s: no cut is known from before %s and %s parted: no deletion is known\n", r.Shard, r.A, r.B)
		default:
			fmt.Fprintf(f.Out, "%s: what both had is that of cut %s\n", r.Shard, r.Ancestor)
		}

		if err := f.differences(r); err != nil {
			return err
		}
	}

	return nil
}

func (f Faces) differences(r reconciliation.Result) error {
	if len(r.Differences) == 0 {
		return nil
	}

	state := func(s *reconciliation.State) string {
		if s == nil {
			return "-"
		}

		return fmt.Sprintf("%s, %s, %s", human.Bytes(s.Size), s.Modified.UTC().Format(time.RFC3339), strings.Trim(s.ETag, `"`))
	}

	var rows [][]string
	for _, d := range r.Differences {
		why := d.Why
		if d.In != "" && d.Kind == reconciliation.Copied {
			why = "to " + d.In
		}

		if d.Done {
			why += ": carried out"
		}
		rows = append(rows, []string{d.Kind, human.Clean(d.Key), state(d.A), state(d.B), why})
	}

	if err := progress.Table(f.Out, []string{"", "KEY", "IN " + r.A, "IN " + r.B, ""}, rows); err != nil {
		return err
	}

	listed := int64(len(r.Differences))
	if whole := r.Conflicts + r.Deletions + r.Failed; whole > listed {
		fmt.Fprintf(f.Out, "%d more are not listed\n", whole-listed)
	}

	return nil
}
