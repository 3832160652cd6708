package planting

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

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

// Alone is a conflict when the vaults that answer know a reason not to plant a fault: another host may have planted
// it or has taken it away, or another drill of the group has planted something, and its time is not up.
func Alone(ctx context.Context, set vault.Set, f Fault) error {
	set, err := set.Answering(ctx)
	if err != nil {
		return err
	}

	open, gone, err := known(ctx, set, f.Group)
	if err != nil {
		return err
	}

	if gone[f.ID] {
		return fail.Newf(fail.Conflict, op, f.ID, "it was taken away already, on another host")
	}

	if x, ok := open[f.ID]; ok && x.Host != f.Host {
		return fail.Newf(fail.Conflict, op, f.ID, "the worker of %s may have planted it", x.Host)
	}

	return Others(slices.Collect(maps.Values(open)), f.RunID, time.Now())
}

// Others is a conflict when a fault of another run is among those that are left, and its time is not up.
func Others(left []Fault, run string, now time.Time) error {
	for _, x := range left {
		if x.RunID != run && now.Before(x.Until) {
			return fail.New(fail.Conflict, op, x.Drill, "wait for its end, or end it: drctl drill abort "+x.Drill, fmt.Errorf("this drill has planted something: %s of %s", x.Do, x.On))
		}
	}

	return nil
}

// Left are the faults of a group whose intent a vault has and of which no vault says that
// they are gone. The error is of vaults that did not tell.
func Left(ctx context.Context, set vault.Set, group string) (out []Fault, err error) {
	open, _, err := known(ctx, set, group)
	out = slices.Collect(maps.Values(open))
	sortFaults(out)

	return out, err
}

// known are what the vaults of a set say of a group's faults: those that are not gone, and the ids of those that are.
func known(ctx context.Context, set vault.Set, group string) (open map[string]Fault, gone map[string]bool, err error) {
	open, gone = map[string]Fault{}, map[string]bool{}

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

	maps.DeleteFunc(open, func(id string, _ Fault) bool { return gone[id] })

	return open, gone, err
}
