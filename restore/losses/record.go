package losses

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/targets"
	"drctl/targets/handover"
)

const (
	op = "loss"
	// kind is that of the statements of a group, by run; readKind that of what old disks
	// showed, by run, shard and number.
	kind     = "loss-of-"
	readKind = "loss-read-of-"
	// maxReadings bounds how often disks are read for one shard of one run.
	maxReadings = 1000
)

// Reading is what the old disks of one shard showed.
type Reading struct {
	Run   string          `json:"run"`
	Shard targets.ShardID `json:"shard"`
	By    string          `json:"by"`
	Loss  handover.Loss   `json:"loss"`
}

// Save keeps a statement in the vaults. One that is there stays: it is returned instead.
func Save(ctx context.Context, set vault.Set, st Statement) (Statement, error) {
	_, err := set.SaveReport(ctx, kind+st.Group, st.Run, st)
	if !fail.Is(err, fail.Conflict) {
		return st, err
	}

	for _, v := range set.Vaults {
		var was Statement
		if err := v.Report(ctx, kind+st.Group, st.Run, &was); err == nil {
			return was, nil
		}
	}

	return st, err
}

// SaveReading keeps what old disks showed.
func SaveReading(ctx context.Context, set vault.Set, group string, r Reading) error {
	for n := 1; n <= maxReadings; n++ {
		_, err := set.SaveReport(ctx, readKind+group, readingID(r.Run, r.Shard, n), r)
		if !fail.Is(err, fail.Conflict) {
			return err
		}
	}

	return fail.Newf(fail.Exhausted, op, r.Shard.String(), "its disks were read %d times", maxReadings)
}

func readingID(run string, s targets.ShardID, n int) string {
	return fmt.Sprintf("%s.%s.%s.%04d", run, s.Target, s.Shard, n)
}

// Runs lists the runs of which vaults have a statement, the oldest first.
func Runs(ctx context.Context, set vault.Set, group string) (out []string, err error) {
	var errs []error

	for _, v := range set.Vaults {
		ids, err := v.Reports(ctx, kind+group)
		out, errs = append(out, ids...), append(errs, err)
	}

	slices.Sort(out)

	if out = slices.Compact(out); len(out) > 0 {
		return out, nil
	}

	return nil, errors.Join(errs...)
}

// Load reads the statement of a run, the newest when run is "", with what old disks
// showed since. Not-found when no vault that answers has it.
func Load(ctx context.Context, set vault.Set, group, run string) (Statement, error) {
	if run == "" {
		ids, err := Runs(ctx, set, group)
		if err != nil {
			return Statement{}, err
		}

		if len(ids) == 0 {
			return Statement{}, fail.New(fail.NotFound, op, group, "see drctl recovery show", errors.New("no failover of the group has lost anything, as far as the vaults know of one"))
		}
		run = ids[len(ids)-1]
	}

	var errs []error
	for _, v := range set.Vaults {
		var st Statement

		err := v.Report(ctx, kind+group, run, &st)
		if err == nil {
			return st, readings(ctx, set, &st)
		}
		errs = append(errs, err)
	}

	if len(errs) == 0 {
		errs = append(errs, fail.Newf(fail.Unavailable, op, group, "no vault answers"))
	}

	return Statement{}, fail.New(fail.CodeOf(errs[0]), op, run, "see which there are: drctl recovery loss --list", errors.Join(errs...))
}

// readings adds what old disks showed, the last reading of each shard: one vault may lack
// what another has.
func readings(ctx context.Context, set vault.Set, st *Statement) error {
	found := map[string]Reading{}
	bad := map[string]error{}

	for _, v := range set.Vaults {
		ids, err := v.ReportsAfter(ctx, readKind+st.Group, st.Run)
		if err != nil {
			st.Notes = append(st.Notes, fmt.Sprintf("what disks showed, in the vault of %s: %v", v.Region(), err))
			continue
		}

		for _, id := range ids {
			if _, ok := found[id]; ok || !strings.HasPrefix(id, st.Run+".") {
				continue
			}

			var r Reading
			if err := v.Report(ctx, readKind+st.Group, id, &r); err != nil {
				bad[id] = err
				continue
			}

			found[id] = r
		}
	}

	for _, id := range slices.Sorted(maps.Keys(found)) { // the last one counts
		st.Take(found[id])
		delete(bad, id)
	}

	return errors.Join(slices.Collect(maps.Values(bad))...)
}

// Take adds what old disks of a shard showed.
func (st *Statement) Take(r Reading) {
	for i := range st.Shards {
		if s := &st.Shards[i]; s.Shard == r.Shard {
			s.Read = &r.Loss
			s.judge()
		}
	}
}

// At finds the statement of the run that promoted a shard at a place.
func At(ctx context.Context, set vault.Set, group string, id targets.ShardID, fork targets.Position) (Statement, error) {
	ids, err := Runs(ctx, set, group)
	if err != nil {
		return Statement{}, err
	}

	for _, run := range slices.Backward(ids) {
		st, err := Load(ctx, set, group, run)
		if err != nil {
			return st, err
		}

		for _, s := range st.Shards {
			if s.Shard == id && s.Fork.Timeline == fork.Timeline && s.Fork.Offset == fork.Offset {
				return st, nil
			}
		}
	}

	return Statement{}, fail.Newf(fail.NotFound, op, id.String(), "no failover is recorded that took over at %s", fork)
}
