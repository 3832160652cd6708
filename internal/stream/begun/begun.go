package begun

import (
	"context"
	"errors"
	"fmt"
	"time"

	"drctl/internal/fail"
	"drctl/internal/retry"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/targets"
)

// ErrBehind is that the stream does not lead back to a base's beginning.
var ErrBehind = errors.New("its stream begins behind it")

// Before waits until it is known where the archive of the base's log begins,
// and fails with ErrBehind when that is behind the base.
func Before(ctx context.Context, vaults []*vault.Vault, b targets.Artifact) error {
	const op, hint = "backup: wait for the stream", "see with drctl status whether the archiver runs all the time"
	for {
		at, ok, err := stream.Began(ctx, vaults, b.Shard, b.From.Timeline)
		if ok && at > b.From.Offset {
			return fail.New(fail.Unavailable, op, b.Shard.String(), "take another base; "+hint,
				fmt.Errorf("%w: it begins at %d, the base at %d, and the bytes between were never archived", ErrBehind, at, b.From.Offset))
		}

		if ok {
			return nil
		}

		if retry.Sleep(ctx, time.Second) != nil {
			if err == nil {
				err = fmt.Errorf("the log %s is not archived: %w", b.From.Timeline, ctx.Err())
			}

			return fail.New(fail.CodeOf(err), op, b.Shard.String(), hint, err)
		}
	}
}
