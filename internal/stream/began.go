package stream

import (
	"context"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/targets"
)

// Began tells from where on a timeline is archived, by its origin in any of the
// vaults, or by its first chunk where that is damaged; ok is false when none of
// those that answer has it. It reads one small
// object of each, whatever is kept. It fails when no vault answers.
func Began(ctx context.Context, vaults []*vault.Vault, shard targets.ShardID, timeline string) (offset uint64, ok bool, err error) {
	answers := 0
	for _, v := range vaults {
		o, rerr := readRecord(ctx, v, shard, timeline)
		switch {
		case rerr == nil:
			return o.Offset, true, nil
		case fail.Is(rerr, fail.NotFound):
			answers++
		case fail.Is(rerr, fail.Corrupt):
			if offset, ok := firstChunk(ctx, v, shard, timeline); ok {
				return offset, true, nil
			}
			err = rerr
		default:
			err = rerr
		}
	}

	if answers > 0 {
		err = nil
	}

	return 0, false, err
}

// firstChunk is where the oldest chunk of a timeline begins. Names sort by offset.
func firstChunk(ctx context.Context, v *vault.Vault, shard targets.ShardID, timeline string) (offset uint64, ok bool) {
	for info, err := range v.Store().List(ctx, vault.TimelinePrefix(shard, timeline), "") {
		if err != nil {
			return 0, false
		}

		if c, ok := vault.ParseChunkKey(info.Key); ok {
			return c.From, true
		}
	}

	return 0, false
}
