package config

import (
	"maps"
	"path/filepath"
	"slices"
	"time"

	"drctl/targets"
)

// All defaults are here and nowhere else. Those that stand alone are set
// before a section is read, so that a written zero stays a zero; those that
// follow from other values are derived after it (derive). Show prints the outcome.

// StandardPolicy is the policy that exists in every configuration.
const StandardPolicy = "standard"

func (c *Config) SetDefaults() {
	c.StateDir = "/var/lib/drctl"
	c.Policies = map[string]*Policy{}
}

func (e *Engine) SetDefaults() {
	e.Mode = Embedded
	e.Namespace = "drctl"
	// Address is derived: the embedded engine has a default, an external none.
}

func (g *Group) SetDefaults() { g.Policy = StandardPolicy }

func (c *Cut) SetDefaults() {
	*c = Cut{Every: time.Minute, Mode: targets.ModeAuto, Accept: "ordered", Look: 10 * time.Second, HalfDone: 10 * time.Second,
		Redis: "auto", Partial: "refuse", Lease: 3 * time.Second, Budget: 250 * time.Millisecond,
		LockTimeout: 20 * time.Millisecond, Attempts: 50, SealWithin: time.Minute, Unnameable: "skip"}
}

func (b *Base) SetDefaults() { *b = Base{Every: 24 * time.Hour, FullEvery: 7} }

func (s *Stream) SetDefaults() { *s = Stream{ChunkAge: time.Second, ChunkSize: 16 << 20} }

func (c *Check) SetDefaults() { *c = Check{Every: 6 * time.Hour, ReadData: "1/20"} }

func (r *Retention) SetDefaults() {
	*r = Retention{Cuts: 7 * 24 * time.Hour, CutsMin: 10, Bases: 30 * 24 * time.Hour, BasesMin: 2}
}

func (d *Drill) SetDefaults() {
	d.Cut = Latest
	d.Window = 24 * time.Hour
}

// derive fills what follows from other values. It runs on files with mistakes
// too, so it takes nothing for granted.
func (c *Config) derive() {
	if c.Engine.Mode == Embedded && c.Engine.Address == "" {
		c.Engine.Address = "127.0.0.1:7233"
	}

	for name, r := range c.Regions {
		if r.Queue == "" {
			// With the platform's name, so that platforms may share a namespace.
			r.Queue = "drctl." + c.Name + "." + name
		}
	}

	for _, t := range c.Targets {
		if t.TLS == "" && t.Kind != "s3" { // an S3 endpoint's URL says it
			t.TLS = "disable"
		}
	}

	if c.Sandbox.Dir == "" && c.StateDir != "" {
		c.Sandbox.Dir = filepath.Join(c.StateDir, "sandbox")
	}

	if _, ok := c.Policies[StandardPolicy]; !ok {
		c.Policies[StandardPolicy] = fresh[Policy]()
	}

	for name, p := range c.Policies {
		at := "policies." + name
		if len(p.Stream.Vaults) == 0 && !c.wrote(at+".stream.vaults") {
			p.Stream.Vaults = c.RegionNames()
		}

		if p.Stream.Durability == 0 && !c.wrote(at+".stream.durability") {
			p.Stream.Durability = max(1, min(2, len(p.Stream.Vaults)))
		}

		if !c.wrote(at + ".jitter") {
			p.Jitter = spread(2*time.Second, p.Cut.Every)
		}

		if p.Objectives.RPO == 0 && !c.wrote(at+".objectives.rpo") {
			p.Objectives.RPO = 2 * p.Cut.Every // a missed cut is tolerated once
		}
	}

	for name, g := range c.Groups {
		if g.Home == "" && !c.wrote("groups."+name+".home") {
			g.Home = c.defaultHome(g)
		}
	}

	for name, d := range c.Drills {
		c.deriveDrill("drills."+name, d)
	}

	for name, r := range c.Recovery {
		g := c.Groups[name]
		for _, byShard := range r.Destinations {
			for sh, d := range byShard {
				if d.Region == "" && g != nil {
					d.Region = g.Home
					byShard[sh] = d
				}
			}
		}
	}
}

// defaultHome is the region of the gate's primary, or of the first primary found.
func (c *Config) defaultHome(g *Group) string {
	if id, ok := parseShard(g.Gate); ok {
		if r, ok := c.Primary(id); ok {
			return r
		}
	}

	for _, t := range g.Targets {
		for _, id := range c.shardsOf(t) {
			if r, ok := c.Primary(id); ok {
				return r
			}
		}
	}

	return ""
}

// spread is the default jitter, no more than a tenth of a short interval.
func spread(most, every time.Duration) time.Duration {
	if every > 0 {
		return min(most, every/10)
	}

	return most
}

func (c *Config) deriveDrill(at string, d *Drill) {
	if !c.wrote(at + ".jitter") {
		d.Jitter = spread(5*time.Minute, d.Every)
	}

	g := c.Groups[d.Group]
	if g == nil {
		return
	}

	p := c.Policies[g.Policy]
	if p == nil {
		return
	}

	if d.Vault == "" && !c.wrote(at+".vault") {
		i := slices.IndexFunc(p.Stream.Vaults, func(r string) bool { return r != g.Home })
		switch {
		case i >= 0:
			d.Vault = p.Stream.Vaults[i]
		case len(p.Stream.Vaults) > 0:
			d.Vault = p.Stream.Vaults[0]
		}
	}

	if d.Objectives.RPO == 0 && !c.wrote(at+".objectives.rpo") {
		d.Objectives.RPO = p.Objectives.RPO
	}

	if d.Objectives.RTO == 0 && !c.wrote(at+".objectives.rto") {
		d.Objectives.RTO = p.Objectives.RTO
	}
}

// sortedKeys makes every walk over a map repeatable.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
