package runs

import (
	"context"
	"fmt"
	"time"

	"drctl/internal/fail"
	"drctl/internal/vault"
)

// MovedSince is a conflict when a recovery of a group may have promoted a server since an
// instant. What vaults do not tell is an error too.
func MovedSince(ctx context.Context, set vault.Set, group string, since time.Time) error {
	for _, v := range set.Vaults {
		ps, err := Promotions(ctx, v, group)
		if err != nil {
			return err
		}

		for _, p := range ps {
			if p.At.Before(since) {
				continue
			}

			if back, err := TakenBack(ctx, set, group, p.Run); err != nil {
				return err
			} else if !back {
				return fail.New(fail.Conflict, op, group, "bring it back with: drctl failback run",
					fmt.Errorf("run %s (%s from %s to %s) has begun since", p.Run, p.Mode, p.From, p.To))
			}
		}
	}

	return nil
}
