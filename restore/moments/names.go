package moments

import (
	"context"
	"fmt"
	"maps"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/restore/plan"
	"drctl/targets"
)

// free makes sure that a name can be given to a moment: no other cut of the group has it, in any of the
// vaults. It returns the cut that has it already where that is of the same moment. Two who give
// one name at the same time are not told apart.
func free(ctx context.Context, set vault.Set, moment targets.Cut) (has targets.Cut, ok bool, err error) {
	const op = "name the moment"

	if moment.Name == plan.Latest {
		return has, false, fail.Newf(fail.Invalid, op, moment.Name, "it is the name of the newest cut")
	}

	for _, v := range set.Vaults {
		id, err := Named(ctx, v, moment.Group, moment.Name)
		if fail.Is(err, fail.NotFound) {
			continue
		}

		if err == nil {
			has, err = v.Cut(ctx, moment.Group, id)
		}

		switch {
		case err != nil:
			return has, false, err
		case has.ID != moment.Name && same(has, moment):
			return has, true, nil
		}

		return has, false, fail.New(fail.Conflict, op, moment.Name, "choose another name; see: drctl cut list",
			fmt.Errorf("cut %s of %s has it", has.ID, has.QuiescedAt.UTC().Format("2006-01-02T15:04:05.000Z")))
	}

	return has, false, nil
}

// same reports whether two cuts are of one moment: the logs end at the same places.
func same(a, b targets.Cut) bool {
	return a.QuiescedAt.Equal(b.QuiescedAt) && maps.Equal(places(a), places(b))
}

func places(c targets.Cut) map[targets.ShardID]targets.Position {
	all := map[targets.ShardID]targets.Position{}
	for _, s := range c.Shards {
		if s.Kind.Traits().Log {
			all[s.Shard] = s.Position
		}
	}

	return all
}
