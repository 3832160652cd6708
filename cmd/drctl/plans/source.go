package plans

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"drctl/config"
	"drctl/config/recovery"
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

// Wanted is how a command is told which plan is meant.
type Wanted struct {
	Group, Mode, From, To, Choice, Extra string
	// Stay are targets that are left where they are.
	Stay []string
}

// Flags adds the flags that name a plan; that of the mode only where it is not set.
func (s *Wanted) Flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVarP(&s.Group, "group", "g", "", "group (default: the only one)")

	if s.Mode == "" {
		f.StringVar(&s.Mode, "mode", string(plan.ModeSwitchover), "switchover, failover or failback")
	}

	f.StringVar(&s.From, "from", "", "region that is left (default: the group's home; of a failback the other one)")
	f.StringVar(&s.To, "to", "", "region that takes over (default: the other one)")
	f.StringVar(&s.Choice, "choice", "", "of a failover: newest (each shard as far as it gets) or proven (the group at one provable moment)")
	f.StringSliceVar(&s.Stay, "stay", nil, "targets that are left where they are, such as a bucket that both regions use")
	f.StringVar(&s.Extra, "extra", "", "JSON file with services, routes, policy and overlay")
}

// Plan derives the plan that is meant, with what people have changed in it. edit may
// fill in what the policy leaves open; it may be nil.
func (s Wanted) Plan(cfg *config.Config, edit func(*failover.Policy)) (plan.Definition, failover.Topology, error) {
	var x Extra
	if s.Extra != "" {
		if err := read(s.Extra, &x); err != nil {
			return plan.Definition{}, failover.Topology{}, err
		}
	}

	group := s.Group
	if names := cfg.GroupNames(); group == "" && len(names) == 1 {
		group = names[0]
	}

	g := cfg.Groups[group]
	if g == nil {
		return plan.Definition{}, failover.Topology{}, fail.New(fail.Invalid, "flags", "--group", "name one of the configured groups", errors.New("there is no group "+group))
	}

	rec := cfg.Recovery[group]
	if rec != nil {
		s.Stay = append(slices.Clone(s.Stay), rec.Stay...)
	}

	for _, name := range s.Stay {
		if !slices.Contains(g.Targets, name) {
			return plan.Definition{}, failover.Topology{}, fail.New(fail.Invalid, "flags", "--stay", "name targets of the group", errors.New("the group has no target "+name))
		}
	}

	t := topology(cfg, group)
	t.Shards = slices.DeleteFunc(t.Shards, func(x failover.Shard) bool { return slices.Contains(s.Stay, x.ID.Target) })
	t.Services = x.Services

	for _, r := range g.Routes { // what a route leads to is there
		if r.Service != "" && !slices.ContainsFunc(t.Services, func(o failover.Service) bool { return o.Name == r.Service }) {
			t.Services = append(t.Services, failover.Service{Name: r.Service, Tier: failover.Edge})
		}
	}

	slices.SortStableFunc(t.Services, func(a, b failover.Service) int { return strings.Compare(a.Name, b.Name) })
	p := s.policy(cfg, g.Home, x.Policy)

	lost := "" // with all that routes there
	if s.Mode == string(plan.ModeFailover) {
		lost = p.From
	}
	t.Routes = append(routes(g, lost, s.Stay), x.Routes...)

	if rec != nil {
		decided(rec, g.Home, &p)
	}

	if edit != nil {
		edit(&p)
	}

	d, err := failover.Derive(t, p, plan.Mode(s.Mode))
	if err != nil {
		return d, t, err
	}

	d, err = failover.Override(d, x.Overlay)

	return d, t, err
}

// policy fills in the regions from the flags, or from what the group's home says.
func (s Wanted) policy(cfg *config.Config, home string, p failover.Policy) failover.Policy {
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

	if s.Mode == string(plan.ModeFailback) {
		home, other = other, home
	}

	set(&p.From, s.From, home)
	set(&p.To, s.To, other)

	if s.Choice != "" {
		p.Choice = plan.Choice(s.Choice)
	}

	return p
}

// topology is what the configuration says of a group's shards.
func topology(cfg *config.Config, group string) failover.Topology {
	t := failover.Topology{Group: group, Witness: cfg.Voters() >= 3, Regions: cfg.RegionNames()}

	for _, id := range cfg.Shards(group) {
		s := failover.Shard{ID: id, Kind: cfg.Kind(id), Regions: cfg.ShardRegions(id), Hosts: map[string]string{}, Places: map[string]plan.Destination{}}
		for _, r := range s.Regions {
			if host, dir := cfg.Host(id, r); dir {
				s.Hosts[r] = host
			}

			if in := cfg.Targets[id.Target].Shards[id.Shard][r]; in != nil && in.DataDir != "" {
				s.Places[r] = plan.Destination{Region: r, Host: in.Host, Address: in.Address, DataDir: filepath.Clean(in.DataDir)}
			}
		}
		t.Shards = append(t.Shards, s)
	}

	return t
}

// routes are those that the configuration has of a group, but for those to targets that
// stay where they are, and those that are lost with a region.
func routes(g *config.Group, lost string, stay []string) (out []failover.Route) {
	for _, name := range slices.Sorted(maps.Keys(g.Routes)) {
		r := g.Routes[name]
		to := r.Service

		if to == "" {
			to, _, _ = strings.Cut(r.Shard, "/")
		}

		if slices.Contains(stay, to) || r.In != "" && r.In == lost {
			continue
		}
		out = append(out, failover.Route{Name: name, For: []string{to}, Holds: r.Holds()})
	}

	return out
}

// decided fills in what the configuration says of who decides, and by what an old side is
// silenced. An extra file may ask for more people, not for fewer.
func decided(r *recovery.Recovery, home string, p *failover.Policy) {
	if len(p.Destinations) == 0 {
		p.Destinations = destinations(r, home)
	}

	if p.Choice == "" {
		p.Choice = plan.Choice(r.Choice)
	}

	p.People = max(p.People, r.Approvals)
	if p.ApproveWithin == 0 {
		p.ApproveWithin = r.Within
	}

	if len(r.Fence) > 0 && p.Hook == nil && len(p.Fence) == 0 {
		p.Fence, p.Hook = []string{plan.ByHook, plan.ByGuard, plan.ByStatement}, &plan.Exec{Command: r.Fence}
	}
}

func destinations(r *recovery.Recovery, home string) map[string]plan.Destination {
	out := map[string]plan.Destination{}

	for target, shards := range r.Destinations {
		for shard, d := range shards {
			x := plan.Destination{Region: d.Region, Host: d.Host, Address: d.Address, DataDir: d.DataDir, Bucket: d.Bucket}
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
	var kept struct {
		plan.Definition
		Choices json.RawMessage `json:"choices"` // what was foreseen then is no part of the plan
	}

	if err := read(path, &kept); err != nil {
		return kept.Definition, err
	}
	d := kept.Definition

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
