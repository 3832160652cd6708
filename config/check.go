package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"drctl/config/checks"
	"drctl/config/recovery"
	"drctl/config/route"
	"drctl/config/storage"
	"drctl/config/unit"
	"drctl/internal/human"
	"drctl/targets"
)

// checker finds what is wrong with values that were read well: references
// that lead nowhere, contradictions, promises that cannot be kept.
type checker struct {
	*Config
	errs []Mistake
}

// mistake builds a message at the value of a path, or at the nearest place above it.
func (c *Config) mistake(path, hint, format string, args ...any) Mistake {
	m := Mistake{File: c.file, Path: path, Message: fmt.Sprintf(format, args...), Hint: hint}
	if p, ok := c.places[path]; ok {
		m.Line, m.Col = p.line, p.col
		return m
	}

	for up := path; up != ""; {
		i := strings.LastIndexByte(up, '.')

		up = up[:max(i, 0)]
		if p, ok := c.places[up]; ok {
			m.Line, m.Col = p.keyLine, p.keyCol
			return m
		}
	}
	m.Line, m.Col = 1, 1

	return m
}

func (c *Config) warn(path, hint, format string, args ...any) {
	c.warnings = append(c.warnings, c.mistake(path, hint, format, args...))
}

func (c *checker) fail(path, hint, format string, args ...any) {
	if !c.broken[path] {
		c.errs = append(c.errs, c.mistake(path, hint, format, args...))
	}
}

// known reports a name that is not among the given ones.
func (c *checker) known(path, what, name string, names []string) bool {
	if name == "" || slices.Contains(names, name) {
		return name != ""
	}

	c.fail(path, human.Suggest(name, names), "there is no %s %q", what, name)

	return false
}

func (c *checker) check() {
	c.checkEngine()
	c.checkRegions()

	for _, name := range sortedKeys(c.Targets) {
		c.checkTarget("targets."+name, name, c.Targets[name])
	}

	c.checkAddresses()

	for _, name := range sortedKeys(c.Policies) {
		c.checkPolicy("policies."+name, c.Policies[name])
	}

	c.checkGroups()

	for _, name := range sortedKeys(c.Drills) {
		c.checkDrill("drills."+name, c.Drills[name])
	}

	for _, region := range sortedKeys(c.Sandbox.Hosts) {
		c.known("sandbox.hosts."+region, "region", region, c.RegionNames())
	}

	automatic := false
	for _, name := range sortedKeys(c.Recovery) {
		automatic = automatic || c.Recovery[name].Decision == recovery.Automatic
		c.checkRecovery("recovery."+name, name, c.Recovery[name])
	}

	for _, p := range c.Detection.Check(c.RegionNames(), automatic) {
		c.fail("detection."+p.Key, p.Hint, "%s", p.Text)
	}
}

// empty reports a section that must have an entry.
func (c *checker) empty(path string, n int, what string) {
	if n == 0 && c.wrote(path) {
		c.fail(path, "", "at least one %s is needed", what)
	}
}

func (c *checker) checkEngine() {
	e := c.Engine
	if e.Mode == External {
		if e.Address == "" {
			c.fail("engine.address", "host:port of the Temporal frontend", "an external engine needs an address")
		}
	} else if e.TLS != nil || !e.APIKey.IsZero() {
		c.fail("engine.mode", "set mode: external", "tls and api_key are for an external engine; this one is embedded")
	} else if host, _, ok := cutLast(e.Address, ":"); ok && host != "localhost" && host != "127.0.0.1" {
		c.fail("engine.address", "use 127.0.0.1:7233 or another port", "the embedded engine is for its own user on this machine and listens on 127.0.0.1 alone")
	}

	if e.TLS != nil && (e.TLS.CertFile == "") != (e.TLS.KeyFile == "") {
		c.fail("engine.tls", "", "cert_file and key_file are given together or not at all")
	}
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}

	return s[:i], s[i+len(sep):], true
}

