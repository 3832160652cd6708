package config

import (
	"context"
	"slices"

	"drctl/config/secret"
	"drctl/targets"
)

// Ref says where a secret is.
type Ref = secret.Ref

// Secret resolves a reference as secret.Ref.Resolve does; secrets of the environment
// come from the function that was handed to Load.
func (c *Config) Secret(ctx context.Context, ref Ref) (targets.Secret, error) {
	return ref.Resolve(ctx, c.env)
}

// warnSecretFiles looks at the secret files that exist here: another
// region's workers may have the others. Each file is named once, where it is
// named first.
func (c *Config) warnSecretFiles() {
	seen := map[string]bool{}
	for _, r := range c.Refs() {
		if r.Ref.File == "" || seen[r.Ref.File] {
			continue
		}

		seen[r.Ref.File] = true
		if secret.ReadByAll(r.Ref.File) {
			c.warn(r.Path, "chmod 600 "+r.Ref.File, "the secret file %s can be read by everybody", r.Ref.File)
		}
	}
	c.warnings = sortMistakes(c.warnings)
}

// RefAt is a secret's reference and the key at which it stands.
type RefAt struct {
	Path string
	Ref  Ref
}

// Refs lists every secret's reference, the empty ones left out.
func (c *Config) Refs() []RefAt {
	out := []RefAt{{"key", c.Key}, {"engine.api_key", c.Engine.APIKey}}
	for _, r := range c.RegionNames() {
		out = append(out, RefAt{"regions." + r + ".vault.secret_key", c.Regions[r].Vault.SecretKey})
	}

	if c.Witness != nil {
		out = append(out, RefAt{"witness.secret_key", c.Witness.SecretKey})
	}

	for _, name := range sortedKeys(c.Targets) {
		t, at := c.Targets[name], "targets."+name

		out = append(out, RefAt{at + ".password", t.Password}, RefAt{at + ".secret_key", t.SecretKey})
		for _, s := range sortedKeys(t.Shards) {
			for _, r := range sortedKeys(t.Shards[s]) {
				i, at := t.Shards[s][r], at+".shards."+s+"."+r
				out = append(out, RefAt{at + ".password", i.Password}, RefAt{at + ".secret_key", i.SecretKey})
			}
		}
	}

	for _, name := range c.GroupNames() {
		for _, r := range sortedKeys(c.Groups[name].Routes) {
			refs := c.Groups[name].Routes[r].Refs()
			for _, k := range sortedKeys(refs) {
				out = append(out, RefAt{"groups." + name + ".routes." + r + "." + k, refs[k]})
			}
		}
	}

	return slices.DeleteFunc(out, func(r RefAt) bool { return r.Ref.IsZero() })
}
