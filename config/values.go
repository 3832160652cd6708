package config

import (
	"context"
	"errors"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"drctl/config/storage"
	"drctl/internal/fail"
	"drctl/targets"
)

// The methods here hand the configuration to the rest of drctl as plain
// values; every error is a *fail.Error of code invalid or not-found that
// names what the configuration does not have.

// File is the name under which the configuration was read.
func (c *Config) File() string { return c.file }

// Warnings are what deserves a look but is not wrong.
func (c *Config) Warnings() []Mistake { return slices.Clone(c.warnings) }

// RegionNames lists the regions, sorted.
func (c *Config) RegionNames() []string { return sortedKeys(c.Regions) }

// GroupNames lists the groups, sorted.
func (c *Config) GroupNames() []string { return sortedKeys(c.Groups) }

// DrillNames lists the drills, sorted.
func (c *Config) DrillNames() []string { return sortedKeys(c.Drills) }

func (c *Config) shardsOf(target string) (out []targets.ShardID) {
	t := c.Targets[target]
	if t == nil {
		return nil
	}

	for _, s := range sortedKeys(t.Shards) {
		out = append(out, targets.ShardID{Target: target, Shard: s})
	}

	slices.SortFunc(out, targets.ShardID.Compare)

	return out
}

// Shards lists the shards of a group, or of every target when group is "",
// sorted. An unknown group has none.
func (c *Config) Shards(group string) (out []targets.ShardID) {
	names := sortedKeys(c.Targets)
	if group != "" {
		g := c.Groups[group]
		if g == nil {
			return nil
		}
		names = slices.Sorted(slices.Values(g.Targets))
	}

	for _, t := range names {
		out = append(out, c.shardsOf(t)...)
	}

	return out
}

// Kind returns the kind of a shard's store, "" for an unknown target.
func (c *Config) Kind(id targets.ShardID) targets.Kind {
	if t := c.Targets[id.Target]; t != nil {
		return targets.Kind(t.Kind)
	}

	return ""
}

// Ports lists the ports of all instances and destinations, sorted.
func (c *Config) Ports() []int {
	var out []int
	add := func(address string) {
		if u, err := url.Parse(address); err == nil && u.Host != "" {
			address = u.Host
		}

		_, port, err := net.SplitHostPort(address)
		if n, e := strconv.Atoi(port); err == nil && e == nil {
			out = append(out, n)
		}
	}

	for _, t := range c.Targets {
		for _, sh := range t.Shards {
			for _, i := range sh {
				add(i.Address)
				add(i.Endpoint)
			}
		}
	}

	for _, r := range c.Recovery {
		for _, shards := range r.Destinations {
			for _, d := range shards {
				add(d.Address)
			}
		}
	}

	slices.Sort(out)

	return slices.Compact(out)
}

// GroupOf names the group of a shard.
func (c *Config) GroupOf(id targets.ShardID) (string, error) {
	for _, name := range c.GroupNames() {
		if slices.Contains(c.Groups[name].Targets, id.Target) {
			return name, nil
		}
	}

	return "", c.unknown("group of shard", id.String())
}

func (c *Config) unknown(what, name string) error {
	return fail.New(fail.NotFound, "config: "+what, name, "see drctl config show", errNotConfigured)
}

var errNotConfigured = errors.New("the configuration does not have it")

// Primary names the region of a shard's configured primary.
func (c *Config) Primary(id targets.ShardID) (region string, ok bool) {
	t := c.Targets[id.Target]
	if t == nil {
		return "", false
	}

	sh := t.Shards[id.Shard]
	for _, r := range sortedKeys(sh) {
		if sh[r].Role == string(targets.Primary) {
			return r, true
		}
	}

	return "", false
}

// ShardRegions lists the regions that have an instance of the shard, the
// primary's first.
func (c *Config) ShardRegions(id targets.ShardID) []string {
	t := c.Targets[id.Target]
	if t == nil {
		return nil
	}
	p, _ := c.Primary(id)
	out := sortedKeys(t.Shards[id.Shard])
	slices.SortStableFunc(out, func(a, b string) int {
		switch {
		case a == p && b != p:
			return -1
		case b == p && a != p:
			return 1
		}

		return 0
	})

	return out
}