func (c *checker) checkRegions() {
	c.empty("regions", len(c.Regions), "region")

	queues, vaults := map[string]string{}, map[string]string{}
	for _, name := range c.RegionNames() {
		r, at := c.Regions[name], "regions."+name
		if other, ok := queues[r.Queue]; ok {
			c.fail(at+".queue", "a queue belongs to one region's workers", "region %s has the same queue %q", other, r.Queue)
		}
		queues[r.Queue] = name

		where := r.Vault.Where()
		if other, ok := vaults[where]; ok && r.Vault.URL != "" {
			c.fail(at+".vault.url", "each region has a vault of its own", "region %s has the same vault", other)
		}
		vaults[where] = name

		c.checkStore(at+".vault", r.Vault)
	}

	if w := c.Witness; w != nil {
		if _, ok := c.Regions[storage.Witness]; ok {
			c.fail("regions."+storage.Witness, "", "a region cannot have this name where there is a witness")
		}

		if other, ok := vaults[w.Where()]; ok && w.URL != "" {
			c.fail("witness.url", "the witness is no vault, and in a third place", "region %s has its vault there", other)
		}

		c.checkStore("witness", *w)
	}

	if c.Guard.Lease > storage.LongestLease {
		c.fail("guard.lease", "", "a lease of %s is too long; the most is %s", unit.FormatDuration(c.Guard.Lease), unit.FormatDuration(storage.LongestLease))
	}

	if len(c.Regions) == 1 {
		c.warn("regions", "add a region with a vault elsewhere", "there is one region alone: when it is lost, its vault is lost with it")
	}
}

func (c *checker) checkStore(at string, s storage.Store) {
	for _, k := range s.Foreign(func(key string) bool { return c.wrote(at + "." + key) }) {
		c.fail(at+"."+k, "", "this key is for s3:// stores alone")
	}

	c.keyPair(at, s.AccessKey, s.SecretKey)
}

// keyPair checks that an access key and a secret key come together.
func (c *checker) keyPair(at, access string, secret Ref) {
	if (access == "") != secret.IsZero() && !c.broken[at+".access_key"] && !c.broken[at+".secret_key"] {
		c.fail(at, "", "access_key and secret_key are given together or not at all")
	}
}

func (c *checker) checkTarget(at, name string, t *Target) {
	if t.Kind == "" {
		return // reported by the parser; nothing below would make sense
	}

	c.only(at, t.Kind, reflect.TypeFor[Target]())

	switch targets.Kind(t.Kind) {
	case targets.Postgres:
		for key, v := range map[string]string{"database": t.Database, "user": t.User} {
			if v == "" {
				c.fail(at+"."+key, "", "a postgres target needs the key %q", key)
			}
		}
	case targets.S3:
		c.keyPair(at, t.AccessKey, t.SecretKey)
	}

	if t.TLS == "verify-full" && t.CAFile == "" {
		c.warn(at+".tls", "name it with ca_file", "servers are checked against the system's authorities")
	}

	c.empty(at+".shards", len(t.Shards), "shard")

	for _, s := range sortedKeys(t.Shards) {
		c.checkShard(at+".shards."+s, targets.ShardID{Target: name, Shard: s}, t)
	}
}

// only refuses keys that belong to another kind of store.
func (c *checker) only(at, kind string, t reflect.Type) {
	fields, order := fieldsOf(t)
	for _, k := range order {
		o := fields[k].Tag.Get("only")
		if o != "" && c.wrote(at+"."+k) && !slices.Contains(strings.Split(o, "|"), kind) {
			c.fail(at+"."+k, "it is for kind "+strings.ReplaceAll(o, "|", " and "), "the key %q has no meaning for kind %s", k, kind)
		}
	}
}

func (c *checker) checkShard(at string, id targets.ShardID, t *Target) {
	if id.Shard == checks.All {
		c.fail(at, "choose another name", "%q means every shard and cannot name one", checks.All)
	}
	var primaries []string

	sh := t.Shards[id.Shard]
	for _, r := range sortedKeys(sh) {
		i, iat := sh[r], at+"."+r
		c.known(iat, "region", r, c.RegionNames())
		c.only(iat, t.Kind, reflect.TypeFor[Instance]())

		need := map[string]string{"address": i.Address}
		if t.Kind == string(targets.S3) {
			need = map[string]string{"endpoint": i.Endpoint, "bucket": i.Bucket}
			c.keyPair(iat, i.AccessKey, i.SecretKey)
		}

		for k, v := range need {
			if v == "" && !c.broken[iat] {
				c.fail(iat+"."+k, "", "an instance of kind %s needs the key %q", t.Kind, k)
			}
		}

		if i.Role == string(targets.Primary) {
			primaries = append(primaries, r)
		}

		if c.broken[iat+".role"] || c.broken[iat] {
			primaries = append(primaries, "") // unknown: do not complain of none
		}
	}

	switch real := slices.DeleteFunc(slices.Clone(primaries), func(r string) bool { return r == "" }); {
	case len(real) > 1:
		c.fail(at, "the others are standbys", "the shard has %d primaries: %s", len(real), strings.Join(real, ", "))
	case len(primaries) == 0 && !c.broken[at]:
		c.fail(at, "give one instance role: primary", "the shard has no primary")
	}
}

