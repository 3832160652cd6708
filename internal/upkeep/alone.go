package upkeep

import (
	"context"
	"errors"
	"slices"
	"strings"

	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/vault"
	"drctl/targets"
)

// GroupIn describes a group by what one vault holds of it, for when there is no
// configuration: the shards of its cuts and, when it is the only group, every
// other shard in the vault. Its policy names this vault alone. Damaged records
// are left out: a check finds them.
func GroupIn(ctx context.Context, v *vault.Vault, name string) (platform.Group, error) {
	g := platform.Group{Name: name, Home: v.Region(), Policy: platform.Policy{Vaults: []string{v.Region()}}}

	names, err := v.Groups(ctx)
	if err != nil {
		return g, err
	}

	if !slices.Contains(names, name) && len(names) > 0 {
		return g, fail.Newf(fail.NotFound, "vault: find group", name, "the vault of %s has no cut of it", v.Region())
	}

	kinds := map[targets.ShardID]targets.Kind{}

	cuts, err := v.Cuts(ctx, name)
	if err != nil && !fail.Is(err, fail.Corrupt) {
		return g, err
	}

	for _, c := range cuts {
		for _, p := range c.Shards {
			kinds[p.Shard] = p.Kind
		}
	}

	if len(names) <= 1 {
		all, err := v.Shards(ctx)
		if err != nil {
			return g, err
		}

		for _, s := range all {
			if _, known := kinds[s]; !known {
				kinds[s] = kindOf(ctx, v, s)
			}
		}
	}

	for s, k := range kinds {
		g.Shards = append(g.Shards, platform.Shard{Shard: s, Kind: k, Region: v.Region()})
	}

	slices.SortFunc(g.Shards, func(a, b platform.Shard) int { return a.Shard.Compare(b.Shard) })

	return g, nil
}

// kindOf is the kind of a shard that is in no cut: what its bases say, else that of
// an object store, which has none.
func kindOf(ctx context.Context, v *vault.Vault, s targets.ShardID) targets.Kind {
	for b, err := range v.BasesNewest(ctx, s) {
		if err == nil {
			return b.Kind
		}
	}

	for range v.Store().List(ctx, vault.ManifestsPrefix(s), "") {
		return targets.S3
	}

	return ""
}

// OnlyGroup returns the name, or that of the only group in the vault.
func OnlyGroup(ctx context.Context, v *vault.Vault, name string) (string, error) {
	if name != "" {
		return name, nil
	}

	gs, err := v.Groups(ctx)
	if err != nil {
		return "", err
	}

	if len(gs) != 1 {
		return "", fail.New(fail.Invalid, "flags", "--group", "name one of: "+strings.Join(gs, ", "), errors.New("the vault does not hold exactly one group"))
	}

	return gs[0], nil
}
