package platform

import (
	"context"
	"errors"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/targets"
)

// OnlyVault is a platform of which only a vault is left. It is a Resolver that
// answers fail.NotFound to every question about the rest.
type OnlyVault struct{ V *vault.Vault }

// Gone says that something is not known, as no configuration was given.
func (p OnlyVault) Gone(what string) error {
	return fail.New(fail.NotFound, "configuration", what, "there is only the vault of "+p.V.Region(), errors.New("no configuration was given"))
}

// Group is not known.
func (p OnlyVault) Group(name string) (Group, error) {
	return Group{}, p.Gone(name)
}

// Instance knows no instance.
func (p OnlyVault) Instance(_ context.Context, s targets.ShardID, _ string) (targets.Instance, error) {
	return targets.Instance{}, p.Gone(s.String())
}

// Regions knows none.
func (OnlyVault) Regions(targets.ShardID) []string { return nil }

// Vault is the one that is left.
func (p OnlyVault) Vault(_ context.Context, region string) (*vault.Vault, error) {
	if region != p.V.Region() {
		return nil, p.Gone("the vault of " + region)
	}

	return p.V, nil
}

// Set is the one vault that is left.
func (p OnlyVault) Set(context.Context, string, string) (vault.Set, error) {
	return vault.Set{Vaults: []*vault.Vault{p.V}, Durability: 1}, nil
}

// GroupOf knows no group.
func (p OnlyVault) GroupOf(s targets.ShardID) (string, error) { return "", p.Gone(s.String()) }