// checkAddresses finds instances that are the same server.
func (c *checker) checkAddresses() {
	seen := map[string]string{}
	for _, id := range c.Shards("") {
		t := c.Targets[id.Target]
		for _, r := range sortedKeys(t.Shards[id.Shard]) {
			i, at := t.Shards[id.Shard][r], "targets."+id.Target+".shards."+id.Shard+"."+r

			name := id.String() + "@" + r
			if i.Address != "" {
				if other, ok := seen[i.Address]; ok {
					c.fail(at+".address", "every shard is a server of its own", "%s has the same address %s", other, i.Address)
				}
				seen[i.Address] = name
			}

			if i.Endpoint == "" || i.Bucket == "" {
				continue
			}

			bucket := strings.TrimSuffix(i.Endpoint, "/") + "/" + i.Bucket
			for prior, other := range seen {
				b, prefix, ok := strings.Cut(prior, "\x00")
				if ok && b == bucket && (strings.HasPrefix(prefix, i.Prefix) || strings.HasPrefix(i.Prefix, prefix)) {
					c.fail(at+".bucket", "give each a bucket or a prefix of its own", "%s has keys of the same bucket %s", other, i.Bucket)
				}
			}
			seen[bucket+"\x00"+i.Prefix] = name
		}
	}
}

func (c *checker) checkPolicy(at string, p *Policy) {
	cut := p.Cut
	if cut.Lease <= cut.Budget {
		c.fail(at+".cut.lease", "the lease is the servers' last resort, several times the budget", "the lease of %s is not longer than the budget of %s", unit.FormatDuration(cut.Lease), unit.FormatDuration(cut.Budget))
	}

	if cut.LockTimeout > cut.Budget {
		c.fail(at+".cut.lock_timeout", "", "the lock timeout of %s is longer than the whole budget of %s", unit.FormatDuration(cut.LockTimeout), unit.FormatDuration(cut.Budget))
	}

	if !targets.Modes(cut.Mode).FromLogs() && cut.Accept == string(targets.Proven) {
		c.fail(at+".cut.accept", "use another mode, such as auto, or accept: locked", "cuts of mode %s are locked, and never proven", cut.Mode)
	}

	if cut.SealWithin <= p.Stream.ChunkAge {
		c.fail(at+".cut.seal_within", "", "a cut cannot be durable within %s when chunks are closed after %s", unit.FormatDuration(cut.SealWithin), unit.FormatDuration(p.Stream.ChunkAge))
	}

	if cut.Every > 0 && cut.Every < time.Second {
		c.fail(at+".cut.every", "", "a cut every %s is too often; the least is 1s", unit.FormatDuration(cut.Every))
	}

	if p.Stream.ChunkSize > 1<<30 {
		c.fail(at+".stream.chunk_size", "chunks are kept in memory until they are durable", "%s is too large; the most is 1GiB", p.Stream.ChunkSize)
	}

	if p.Jitter > cut.Every && cut.Every > 0 {
		c.fail(at+".jitter", "", "the jitter of %s is longer than the interval of cuts, %s", unit.FormatDuration(p.Jitter), unit.FormatDuration(cut.Every))
	}

	if rpo := p.Objectives.RPO; rpo > 0 && cut.Every > rpo {
		c.fail(at+".objectives.rpo", "take cuts more often, or promise less", "an RPO of %s cannot be met with a cut every %s", unit.FormatDuration(rpo), unit.FormatDuration(cut.Every))
	}

	if p.Retention.Cuts < cut.Every {
		c.fail(at+".retention.cuts", "", "cuts are removed after %s but taken every %s", unit.FormatDuration(p.Retention.Cuts), unit.FormatDuration(cut.Every))
	}

	c.checkVaults(at, p)
}

func (c *checker) checkVaults(at string, p *Policy) {
	vaults := p.Stream.Vaults
	for i, r := range vaults {
		path := at + ".stream.vaults." + strconv.Itoa(i)
		c.known(path, "region", r, c.RegionNames())

		if slices.Contains(vaults[:i], r) {
			c.fail(path, "", "region %q is listed twice", r)
		}
	}

	if len(vaults) == 0 && c.wrote(at+".stream.vaults") {
		c.fail(at+".stream.vaults", "", "at least one vault is needed")
	}

	if n := len(vaults); n > 0 && p.Stream.Durability > n {
		c.fail(at+".stream.durability", "add vaults or ask for fewer", "bytes cannot be durable in %d vaults when %d are written", p.Stream.Durability, n)
	}

	if len(vaults) > 1 && p.Stream.Durability == 1 && c.wrote(at+".stream.durability") {
		c.warn(at+".stream.durability", "2 survives the loss of a region without loss", "what one vault holds counts as durable: the loss of that region can lose sealed cuts")
	}
}

