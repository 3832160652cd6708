package runs

import (
	"context"
	"fmt"
	"time"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/restore/machine"
)

// Finish is what is read of a run that came to its end.
type Finish struct {
	Run      string          `json:"run"`
	Plan     string          `json:"plan"`
	Verdict  machine.Verdict `json:"verdict"`
	Finished time.Time       `json:"finished"`
}

// Finished is the newest run of a plan that reached its goal, by the vaults of a set; the
// zero value when none did. The error is of a vault that did not tell, where no other knows one.
func Finished(ctx context.Context, set vault.Set, group, plan string) (newest Finish, err error) {
	for _, v := range set.Vaults {
		ids, verr := v.Reports(ctx, EndKind(group))
		if verr != nil {
			err = verr
			continue
		}

		for _, id := range ids {
			var f Finish
			if rerr := v.Report(ctx, EndKind(group), id, &f); rerr != nil {
				err = rerr
				continue
			}

			if f.Plan == plan && f.Verdict == machine.Reached && f.Finished.After(newest.Finished) {
				newest = f
			}
		}
	}

	if newest.Run != "" {
		err = nil
	}

	return newest, err
}

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
