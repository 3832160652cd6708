package plans

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"drctl/config"
	"drctl/internal/fail"
	"drctl/restore/failover"
	"drctl/restore/plan"
	"drctl/targets"
)

// maxFile bounds what is read of a file that somebody names.
const maxFile = 16 << 20

// Extra is what a file says of a plan beyond the configuration.
type Extra struct {
	Services []failover.Service `json:"services,omitempty"`
	Routes   []failover.Route   `json:"routes,omitempty"`
	Policy   failover.Policy    `json:"policy,omitzero"`
	Overlay  failover.Overlay   `json:"overlay,omitzero"`
}

// source is how a command is told which plan is meant.
type source struct {
	group, mode, from, to, choice, extra string
}

func (s *source) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVarP(&s.group, "group", "g", "", "group (default: the only one)")
	f.StringVar(&s.mode, "mode", string(plan.ModeSwitchover), "switchover, failover or failback")
	f.StringVar(&s.from, "from", "", "region that is left (default: the group's home; of a failback the other one)")
	f.StringVar(&s.to, "to", "", "region that takes over (default: the other one)")
	f.StringVar(&s.choice, "choice", "", "of a failover: newest (each shard as far as it gets) or proven (the group at one provable moment)")
	f.StringVar(&s.extra, "extra", "", "JSON file with services, routes, policy and overlay")
}

// plan derives the plan that is meant, with what people have changed in it.
func (s source) plan(cfg *config.Config) (plan.Definition, failover.Topology, error) {
	var x Extra
	if s.extra != "" {
		if err := read(s.extra, &x); err != nil {
			return plan.Definition{}, failover.Topology{}, err
		}
	}

	group := s.group
	if names := cfg.GroupNames(); group == "" && len(names) == 1 {
		group = names[0]
	}

	g := cfg.Groups[group]
	if g == nil {
		return plan.Definition{}, failover.Topology{}, fail.New(fail.Invalid, "flags", "--group", "name one of the configured groups", errors.New("there is no group "+group))
	}
	t := topology(cfg, group)
	t.Services, t.Routes = x.Services, x.Routes
	p := s.policy(cfg, g.Home, x.Policy)

	if r := cfg.Recovery[group]; r != nil && len(p.Destinations) == 0 {
		p.Destinations = destinations(r, g.Home)
	}

	d, err := failover.Derive(t, p, plan.Mode(s.mode))
	if err != nil {
		return d, t, err
	}

	d, err = failover.Override(d, x.Overlay)

	return d, t, err
}

// policy fills in the regions from the flags, or from what the group's home says.
func (s source) policy(cfg *config.Config, home string, p failover.Policy) failover.Policy {
	set := func(to *string, values ...string) {
		for _, v := range values {
			if *to == "" || v == values[0] && v != "" {
				*to = v
			}
		}
	}

	var other string
	for _, r := range cfg.RegionNames() {
		if r != home {
			other = r
			break
		}
	}

	if s.mode == string(plan.ModeFailback) {
		home, other = other, home
	}

	set(&p.From, s.from, home)
	set(&p.To, s.to, other)

	if s.choice != "" {
		p.Choice = plan.Choice(s.choice)
	}

	return p
}

// topology is what the configuration says of a group's shards.
func topology(cfg *config.Config, group string) failover.Topology {
	t := failover.Topology{Group: group, Regions: cfg.RegionNames()}

	for _, id := range cfg.Shards(group) {
		t.Shards = append(t.Shards, failover.Shard{ID: id, Kind: cfg.Kind(id), Regions: cfg.ShardRegions(id)})
	}

	return t
}

func destinations(r *config.Recovery, home string) map[string]plan.Destination {
	out := map[string]plan.Destination{}

	for target, shards := range r.Destinations {
		for shard, d := range shards {
			x := plan.Destination{Region: d.Region, Address: d.Address, DataDir: d.DataDir, Bucket: d.Bucket}
			if x.Region == "" {
				x.Region = home
			}
			out[targets.ShardID{Target: target, Shard: shard}.String()] = x
		}
	}

	return out
}

// definition reads a plan from a file, such as plan show --json has printed.
func definition(path string) (plan.Definition, error) {
	var d plan.Definition
	if err := read(path, &d); err != nil {
		return d, err
	}

	if err := d.Check(); err != nil {
		return d, fail.New(fail.Invalid, "recovery plan", path, "write it with: drctl plan show --json", err)
	}

	return d, nil
}

// read reads one JSON document that has no field which nobody knows.
func read(path string, into any) error {
	f, err := os.Open(path)
	if err != nil {
		return fail.FromOS("recovery plan", path, err)
	}
	defer f.Close()

	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return fail.FromOS("recovery plan", path, err)
	}

	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()

	if err := d.Decode(into); err != nil {
		return fail.New(fail.Invalid, "recovery plan", path, "mend the JSON; docs/recovery-plans.md has an example", err)
	}

	return nil
}

// sorted are the names of bugs, for a flag's help.
func sorted[T ~string](all []T) (out []string) {
	for _, b := range all {
		out = append(out, string(b))
	}

	slices.Sort(out)

	return out
}
