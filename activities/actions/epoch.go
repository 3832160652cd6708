package actions

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/restore/plan"
)

// Promotion is the record of a run that may promote. Its number is its id.
type Promotion struct {
	Epoch uint64    `json:"epoch"`
	Run   string    `json:"run"`
	By    string    `json:"by"`
	Mode  plan.Mode `json:"mode"`
	From  string    `json:"from"`
	To    string    `json:"to"`
	Plan  string    `json:"plan"`
}

// epochID sorts by number.
func epochID(n uint64) string { return fmt.Sprintf("%019d", n) }

// nextEpoch is one more than the greatest that a vault has, or the run's own. A
// vault that does not answer is passed over: its number may be greater, but then who
// took it had to take the vault of the region that takes over as well, or is older.
func (a *Activities) nextEpoch(ctx context.Context, set vault.Set, group, run string) (next uint64, mine bool, err error) {
	for i, v := range set.Vaults {
		ids, err := v.Reports(ctx, promotionKind+group)
		if err != nil && i == 0 {
			return 0, false, err
		}

		if len(ids) == 0 {
			continue
		}
		newest := ids[len(ids)-1]

		n, perr := strconv.ParseUint(newest, 10, 63)
		if perr != nil || epochID(n) != newest {
			return 0, false, fail.Newf(fail.Corrupt, op, group, "the vault of %s has a promotion called %.40q", v.Region(), newest)
		}

		var p Promotion
		if err := v.Report(ctx, promotionKind+group, newest, &p); err == nil && p.Run == run && n >= next {
			next, mine = n, true
			continue
		}

		if n >= next {
			next, mine = n, false
		}
	}

	if mine {
		return next, true, nil
	}

	return next + 1, false, nil
}

// take writes the record of a number; false: somebody else has it.
func take(ctx context.Context, set vault.Set, group string, p Promotion) (bool, error) {
	for i, v := range set.Vaults {
		one := vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}

		_, err := one.SaveReport(ctx, promotionKind+group, epochID(p.Epoch), p)
		if fail.Is(err, fail.Conflict) {
			return false, nil
		}

		if err != nil && i == 0 {
			return false, err
		}
	}

	return true, nil
}

// Promotions are the runs that began in a vault, oldest first, after an epoch.
func Promotions(ctx context.Context, v *vault.Vault, group string, after uint64) (out []Promotion, err error) {
	from := ""
	if after > 0 {
		from = epochID(after)
	}

	ids, err := v.ReportsAfter(ctx, promotionKind+group, from)
	if err != nil {
		return nil, err
	}

	for _, id := range slices.Sorted(slices.Values(ids)) {
		var p Promotion
		if err := v.Report(ctx, promotionKind+group, id, &p); err != nil {
			return out, err
		}
		out = append(out, p)
	}

	return out, nil
}
