package planting

import (
	"context"
	"strings"

	"drctl/internal/fail"
	"drctl/internal/vault"
)

// The records of a fault in the vaults: its intent, and that it is gone.
const (
	kind    = "planted-in-"
	intent  = "-intent"
	removed = "-removed"
)

// Tell keeps a fault's record in the vaults of a group that answer: the intent while it is
// not gone.
func Tell(ctx context.Context, set vault.Set, f Fault) error {
	set, err := set.Answering(ctx)
	if err != nil {
		return err
	}
	set.Durability = 1

	id := f.ID + intent
	if !f.Removed.IsZero() {
		id = f.ID + removed
		f.Marked = true
	}

	if _, err := set.SaveReport(ctx, kind+f.Group, id, f); !fail.Is(err, fail.Conflict) { // an attempt before has kept it
		return err
	}

	return nil
}

// Left are the faults of a group whose intent a vault has and of which no vault says that
// they are gone. The error is of vaults that did not tell.
func Left(ctx context.Context, set vault.Set, group string) (out []Fault, err error) {
	open, gone := map[string]Fault{}, map[string]bool{}

	for _, v := range set.Vaults {
		ids, verr := v.Reports(ctx, kind+group)
		if verr != nil {
			err = verr
			continue
		}

		for _, id := range ids {
			if fault, ok := strings.CutSuffix(id, removed); ok {
				gone[fault] = true
			}
		}

		for _, id := range ids {
			fault, ok := strings.CutSuffix(id, intent)
			if !ok || gone[fault] || open[fault].ID != "" {
				continue
			}

			var f Fault
			if rerr := v.Report(ctx, kind+group, id, &f); rerr != nil {
				err = rerr
				continue
			}
			open[fault] = f
		}
	}

	for id, f := range open {
		if !gone[id] {
			out = append(out, f)
		}
	}

	sortFaults(out)

	return out, err
}
