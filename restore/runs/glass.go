package runs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/restore/plan"
)

const (
	glass    = "break-glass-of-"
	reviewed = "reviewed-glass-of-"
)

// Glass is the record of a recovery that went on without the approvals that were wanted.
type Glass struct {
	ID     string    `json:"id"`
	Run    string    `json:"run"`
	Step   string    `json:"step"`
	Group  string    `json:"group"`
	Mode   plan.Mode `json:"mode"`
	From   string    `json:"from"`
	To     string    `json:"to"`
	Plan   string    `json:"plan"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
	// Review is nil until somebody has looked at it.
	Review *Review `json:"review,omitempty"`
}

// Review says who has looked at it, and what was found.
type Review struct {
	By   string    `json:"by"`
	Note string    `json:"note"`
	At   time.Time `json:"at"`
}

// GlassKind is the kind of the records of a group.
func GlassKind(group string) string { return glass + group }

// GlassID names the record of a step of a run.
func GlassID(run, step string) string { return run + "." + strings.ReplaceAll(step, "/", ".") }

// Broken lists the records of a group in all vaults that answer, the oldest first, each with
// its review.
func Broken(ctx context.Context, set vault.Set, group string) (out []Glass, err error) {
	var errs []error
	answered := 0

	for _, v := range set.Vaults {
		ids, err := v.Reports(ctx, GlassKind(group))
		if err != nil {
			errs = append(errs, err)
			continue
		}

		answered++

		for _, id := range ids {
			i := slices.IndexFunc(out, func(g Glass) bool { return g.ID == id })
			if i < 0 {
				g := Glass{}
				if err := v.Report(ctx, GlassKind(group), id, &g); err != nil {
					errs = append(errs, err)
					continue
				}
				g.ID = id
				out, i = append(out, g), len(out)
			}

			var r Review
			if out[i].Review == nil && v.Report(ctx, reviewed+group, id, &r) == nil {
				out[i].Review = &r
			}
		}
	}

	slices.SortFunc(out, func(a, b Glass) int { return strings.Compare(a.ID, b.ID) })

	if answered == 0 {
		return nil, errors.Join(errs...)
	}

	return out, nil
}

// unreviewedLimit bounds how long vaults are asked for what was not reviewed.
const unreviewedLimit = 10 * time.Second

// Unreviewed are the records of a group that nobody has looked at yet, as far as the vaults
// tell. It takes no longer than some seconds.
func Unreviewed(ctx context.Context, vaults []*vault.Vault, group string) []Glass {
	ctx, stop := context.WithTimeout(ctx, unreviewedLimit)
	defer stop()

	all, _ := Broken(ctx, vault.Set{Vaults: vaults}, group) // vaults that do not answer are problems of their own

	return slices.DeleteFunc(all, func(g Glass) bool { return g.Review != nil })
}

// SaveReview keeps that somebody has looked. Conflict when somebody has before.
func SaveReview(ctx context.Context, set vault.Set, group, id string, r Review) error {
	for _, v := range set.Vaults {
		var is Review
		if v.Report(ctx, reviewed+group, id, &is) == nil {
			return fail.Newf(fail.Conflict, op, id, "%s has reviewed it: %s", is.By, is.Note)
		}
	}

	_, err := set.SaveReport(ctx, reviewed+group, id, r)

	return err
}
