package stream

import (
	"context"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/targets"
)

// Began tells from where on a lineage is archived, by its origin in any of the
// vaults; ok is false when none of those that answer has it. It reads one small
// object of each, whatever is kept. It fails when no vault answers.
func Began(ctx context.Context, vaults []*vault.Vault, shard targets.ShardID, lineage string) (offset uint64, ok bool, err error) {
	answers := 0
	for _, v := range vaults {
		o, rerr := readOrigin(ctx, v, shard, lineage)
		switch {
		case rerr == nil:
			return o.Offset, true, nil
		case fail.Is(rerr, fail.NotFound):
			answers++
		default:
			err = rerr
		}
	}
	if answers > 0 {
		err = nil
	}
	return 0, false, err
}
