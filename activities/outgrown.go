package activities

import (
	"context"
	"maps"
	"slices"
	"time"

	"drctl/internal/retry"
	"drctl/internal/vault"
	"drctl/targets"
)

// spacesEvery is how often a shard is asked whether it has outgrown its bases.
const spacesEvery = 15 * time.Second

// outgrown says why the newest base does not lead to what the instance writes
// now, "" when it does or cannot be asked.
func outgrown(ctx context.Context, d targets.Driver, inst targets.Instance, bases []targets.Artifact) string {
	s, ok := d.(targets.Spacer)
	if !ok {
		return ""
	}

	ctx, cancel := context.WithTimeout(ctx, 5*time.Second) // archiving waits for it
	defer cancel()

	spaces, err := s.Tablespaces(ctx, inst)
	if err != nil {
		return "" // the follower meets the same trouble and reports it
	}

	return targets.Outgrown(bases, spaces)
}

// outgrows waits until the instance has outgrown the bases of the vaults, and
// reports whether that is so; false when ctx ends. It looks into the vaults
// only when the instance has changed.
func outgrows(ctx context.Context, d targets.Driver, inst targets.Instance, set vault.Set) bool {
	s, ok := d.(targets.Spacer)
	if !ok {
		return false
	}

	var covered map[string]string
	for {
		if retry.Sleep(ctx, spacesEvery) != nil {
			return false
		}

		spaces, err := s.Tablespaces(ctx, inst)
		if err != nil || maps.Equal(spaces, covered) {
			continue
		}

		bases := slices.Concat(basesOf(ctx, set, inst.Shard)...)
		if targets.Outgrown(bases, spaces) != "" {
			return true
		}

		if len(bases) > 0 {
			covered = spaces
		}
	}
}
