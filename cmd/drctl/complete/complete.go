package complete

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drctl/config"
	"drctl/internal/sandbox"
	"drctl/internal/vault"
	"drctl/restore/plan"
	"drctl/workflows"
)

// limit is how long a vault may take.
const limit = 2 * time.Second

// few is how many of the newest cuts, and of a shard's bases, are offered.
const few = 20

// Source is where names come from. Its functions print nothing.
type Source struct {
	Config func() (*config.Config, error)
	// Vault opens the vault that the command's flags name, and says for which group.
	Vault func(context.Context, *cobra.Command) (v *vault.Vault, group string, err error)
}

// names gives names for a command line; ctx ends with the limit.
type names func(ctx context.Context, s Source, c *cobra.Command) []string

// flags are the names for flags, whatever the command.
var flags = map[string]names{
	"group":  ofConfig((*config.Config).GroupNames),
	"region": ofConfig((*config.Config).RegionNames),
	"vault":  ofConfig((*config.Config).RegionNames),
	"from":   ofConfig((*config.Config).RegionNames),
	"shard":  ofConfig(shards),
	"target": ofConfig(targetNames),
	"cut": func(ctx context.Context, s Source, c *cobra.Command) []string {
		return append(cuts(ctx, s, c), plan.Latest)
	},
	"into":       words(plan.Sandbox, plan.Instances),
	"engine":     words("configured", "embedded"),
	"trigger":    words("manual", "change", "incident"),
	"log-level":  words("debug", "info", "warn", "error"),
	"log-format": words("text", "json"),
}

// arguments are the names for arguments, by the path of the command below its
// program.
var arguments = map[string]names{
	"cut show": func(ctx context.Context, s Source, c *cobra.Command) []string {
		return append(cuts(ctx, s, c), plan.Latest)
	},
	"backup show":     bases,
	"backup rm":       bases,
	"drill abort":     ofConfig((*config.Config).DrillNames),
	"drill approve":   ofConfig((*config.Config).DrillNames),
	"drill run":       ofConfig((*config.Config).DrillNames),
	"drill show":      reports,
	"sandbox show":    ofConfig(sandboxes),
	"sandbox rm":      ofConfig(sandboxes),
	"schedule pause":  ofConfig(schedules),
	"schedule resume": ofConfig(schedules),
}

// repeated are the commands that take more than one argument.
var repeated = []string{"sandbox rm", "schedule pause", "schedule resume"}

// Wire makes root's commands complete names. Call it when all commands are added.
func Wire(root *cobra.Command, s Source) { wire(root, root, s) }

func wire(root, c *cobra.Command, s Source) {
	for _, sub := range c.Commands() {
		wire(root, sub, s)
	}

	path := strings.TrimPrefix(c.CommandPath(), root.CommandPath()+" ")
	if f := arguments[path]; f != nil {
		c.ValidArgsFunction = complete(s, f, slices.Contains(repeated, path))
	} else if c.ValidArgsFunction == nil && !c.HasSubCommands() {
		c.ValidArgsFunction = cobra.NoFileCompletions
	}

	for name, f := range flags {
		if c.Flags().Lookup(name) != nil || c.PersistentFlags().Lookup(name) != nil {
			_ = c.RegisterFlagCompletionFunc(name, complete(s, f, true)) // the flag is there, and has none yet
		}
	}
}

// complete offers the names that go on as the word does and were not given yet.
func complete(s Source, f names, more bool) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		ctx := c.Context()
		if ctx == nil {
			ctx = context.Background()
		}

		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()

		if len(args) > 0 && !more {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}

		all := slices.DeleteFunc(f(ctx, s, c), func(n string) bool { return !strings.HasPrefix(n, word) || slices.Contains(args, n) })

		return all, cobra.ShellCompDirectiveNoFileComp
	}
}

func words(w ...string) names {
	return func(context.Context, Source, *cobra.Command) []string { return slices.Clone(w) }
}

func ofConfig(f func(*config.Config) []string) names {
	return func(_ context.Context, s Source, _ *cobra.Command) []string {
		cfg, err := s.Config()
		if err != nil {
			return nil
		}

		return slices.Clone(f(cfg))
	}
}

func shards(cfg *config.Config) (out []string) {
	for _, g := range cfg.GroupNames() {
		for _, s := range cfg.Shards(g) {
			out = append(out, s.String())
		}
	}

	return out
}

func targetNames(cfg *config.Config) (out []string) {
	for _, s := range shards(cfg) {
		target, _, _ := strings.Cut(s, "/")
		out = append(out, target)
	}

	return slices.Compact(out)
}

// schedules are the ids without the platform's name before them.
func schedules(cfg *config.Config) (out []string) {
	ids := workflows.IDs("")
	for _, g := range cfg.GroupNames() {
		out = append(out, ids.Cut(g), ids.Backup(g), ids.Check(g), ids.Retain(g))
	}

	for _, d := range cfg.DrillNames() {
		out = append(out, ids.Drill(d))
	}

	return out
}

func sandboxes(cfg *config.Config) (out []string) {
	boxes, _ := sandbox.List(cfg.Sandbox.Dir) // what cannot be read completes to nothing
	for _, b := range boxes {
		out = append(out, b.ID())
	}

	return out
}

func cuts(ctx context.Context, s Source, c *cobra.Command) (out []string) {
	v, group, err := s.Vault(ctx, c)
	if err != nil {
		return nil
	}

	for cut, err := range v.CutsNewest(ctx, group) {
		if ctx.Err() != nil || len(out) == few {
			break
		}

		if err == nil {
			out = append(out, cut.ID)
		}
	}

	return out
}

func bases(ctx context.Context, s Source, c *cobra.Command) (out []string) {
	v, _, err := s.Vault(ctx, c)
	if err != nil {
		return nil
	}

	all, err := v.Shards(ctx)
	if err != nil {
		return nil
	}

	for _, shard := range all {
		n := 0
		for b, err := range v.BasesNewest(ctx, shard) {
			if n++; ctx.Err() != nil || n > few {
				break
			}

			if err == nil {
				out = append(out, b.ID)
			}
		}
	}

	return out
}

func reports(ctx context.Context, s Source, c *cobra.Command) []string {
	v, _, err := s.Vault(ctx, c)
	if err != nil {
		return nil
	}

	ids, err := v.Reports(ctx, "drill")
	if err != nil {
		return nil
	}

	slices.Reverse(ids) // the newest first

	return ids[:min(len(ids), few)]
}