func (c *checker) checkGroups() {
	c.empty("groups", len(c.Groups), "group")

	member := map[string]string{}
	for _, name := range c.GroupNames() {
		g, at := c.Groups[name], "groups."+name
		c.empty(at+".targets", len(g.Targets), "target")

		for i, t := range g.Targets {
			path := at + ".targets." + strconv.Itoa(i)
			if !c.known(path, "target", t, sortedKeys(c.Targets)) {
				continue
			}

			if other, ok := member[t]; ok {
				c.fail(path, "a target belongs to one group: two groups would cut it twice", "target %q is in group %s already", t, other)
			}
			member[t] = name
		}

		c.known(at+".policy", "policy", g.Policy, sortedKeys(c.Policies))
		c.known(at+".home", "region", g.Home, c.RegionNames())
		c.checkGate(at, g)
		c.checkRoutes(at, g)

		if p := c.Policies[g.Policy]; p != nil && g.Home != "" && len(c.Regions) > 1 && len(p.Stream.Vaults) == 1 && p.Stream.Vaults[0] == g.Home {
			c.warn(at+".policy", "write the vault of another region too", "policy %s keeps everything in %s, the region that the group must survive", g.Policy, g.Home)
		}
	}

	for _, t := range sortedKeys(c.Targets) {
		if _, ok := member[t]; !ok && len(c.Groups) > 0 {
			c.warn("targets."+t, "add it to a group", "target %s is in no group and is not protected", t)
		}
	}
}

func (c *checker) checkRoutes(at string, g *Group) {
	kinds := map[string]string{}
	for _, t := range g.Targets {
		for _, id := range c.shardsOf(t) {
			kinds[id.String()] = string(c.Kind(id))
		}
	}

	for _, name := range sortedKeys(g.Routes) {
		r, rat := g.Routes[name], at+".routes."+name
		if r.Kind == "" {
			continue // reported by the parser
		}

		c.only(rat, r.Kind, reflect.TypeFor[route.Route]())

		for _, p := range r.Check(c.RegionNames(), kinds) {
			c.fail(strings.TrimSuffix(rat+"."+p.Key, "."), p.Hint, "%s", p.Text)
		}
	}
}

func (c *checker) checkGate(at string, g *Group) {
	p := c.Policies[g.Policy]

	var gates []string // shards that could hold it
	for _, t := range g.Targets {
		for _, id := range c.shardsOf(t) {
			if c.Kind(id).Traits().Gate {
				gates = append(gates, id.String())
			}
		}
	}

	id, ok := parseShard(g.Gate)
	switch {
	case g.Gate == "" && p != nil && targets.Modes(p.Cut.Mode).Has(targets.ModeGate) && len(gates) == 0 && c.allKinds(g):
		c.fail(at+".policy", "use a policy with another cut.mode, such as auto", "policy %s uses the gate, and the group has no postgres shard to hold it", g.Policy)
	case g.Gate == "" && p != nil && targets.Modes(p.Cut.Mode).Has(targets.ModeGate) && len(gates) > 0:
		c.fail(at+".gate", "for example gate: "+gates[0]+"; every application takes the gate there", "policy %s uses the gate, and the group does not say which shard holds it", g.Policy)
	case g.Gate == "" || !ok || c.broken[at+".targets"]:
	case !c.Kind(id).Traits().Gate && c.Kind(id) != "":
		c.fail(at+".gate", "an advisory lock of PostgreSQL is the gate", "shard %s is of kind %s", g.Gate, c.Kind(id))
	case !slices.Contains(gates, g.Gate):
		c.fail(at+".gate", human.Suggest(g.Gate, gates), "there is no postgres shard %q in the group", g.Gate)
	}
}

// allKinds reports whether every target of the group was read.
func (c *checker) allKinds(g *Group) bool {
	return len(g.Targets) > 0 && !slices.ContainsFunc(g.Targets, func(t string) bool {
		return c.Targets[t] == nil || c.Targets[t].Kind == ""
	})
}
