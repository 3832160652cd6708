package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/boxes"
	"drctl/cmd/drctl/cutview"
	"drctl/cmd/drctl/restoreview"
	"drctl/cmd/drctl/serve"
	"drctl/config"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/platform"
	"drctl/internal/servers"
	"drctl/internal/ui"
	"drctl/internal/upkeep"
	"drctl/internal/vault"
	"drctl/restore/inventory"
	"drctl/restore/moments"
	"drctl/restore/plan"
	"drctl/restore/recovery"
	"drctl/targets"
	"drctl/targets/all"
	"drctl/workflows"
)

// restoreFlags are shared by plan, run and drill run.
type restoreFlags struct {
	group, cut, at, vault, into, plan, engine, engineBin, sandboxDir string
	shards, only                                                     []string
	delta, yes, quick, unproven                                      bool
	place                                                            vaultFlags
}

func (f *restoreFlags) glass(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.engine, "engine", "configured", "configured, or embedded: an engine of its own, for when the platform's is lost")
	fl.StringVar(&f.engineBin, "engine-bin", "", "path of drctl-engine (default: beside drctl, then PATH)")
}

func (f *restoreFlags) engineBinHasEffect(embedded bool) error {
	if f.engineBin != "" && !embedded {
		return fail.New(fail.Invalid, "flags", "--engine-bin", "add --engine embedded", errors.New("the configured engine runs already"))
	}

	return nil
}

func (f *restoreFlags) goal(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVarP(&f.group, "group", "g", "", "group (default: the only one)")
	fl.StringVar(&f.cut, "cut", "", "id of a sealed cut, or latest (the default)")
	fl.StringVar(&f.at, "at", "", "instant instead of a cut, RFC 3339: of a whole group the last provable moment at or before it")
	fl.BoolVar(&f.unproven, "unproven", false, "with --at, restore each shard by its own log: not consistent across shards")
	fl.StringVar(&f.vault, "vault", "", "region whose vault alone is read")
	fl.StringVar(&f.into, "into", plan.Sandbox, "sandbox, or instances: the empty ones under recovery.destinations")
	fl.StringSliceVar(&f.shards, "shard", nil, "only these shards (target/shard)")
	fl.StringSliceVar(&f.only, "target", nil, "only these targets")
	fl.BoolVar(&f.delta, "delta", false, "rewrite existing directories and buckets of the same shard in place, taking what is equal already (Redis is restored into an empty directory all the same)")
	f.place.flags(c)
}

