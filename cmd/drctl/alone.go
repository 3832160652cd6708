package main

import (
	"context"

	"drctl/internal/platform"
	"drctl/internal/upkeep"
	"drctl/internal/vault"
)

// openAlone opens the vault that is given by flags, without a configuration.
func (a *app) openAlone(ctx context.Context, place vaultFlags) (*vault.Vault, error) {
	log, err := a.logger()
	if err != nil {
		return nil, err
	}

	tools, err := sandboxTools()
	if err != nil {
		return nil, err
	}

	return place.open(ctx, tools, "", log)
}

// vaultsOf are the vaults of a region, or of all, that a command about one group
// reads, and the group: through the configuration, or the one vault that is given.
func (a *app) vaultsOf(ctx context.Context, place vaultFlags, group, region string) (platform.Resolver, platform.Group, []string, error) {
	if place.url != "" {
		v, err := a.openAlone(ctx, place)
		if err != nil {
			return nil, platform.Group{}, nil, err
		}

		p := platform.OnlyVault{V: v}
		if region != "" && region != v.Region() {
			return nil, platform.Group{}, nil, p.Gone("the vault of " + region)
		}

		name, err := upkeep.OnlyGroup(ctx, v, group)
		if err != nil {
			return nil, platform.Group{}, nil, err
		}
		g, err := upkeep.GroupIn(ctx, v, name)

		return p, g, []string{v.Region()}, err
	}

	s, err := a.offline()
	if err != nil {
		return nil, platform.Group{}, nil, err
	}

	g, err := s.group(group)
	if err != nil {
		return nil, platform.Group{}, nil, err
	}

	if err := knownRegion(s.cfg, "--vault", region); err != nil {
		return nil, platform.Group{}, nil, err
	}

	if region != "" {
		return s.p, g, []string{region}, nil
	}

	return s.p, g, g.Policy.Vaults, nil
}
