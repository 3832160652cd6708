package runs

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/restore/machine"
	"drctl/restore/plan"
)

const (
	op        = "recovery"
	promotion = "promotion-of-"
	journal   = "journal-of-"
	end       = "recovery-of-"
	take      = "taken-up-"
	done      = "done-"
	// maxTakes bounds how often a run is taken up.
	maxTakes = 1000
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
	// At is when it began, by the clock of the worker; zero in records of older versions.
	At time.Time `json:"at,omitzero"`
}

// PromotionKind is the kind of the records of a group's promotions.
func PromotionKind(group string) string { return promotion + group }

// EpochID sorts by number.
func EpochID(n uint64) string { return fmt.Sprintf("%019d", n) }

// JournalKind is the kind of what a run notes down while it goes on.
func JournalKind(group, run string) string { return journal + group + "-" + run }

// EndKind is the kind of the records of how a group's runs ended.
func EndKind(group string) string { return end + group }

// TakeID names the record by which a run is taken up for the so manieth time.
func TakeID(n int) string { return fmt.Sprintf("%s%06d", take, n) }

// DoneID names the record of a step that was done.
func DoneID(step string) string { return done + strings.ReplaceAll(step, "/", ".") }

// Promotions lists those of a group in one vault, the oldest first.
func Promotions(ctx context.Context, v *vault.Vault, group string) (out []Promotion, err error) {
	ids, err := v.Reports(ctx, PromotionKind(group))
	if err != nil {
		return nil, err
	}

	for _, id := range ids {
		n, perr := strconv.ParseUint(id, 10, 63)
		if perr != nil || EpochID(n) != id {
			return nil, fail.Newf(fail.Corrupt, op, group, "the vault of %s has a promotion called %.40q", v.Region(), id)
		}

		var p Promotion
		if err := v.Report(ctx, PromotionKind(group), id, &p); err != nil {
			return nil, err
		}
		p.Epoch = n
		out = append(out, p)
	}

	return out, nil
}

// End is what is read of how a run ended.
type End struct {
	Verdict machine.Verdict `json:"verdict"`
}

// Ended says how a run ended; ok is false when no vault knows that it did. The error is
// of a vault that did not tell, where no other knows it.
func Ended(ctx context.Context, set vault.Set, group, run string) (e End, ok bool, err error) {
	for _, v := range set.Vaults {
		rerr := v.Report(ctx, EndKind(group), run, &e)
		if rerr == nil {
			return e, true, nil
		}

		if !fail.Is(rerr, fail.NotFound) {
			err = rerr
		}
	}

	return End{}, false, err
}

// TakenBack reports whether a run is known to have ended without a promotion.
func TakenBack(ctx context.Context, set vault.Set, group, run string) (bool, error) {
	e, ok, err := Ended(ctx, set, group, run)
	return ok && e.Verdict == machine.TakenBack, err
}

// Takes is how often a run was taken up, by the vault of the region that takes over.
func Takes(ctx context.Context, v *vault.Vault, group, run string) (int, error) {
	for n := 1; n <= maxTakes; n++ {
		var x struct{}

		err := v.Report(ctx, JournalKind(group, run), TakeID(n), &x)
		if fail.Is(err, fail.NotFound) {
			return n - 1, nil
		}

		if err != nil {
			return 0, err
		}
	}

	return 0, fail.Newf(fail.Exhausted, op, run, "it was taken up %d times", maxTakes)
}

// Open finds the run of a group that began and has not ended: the newest, which has to be
// the named one unless run is "". Not-found when none began, conflict when it has
// ended or a newer one has begun.
func Open(ctx context.Context, set vault.Set, group, run string) (Promotion, error) {
	var p Promotion

	for _, v := range set.Vaults {
		ps, err := Promotions(ctx, v, group)
		if err != nil {
			return p, err
		}

		if n := len(ps); n > 0 && ps[n-1].Epoch > p.Epoch {
			p = ps[n-1]
		}
	}

	switch {
	case p.Run == "":
		return p, fail.Newf(fail.NotFound, op, group, "no recovery of the group has begun, as far as the vaults that answer know")
	case run != "" && p.Run != run:
		return p, fail.New(fail.Conflict, op, run, "leave out the run to take up the newest", fmt.Errorf("the group's newest recovery is %s (epoch %d); nothing older is taken up", p.Run, p.Epoch))
	}

	e, ok, err := Ended(ctx, set, group, p.Run)
	if err == nil && ok {
		err = fail.New(fail.Conflict, op, p.Run, "run it anew: drctl "+string(p.Mode)+" run", fmt.Errorf("it has ended: %s", e.Verdict))
	}

	return p, err
}

// TakenUp says that another engine took a run up.
type TakenUp struct {
	Run string `json:"run"`
	By  string `json:"by"`
	// Token is the engine's own name of the run.
	Token string `json:"token"`
}

// Superseded is a conflict once a run was taken up once more than so often, by another
// engine. Other errors are of a vault that did not tell.
func Superseded(ctx context.Context, v *vault.Vault, group, run string, takes int) error {
	var t TakenUp

	err := v.Report(ctx, JournalKind(group, run), TakeID(takes+1), &t)

	switch {
	case err == nil:
		return fail.New(fail.Conflict, op, run, "give it up here: drctl recovery answer STEP give-up --reason \"taken up elsewhere\"",
			fmt.Errorf("%s has taken the run up with another engine: this one does nothing any more", t.By))
	case fail.Is(err, fail.NotFound):
		return nil
	}

	return err
}

// Newer is a conflict while a recovery with a greater number may have promoted a server: one has
// begun, and its end does not say that it was taken back. What vaults do not tell is an error too.
func Newer(ctx context.Context, set vault.Set, group string, epoch uint64) error {
	for _, v := range set.Vaults {
		ps, err := Promotions(ctx, v, group)
		if err != nil {
			return err
		}

		for _, p := range ps {
			if p.Epoch <= epoch {
				continue
			}

			if back, err := TakenBack(ctx, set, group, p.Run); err != nil {
				return err
			} else if !back {
				return fail.New(fail.Conflict, op, group, "see who is the primary: drctl status; two primaries are worse than none",
					fmt.Errorf("run %s (%s from %s to %s, epoch %d) has begun since: the old primary is not started again", p.Run, p.Mode, p.From, p.To, p.Epoch))
			}
		}
	}

	return nil
}
