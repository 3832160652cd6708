package sealing

import (
	"context"
	"time"

	"drctl/internal/fail"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/targets"
)

// Share gives the records of the cuts that were sealed since an instant to the
// vaults that lack them and hold all that the cuts need. It returns how many
// records it gave.
func Share(ctx context.Context, set vault.Set, group string, since time.Time) (int, error) {
	trails := map[*vault.Vault]map[targets.ShardID]*stream.Trail{}
	broken := map[*vault.Vault]error{}

	return set.ShareCuts(ctx, group, since, func(ctx context.Context, v *vault.Vault, c targets.Cut) (bool, error) {
		if broken[v] != nil {
			return false, nil // said once
		}

		if trails[v] == nil {
			trails[v] = map[targets.ShardID]*stream.Trail{}
		}

		for _, p := range c.Shards {
			t := trails[v][p.Shard]
			if t == nil {
				t = stream.NewTrail(v, p.Shard)
				trails[v][p.Shard] = t
			}

			ok, err := leadsTo(ctx, v, t, p)
			if err != nil {
				broken[v] = err
			}

			if !ok || err != nil {
				return false, err
			}
		}

		return true, nil
	})
}

// leadsTo reports whether the point can be recovered from the vault.
func leadsTo(ctx context.Context, v *vault.Vault, t *stream.Trail, p targets.ShardPoint) (bool, error) {
	if p.Kind.Traits().Manifest {
		r, err := v.Shard(p.Shard).Manifest(ctx, p.Position.Manifest)
		if err != nil {
			if fail.Is(err, fail.NotFound) {
				err = nil
			}

			return false, err
		}

		return true, r.Close()
	}
	lead, err := t.To(ctx, p.Position)

	return lead.Held(), err
}
