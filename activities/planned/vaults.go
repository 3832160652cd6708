package planned

import (
	"context"
	"time"

	"drctl/internal/vault"
)

// reachedWithin is how long the vault of another region may take to say that it is there:
// that of a region that was cut off says nothing, and people wait.
const reachedWithin = 2 * time.Second

// Reached is a region's own vault, whether it answers or not, with those of others that do.
func Reached(ctx context.Context, own *vault.Vault, all vault.Set) vault.Set {
	out := vault.Set{Vaults: []*vault.Vault{own}, Durability: 1}

	ctx, cancel := context.WithTimeout(ctx, reachedWithin)
	defer cancel()

	if set, err := (vault.Set{Vaults: Others(all.Vaults, own), Durability: 1}).Answering(ctx); err == nil {
		out.Vaults = append(out.Vaults, set.Vaults...)
	}

	return out
}

// Others are all vaults but that of one's region.
func Others(all []*vault.Vault, but *vault.Vault) (out []*vault.Vault) {
	for _, v := range all {
		if v.Region() != but.Region() {
			out = append(out, v)
		}
	}

	return out
}
