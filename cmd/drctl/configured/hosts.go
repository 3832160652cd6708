package configured

import (
	"slices"

	"drctl/internal/platform"
	"drctl/restore/served"
)

// Served are the queues that somebody has to serve for a group, besides those of its
// regions: those of the roles that it needs, and those of the hosts that it names.
func (p *Platform) Served(group string) (out []served.Queue) {
	add := func(region, host string, role platform.Role, what string) {
		if p.Config.Regions[region] == nil {
			return
		}

		q := platform.Queue(p.Config.Regions[region].Queue, host, role)

		i := slices.IndexFunc(out, func(x served.Queue) bool { return x.Queue == q })
		if i < 0 {
			i = len(out)
			out = append(out, served.Queue{Place: platform.Place{Region: region, Host: host}, Role: role, Queue: q})
		}

		if !slices.Contains(out[i].For, what) {
			out[i].For = append(out[i].For, what)
		}
	}
	hosted := func(region, host, what string) {
		if host != "" {
			add(region, host, platform.Base, what)
		}
	}

	if g := p.Config.Groups[group]; g != nil {
		add(g.Home, "", platform.Archive, "the observer of "+group)
		add(g.Home, "", platform.Base, "the cuts of "+group)
	}

	for _, id := range p.Config.Shards(group) {
		if region, ok := p.Config.Primary(id); ok && p.Config.Kind(id).Traits().Log {
			add(region, "", platform.Archive, "the archiver of "+id.String())
			add(region, "", platform.Base, "the bases of "+id.String())
		}

		for _, region := range p.Config.ShardRegions(id) {
			host, _ := p.Config.Host(id, region)
			hosted(region, host, id.String()+"@"+region)
		}

		if r := p.Config.Recovery[group]; r != nil {
			d := r.Destinations[id.Target][id.Shard]
			hosted(d.Region, d.Host, "the destination of "+id.String())
		}
	}

	for _, name := range p.Config.DrillNames() {
		if d := p.Config.Drills[name]; d.Group == group {
			add(d.Vault, p.Config.Sandbox.Hosts[d.Vault], platform.Sandbox, "the drill "+name)
		}
	}

	return out
}

// SandboxQueue is the queue of the host that a region's sandboxes are on; "" where the
// configuration names none.
func (p *Platform) SandboxQueue(region string) string {
	host := p.Config.Sandbox.Hosts[region]
	if host == "" || p.Config.Regions[region] == nil {
		return ""
	}

	return platform.Queue(p.Config.Regions[region].Queue, host, platform.Sandbox)
}