func (a *app) restoreCmd() *cobra.Command {
	c := &cobra.Command{Use: "restore", Short: "Plan and run a restore"}
	var f restoreFlags
	var save bool
	plan := &cobra.Command{
		Use: "plan", Short: "Show what would be restored, from where, and how much", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := a.plan(cmd.Context(), f)
			if err != nil {
				return err
			}
			if save {
				if err := inventory.KeepRun(cmd.Context(), r.vault, r.plan); err != nil {
					return err
				}
			}
			if a.json {
				return ui.PrintExact(a.out, r.plan)
			}
			if err := restoreview.Plan(a.out, r.plan); err != nil || !save {
				return err
			}
			fmt.Fprintf(a.out, "saved in the vault of %s; run exactly this with: drctl restore run --plan %s\n", r.vault.Region(), r.plan.Hash)
			return nil
		},
	}
	plan.Flags().BoolVar(&save, "save", false, "keep the plan in the vault, to be run by its hash")
	run := &cobra.Command{
		Use: "run", Short: "Restore", Args: cobra.NoArgs,
		Long: `Restores a group, a target or a shard to a cut: into a sandbox on this host (the
default), or into the empty instances that the configuration names. A running or
non-empty instance is refused.

With --engine embedded it needs no engine; with --vault-url and --key it needs no
configuration either: nothing but the vault, the key and the programs.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.savedAlone(cmd); err != nil {
				return err
			}
			return a.restoreRun(cmd.Context(), f)
		},
	}
	run.Flags().StringVar(&f.plan, "plan", "", "run exactly this plan: the hash of one saved with restore plan --save, its beginning, or a file from restore plan --json")
	f.goal(plan)
	f.goal(run)
	f.glass(run)
	a.hostFlag(run)
	run.Flags().StringVar(&f.sandboxDir, "sandbox-dir", "", "directory of the sandboxes, with --engine embedded or --vault-url (default then: /var/lib/drctl for root, else ~/.local/state/drctl)")
	run.Flags().BoolVar(&f.yes, "yes", false, "do not ask before writing into instances")
	run.Flags().BoolVar(&f.quick, "quick", false, "leave out the checks that read every byte")
	c.AddCommand(plan, run)

	return c
}

// planned is a plan with what is needed to run it.
type planned struct {
	plan      plan.Run
	vault     *vault.Vault
	platform  platform.Resolver
	tools     servers.Binaries
	cfg       *config.Config // nil without a configuration
	log       *slog.Logger
	queues    map[string]string
	sandboxes string
	// sandboxMax is the largest sandbox in bytes; 0 sets no limit.
	sandboxMax int64
	state      string
	parallel   int
}

func (a *app) plan(ctx context.Context, f restoreFlags) (planned, error) {
	r, v, group, err := a.vaultFor(ctx, &f)
	if err != nil {
		return r, err
	}

	goal, err := a.goal(ctx, f, r, v, group)
	if err != nil {
		return r, err
	}

	inv, err := a.inventory(ctx, f, r, v, &goal, group)
	if err != nil {
		return r, err
	}

	for _, d := range inv.Damaged {
		a.say(slog.LevelWarn, "damaged in the vault of %s: %s", v.Region(), d)
	}

	if goal.Shards, err = chosen(goal.Shards, f.only, inv); err != nil {
		return r, err
	}

	r.vault = v
	if r.plan, err = recovery.Build(goal, plan.ModeRestore, inv, time.Now().UTC()); err != nil {
		return r, err
	}
	r.plan = r.plan.Warn(inventory.Unfit(ctx, driversOf(r.tools, r.log), r.plan)...)

	return r, nil
}

// inventory reads what a vault holds of the goal. An instant of a whole group becomes the
// last moment at or before it that the logs prove to be consistent.
func (a *app) inventory(ctx context.Context, f restoreFlags, r planned, v *vault.Vault, goal *plan.Goal, group *platform.Group) (recovery.Inventory, error) {
	if goal.At.IsZero() || f.unproven || len(goal.Shards)+len(f.only) > 0 {
		return inventory.Read(ctx, v, *goal, group)
	}

	p := moments.Place{Vault: v, Version: version, Logs: all.Logs()}

	to, found, inv, err := p.Goal(ctx, *goal, group)
	if found.Cut.ID == "" {
		return recovery.Inventory{}, fail.New(fail.CodeOf(err), "restore: plan", goal.Group, "see when it can be: drctl cut list --window; or restore each shard by its own log: --unproven", err)
	}
	*goal = to
	a.say(slog.LevelInfo, "%s before the instant: %s", human.Duration(goal.Moment.Sub(found.Cut.QuiescedAt)), cutview.Grade(found.Cut))

	return inv, err
}

// chosen adds the shards of the targets that were named to those that were named
// themselves. The vault says what there is: it does so without a configuration too.
func chosen(shards []targets.ShardID, only []string, inv recovery.Inventory) ([]targets.ShardID, error) {
	var ids, names []string
	for _, s := range inv.Shards {
		ids, names = append(ids, s.Shard.String()), append(names, s.Shard.Target)
	}

	for _, id := range shards {
		if err := known("shard", "--shard", id.String(), ids); err != nil {
			return nil, err
		}
	}

	for _, n := range only {
		if err := known("target", "--target", n, slices.Compact(slices.Sorted(slices.Values(names)))); err != nil {
			return nil, err
		}
	}

	for _, s := range inv.Shards {
		if slices.Contains(only, s.Shard.Target) {
			shards = append(shards, s.Shard)
		}
	}

	return shards, nil
}

// driversOf finds a kind's driver with the programs of this host.
func driversOf(tools servers.Binaries, log *slog.Logger) func(targets.Kind) (targets.Driver, error) {
	ds := all.Drivers(all.Options{Tools: tools, Log: log})

	return func(k targets.Kind) (targets.Driver, error) {
		for _, d := range ds {
			if d.Kind() == k {
				return d, nil
			}
		}

		return nil, fail.Newf(fail.Unsupported, "find driver", string(k), "there is no driver for this kind of store")
	}
}

// vaultFor opens the vault that is to be read, with or without a configuration.
func (a *app) vaultFor(ctx context.Context, f *restoreFlags) (planned, *vault.Vault, *platform.Group, error) {
	if f.place.url != "" {
		log, err := a.logger()
		if err != nil {
			return planned{}, nil, nil, err
		}

		tools, err := sandboxTools()
		if err != nil {
			return planned{}, nil, nil, err
		}

		work := f.sandboxDir
		if work == "" {
			if work, _, err = privateDir(); err != nil {
				return planned{}, nil, nil, err
			}
		}

		v, err := f.place.open(ctx, tools, "", log)
		if err != nil {
			return planned{}, nil, nil, err
		}
		f.engine = "embedded"

		return planned{platform: platform.OnlyVault{V: v}, tools: tools, log: log, queues: map[string]string{v.Region(): workflows.Queue(v.Region())},
			sandboxes: filepath.Join(work, "sandbox"), state: filepath.Join(work, "state"), parallel: 4}, v, nil, nil
	}

	s, err := a.offline()
	if err != nil {
		return planned{}, nil, nil, err
	}

	g, err := s.group(f.group)
	if err != nil {
		return planned{}, nil, nil, err
	}

	f.group = g.Name
	if f.vault, err = s.vaultOf(ctx, f.vault, g.Name); err != nil {
		return planned{}, nil, nil, err
	}

	v, err := s.p.Vault(ctx, f.vault)
	if err != nil {
		return planned{}, nil, nil, err
	}

	r := planned{platform: s.p, tools: s.p.Programs, cfg: s.cfg, log: s.log, queues: g.Queues, sandboxes: s.cfg.Sandbox.Dir, sandboxMax: int64(s.cfg.Sandbox.MaxBytes), state: s.cfg.StateDir, parallel: 4}
	if f.sandboxDir != "" {
		r.sandboxes, r.state = f.sandboxDir, boxes.Usable(r.state, filepath.Join(f.sandboxDir, ".state"))
	}

	if rec := s.cfg.Recovery[g.Name]; rec != nil {
		r.parallel = rec.Parallel
	}

	return r, v, &g, nil
}

func (a *app) goal(ctx context.Context, f restoreFlags, r planned, v *vault.Vault, group *platform.Group) (plan.Goal, error) {
	goal := plan.Goal{Group: f.group, Cut: f.cut, Vault: v.Region(), Into: f.into, Delta: f.delta}

	var err error
	if goal.Group, err = upkeep.OnlyGroup(ctx, v, f.group); err != nil {
		return goal, err
	}

	if f.at != "" {
		t, err := time.Parse(time.RFC3339, f.at)
		if err != nil {
			return goal, fail.New(fail.Invalid, "flags", "--at", "write it like 2026-11-23T03:04:05Z", notAnInstant(f.at))
		}

		if f.cut != "" {
			return goal, fail.Newf(fail.Invalid, "flags", "--at", "give either --cut or --at")
		}
		goal.At = t
	} else if goal.Cut == "" {
		goal.Cut = plan.Latest
	} else if id, err := moments.Named(ctx, v, goal.Group, goal.Cut); err == nil {
		goal.Cut = id // else the plan says what there is
	}

	if goal.Shards, err = shardsFlag(f.shards); err != nil {
		return goal, err
	}

	if f.into != plan.Instances {
		return goal, nil
	}

	if r.cfg == nil || r.cfg.Recovery[goal.Group] == nil {
		return goal, fail.New(fail.Invalid, "restore: plan", goal.Group, "name the empty instances under recovery."+goal.Group+".destinations", errors.New("no destinations are configured"))
	}
	rec := r.cfg.Recovery[goal.Group]

	goal.Order, goal.Destinations = rec.Order, map[string]plan.Destination{}
	for target, byShard := range rec.Destinations {
		for sh, d := range byShard {
			dir := d.DataDir
			if dir != "" {
				dir = filepath.Clean(dir) // a plan holds paths in one form only
			}
			goal.Destinations[target+"/"+sh] = plan.Destination{Region: d.Region, Host: d.Host, Address: d.Address, DataDir: dir, Bucket: d.Bucket}
		}
	}

	return goal, nil
}

func (a *app) restoreRun(ctx context.Context, f restoreFlags) error {
	if f.engine != "configured" && f.engine != "embedded" {
		return fail.New(fail.Invalid, "flags", "--engine", "use configured or embedded", errors.New(f.engine))
	}

	glass := f.engine == "embedded" || f.place.url != ""
	if f.sandboxDir != "" && !glass {
		return fail.New(fail.Invalid, "flags", "--sandbox-dir", "add --engine embedded, or set sandbox.dir where the worker runs",
			errors.New("the worker of the configured engine chooses where its sandboxes are"))
	}

	if err := f.engineBinHasEffect(glass); err != nil {
		return err
	}

	r, err := a.planOrSaved(ctx, &f)
	if err != nil {
		return err
	}

	if err := serve.Here(r.plan, a.hostname()); glass && err != nil {
		return err
	}

	if !a.json {
		if err := restoreview.Plan(a.out, r.plan); err != nil {
			return err
		}
	}

	if f.into == plan.Instances && !f.yes {
		if err := ui.Confirm(a.err, "restore: confirm", "group", r.plan.Goal.Group); err != nil {
			return err
		}
	}

	if f.place.url != "" && f.sandboxDir == "" {
		if err := makePrivateDir(); err != nil {
			return err
		}
	}

	a.sweep(ctx, r.sandboxes, enginesDir(r.state))

	var s *session
	if glass {
		var stop func()

		s, stop, err = a.breakGlass(ctx, f.engineBin, r.sandboxes, r.sandboxMax, r.state, r.platform, r.queues, r.tools, r.log)
		if err != nil {
			return err
		}
		defer stop()
	} else {
		if s, err = a.online(ctx); err != nil {
			return err
		}
		defer s.close()
	}

	id := s.ids().Sandbox(r.plan.ID)
	if f.into == plan.Instances {
		id = s.ids().Recover(r.plan.Goal.Group)
	}
	queue := r.queues[r.plan.Goal.Vault]

	carried, err := inventory.SaveRun(ctx, vault.Set{Vaults: []*vault.Vault{r.vault}, Durability: 1}, r.plan)
	if err != nil {
		return err
	}
	order := r.plan.Outline()
	order.Window = r.parallel

	run, err := start(ctx, s.engine, id, workflows.RestoreName, queue, false,
		workflows.RestoreIn{Run: carried, Order: order, Into: r.plan.Goal.Into, Queue: queue, Queues: r.queues, Quick: f.quick})
	if err != nil {
		return err
	}

	var out workflows.RestoreOut
	if err := s.wait(ctx, run, true, &out); err != nil {
		return err
	}

	if err := workflows.Detailed(ctx, s.engine, run.GetID(), run.GetRunID(), &out); err != nil {
		a.say(slog.LevelWarn, "what the steps found cannot be shown: %v", err)
	}

	return restoreview.Outcome(a.out, a.json, out)
}
