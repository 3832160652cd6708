package planned

import "drctl/internal/vault"

// Others are all vaults but that of one's region.
func Others(all []*vault.Vault, but *vault.Vault) (out []*vault.Vault) {
	for _, v := range all {
		if v.Region() != but.Region() {
			out = append(out, v)
		}
	}

	return out
}
