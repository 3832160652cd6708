package config

import (
	"slices"
	"strconv"

	"drctl/config/checks"
	"drctl/config/gameday"
	"drctl/config/recovery"
	"drctl/config/unit"
	"drctl/config/workers"
	"drctl/internal/human"
	"drctl/targets"
)

func (c *checker) checkDrill(at string, d *Drill) {
	ok := c.known(at+".group", "group", d.Group, c.GroupNames())
	// A derived vault comes from the policy, where its mistakes are reported.
	if c.wrote(at+".vault") && c.known(at+".vault", "region", d.Vault, c.RegionNames()) && ok {
		if p, err := c.Policy(d.Group); err == nil && !slices.Contains(p.Stream.Vaults, d.Vault) {
			c.fail(at+".vault", human.Suggest(d.Vault, p.Stream.Vaults), "the group's policy does not write the vault of %s", d.Vault)
		}
	}

	if d.GameDay != nil && ok {
		c.checkGameDay(at+".game_day", d)
	}

	if d.Every > 0 && d.Jitter > d.Every {
		c.fail(at+".jitter", "", "the jitter of %s is longer than the interval of %s", unit.FormatDuration(d.Jitter), unit.FormatDuration(d.Every))
	}

	members := []string{}
	if g := c.Groups[d.Group]; g != nil {
		members = g.Targets
	}

	list := at + ".checks"
	for _, t := range sortedKeys(d.Checks.Assertions) {
		path := list + ".assertions." + t
		if !c.member(path, t, members, "") {
			continue
		}

		if k := targets.Kind(c.Targets[t].Kind); k != "" && !k.Traits().Query {
			c.fail(path, "use checks.objects", "target %s is of kind %s and answers no queries", t, k)
		}

		for i, a := range d.Checks.Assertions[t] {
			ip := path + "." + strconv.Itoa(i)
			if a.Shard != checks.All {
				c.known(ip+".shard", "shard of "+t, a.Shard, sortedKeys(c.Targets[t].Shards))
			}
		}

		for _, i := range checks.Twice(d.Checks.Assertions[t]) {
			c.fail(path+"."+strconv.Itoa(i)+".name", "", "two assertions are called %q", d.Checks.Assertions[t][i].Name)
		}
	}

	for i, o := range d.Checks.Objects {
		path := list + ".objects." + strconv.Itoa(i)
		c.member(path+".target", o.Target, members, targets.S3)
		c.member(path+".from", o.From, members, targets.Postgres)
	}

	names := map[string]bool{}
	for i, s := range d.Checks.Sums {
		path := list + ".sums." + strconv.Itoa(i)
		c.member(path+".target", s.Target, members, targets.Postgres)

		if names[s.Name] {
			c.fail(path+".name", "", "two sums are called %q", s.Name)
		}
		names[s.Name] = s.Name != ""
	}
}

// member checks that a target exists, is among the members and of the kind.
func (c *checker) member(path, target string, members []string, kind targets.Kind) bool {
	if target == "" {
		return false
	}

	t := c.Targets[target]
	if t == nil {
		return c.known(path, "target", target, sortedKeys(c.Targets))
	}

	if len(members) > 0 && !slices.Contains(members, target) {
		c.fail(path, "", "target %s is not in the group", target)
		return false
	}

	if kind != "" && t.Kind != "" && t.Kind != string(kind) {
		c.fail(path, "", "target %s is of kind %s; this must be of kind %s", target, t.Kind, kind)
		return false
	}

	return true
}

// checkGameDay holds a game day against the servers of its group.
func (c *checker) checkGameDay(at string, d *Drill) {
	f := gameday.Facts{Platform: c.Name, Regions: c.RegionNames(), Servers: map[gameday.Place]bool{}}

	for _, id := range c.Shards(d.Group) {
		for _, region := range c.ShardRegions(id) {
			_, dir := c.Host(id, region)
			f.Servers[gameday.Place{Shard: id.String(), Region: region}] = dir
		}
	}

	for _, p := range d.GameDay.Check(f) {
		c.fail(at+"."+p.Key, p.Hint, "%s", p.Text)
	}
}

func (c *checker) checkRecovery(at, name string, r *recovery.Recovery) {
	c.known(at, "group", name, c.GroupNames())

	members := []string{}
	if g := c.Groups[name]; g != nil {
		members = g.Targets
	}

	for _, p := range r.Check(members, c.Voters()) {
		c.fail(at+"."+p.Key, p.Hint, "%s", p.Text)
	}

	for i, t := range r.Order {
		path := at + ".order." + strconv.Itoa(i)
		c.member(path, t, members, "")

		if slices.Contains(r.Order[:i], t) {
			c.fail(path, "", "target %q is listed twice", t)
		}
	}

	seen := map[string]string{}
	for _, t := range sortedKeys(r.Destinations) {
		tp := at + ".destinations." + t
		if !c.member(tp, t, members, "") {
			continue
		}

		for _, sh := range sortedKeys(r.Destinations[t]) {
			path := tp + "." + sh
			c.known(path, "shard of "+t, sh, sortedKeys(c.Targets[t].Shards))
			c.checkDestination(path, t+"/"+sh, r.Destinations[t][sh], targets.Kind(c.Targets[t].Kind), seen)
		}
	}
}

func (c *checker) checkDestination(path, name string, d workers.Destination, kind targets.Kind, seen map[string]string) {
	if kind == "" || c.broken[path] {
		return
	}

	c.known(path+".region", "region", d.Region, c.RegionNames())

	need, without, place := map[string]string{"address": d.Address, "data_dir": d.DataDir}, "bucket", d.Region+" "+d.Host+" "+d.DataDir
	if kind == targets.S3 {
		need, without, place = map[string]string{"address": d.Address, "bucket": d.Bucket}, "data_dir", d.Address+" "+d.Bucket
	}

	for k, v := range need {
		if v == "" {
			c.fail(path+"."+k, "", "a destination of kind %s needs the key %q", kind, k)
		}
	}

	for _, k := range []string{without, "host"} {
		if c.wrote(path+"."+k) && (k == without || kind == targets.S3) {
			c.fail(path+"."+k, "", "the key %q has no meaning for kind %s", k, kind)
		}
	}

	if d.Address != "" {
		if msg, hint := destinationAddress(d.Address, kind); msg != "" {
			c.fail(path+".address", hint, "%s", msg)
		}
	}

	if other, ok := seen[place]; ok {
		c.fail(path, "", "%s has the same destination", other)
	}
	seen[place] = name

	if kind == targets.S3 || d.Address == "" {
		return
	}

	if other, ok := seen[d.Region+" @"+d.Address]; ok {
		c.fail(path+".address", "", "%s has the same address %s", other, d.Address)
	}
	seen[d.Region+" @"+d.Address] = name
}

func destinationAddress(s string, kind targets.Kind) (string, string) {
	if kind == targets.S3 {
		return checkHTTP(s)
	}

	return checkAddr(s)
}