// Instance resolves a shard's instance in a region, secrets included.
func (c *Config) Instance(ctx context.Context, id targets.ShardID, region string) (targets.Instance, error) {
	t := c.Targets[id.Target]
	if t == nil {
		return targets.Instance{}, c.unknown("target", id.Target)
	}

	sh, ok := t.Shards[id.Shard]
	if !ok {
		return targets.Instance{}, c.unknown("shard", id.String())
	}

	i := sh[region]
	if i == nil {
		return targets.Instance{}, c.unknown("instance", id.String()+"@"+region)
	}
	in := c.access(t, id)
	in.Region, in.Role = region, targets.Role(i.Role)
	in.Address, in.DataDir, in.Host = i.Address, i.DataDir, i.Host

	user, secret := t.User, t.Password
	if in.Kind == targets.S3 {
		in.Address, in.Database, in.Prefix = i.Endpoint, i.Bucket, i.Prefix

		user, secret = t.AccessKey, t.SecretKey
		if i.AccessKey != "" {
			user = i.AccessKey
		}

		if !i.SecretKey.IsZero() {
			secret = i.SecretKey
		}
	} else {
		if i.User != "" {
			user = i.User
		}

		if !i.Password.IsZero() {
			secret = i.Password
		}
	}
	in.User = user
	var err error
	in.Password, err = c.optionalSecret(ctx, secret)

	return in, err
}

func lowerKeys(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[strings.ToLower(k)] = v
	}

	return out
}

// access is what all instances of a target have in common, secrets aside.
func (c *Config) access(t *Target, id targets.ShardID) targets.Instance {
	return targets.Instance{Kind: targets.Kind(t.Kind), Shard: id, Database: t.Database,
		TLS: t.TLS, CAFile: t.CAFile, Tables: slices.Clone(t.Tables), Renamed: lowerKeys(t.RenamedCommands)}
}

// Destination returns where a recovery of the shard's group restores it to.
// The instance has the target's credentials and the role primary. It is
// not-found when none is configured.
func (c *Config) Destination(ctx context.Context, id targets.ShardID) (targets.Instance, error) {
	t := c.Targets[id.Target]

	g, err := c.GroupOf(id)
	if err != nil || t == nil {
		return targets.Instance{}, c.unknown("shard", id.String())
	}

	r := c.Recovery[g]
	if r == nil {
		return targets.Instance{}, c.noDestination(id, g)
	}

	d, ok := r.Destinations[id.Target][id.Shard]
	if !ok {
		return targets.Instance{}, c.noDestination(id, g)
	}
	in := c.access(t, id)
	in.Region, in.Role, in.Address, in.DataDir, in.Host = d.Region, targets.Primary, d.Address, d.DataDir, d.Host
	in.User = t.User

	secret := t.Password
	if in.Kind == targets.S3 {
		in.Database, in.User, secret = d.Bucket, t.AccessKey, t.SecretKey
	}
	in.Password, err = c.optionalSecret(ctx, secret)

	return in, err
}

func (c *Config) noDestination(id targets.ShardID, group string) error {
	return fail.New(fail.NotFound, "config: destination", id.String(),
		"name one under recovery."+group+".destinations."+id.Target, errNotConfigured)
}

// Host names the host of a shard's instance in a region; "" where none is named. Dir says
// that a worker there can read its data directory.
func (c *Config) Host(id targets.ShardID, region string) (host string, dir bool) {
	if t := c.Targets[id.Target]; t != nil && t.Shards[id.Shard][region] != nil {
		return t.Shards[id.Shard][region].Host, t.Shards[id.Shard][region].DataDir != ""
	}

	return "", false
}

// Policy returns a group's policy.
func (c *Config) Policy(group string) (Policy, error) {
	g := c.Groups[group]
	if g == nil {
		return Policy{}, c.unknown("group", group)
	}

	p := c.Policies[g.Policy]
	if p == nil {
		return Policy{}, c.unknown("policy", g.Policy)
	}

	return *p, nil
}

func parseShard(s string) (targets.ShardID, bool) {
	id, err := targets.ParseShardID(s)
	return id, err == nil
}

// VaultLocation resolves where a region's vault is.
func (c *Config) VaultLocation(ctx context.Context, region string) (storage.Location, error) {
	r := c.Regions[region]
	if r == nil {
		return storage.Location{}, c.unknown("region", region)
	}
	secret, err := c.optionalSecret(ctx, r.Vault.SecretKey)

	return r.Vault.Located(secret), err
}

// WitnessLocation resolves where the witness is; ok is false when there is none.
func (c *Config) WitnessLocation(ctx context.Context) (l storage.Location, ok bool, err error) {
	if c.Witness == nil {
		return l, false, nil
	}
	secret, err := c.optionalSecret(ctx, c.Witness.SecretKey)

	return c.Witness.Located(secret), true, err
}

// Voters is how many stores have a vote on which region may write: all vaults, and the witness.
func (c *Config) Voters() int {
	if c.Witness == nil {
		return len(c.Regions)
	}

	return len(c.Regions) + 1
}

func (c *Config) optionalSecret(ctx context.Context, ref Ref) (targets.Secret, error) {
	if ref.IsZero() {
		return targets.Secret{}, nil
	}

	return c.Secret(ctx, ref)
}
