package actions

import (
	"context"
	"strconv"
	"time"

	"drctl/activities/planned"
	"drctl/internal/engine"
	"drctl/internal/epoch"
	"drctl/internal/fail"
	"drctl/internal/logs"
	"drctl/internal/vault"
	"drctl/restore/plan"
	"drctl/restore/runs"
)

// BeginIn is a run that begins.
type BeginIn struct {
	Run  string   `json:"run"`
	By   string   `json:"by"`
	Plan plan.Ref `json:"plan"`
	// Take is how often the run was taken up by another engine, this time included.
	Take int `json:"take,omitempty"`
	// Token is the engine's own name of the run.
	Token string `json:"token,omitempty"`
}

// Begun is what a run got.
type Begun struct {
	Epoch uint64 `json:"epoch"`
	// Behind is the newest epoch of the group that the voters have now; "" when there are not
	// enough, or they do not answer.
	Behind string `json:"behind,omitempty"`
}

// Begin gives a run its epoch: a number that no other promotion of the group has in a
// vault that can be reached, and greater than all of those. It is the same when it is
// asked for again.
func (a *Activities) Begin(ctx context.Context, in BeginIn) (Begun, error) {
	out, err := a.begin(ctx, in)
	return out, engine.EncodeError(err)
}

func (a *Activities) begin(ctx context.Context, in BeginIn) (Begun, error) {
	d, err := a.load(ctx, in.Plan)
	if err != nil {
		return Begun{}, err
	}

	set, err := a.Platform.Set(ctx, d.Group, d.To)
	if err != nil {
		return Begun{}, err
	}

	v, err := a.Platform.Vault(ctx, d.To)
	if err != nil {
		return Begun{}, err
	}
	// The vault of the region that takes over is the one that has to have it.
	set = planned.Reached(ctx, v, set)

	behind, claimed := a.newest(ctx, d.Group)
	for range 100 {
		next, mine, err := a.nextEpoch(ctx, set, d.Group, in.Run)
		if err == nil && in.Take > 0 {
			err = a.takenUp(ctx, d, in, next, mine)
		}

		if err != nil || mine {
			return Begun{Epoch: next, Behind: behind}, err
		}
		next = max(next, claimed+1)

		if taken, err := take(ctx, set, d.Group, runs.Promotion{Epoch: next, Run: in.Run, By: in.By, From: d.From, To: d.To, Mode: d.Mode, Plan: in.Plan.SHA256, At: time.Now().UTC()}); taken || err != nil {
			return Begun{Epoch: next, Behind: behind}, err
		}
	}

	return Begun{}, fail.Newf(fail.Conflict, op, d.Group, "others begin recoveries of the group all the time")
}

// newest is the newest epoch of a group that its voters know of.
func (a *Activities) newest(ctx context.Context, group string) (id string, number uint64) {
	if !a.Platform.Witnessed() {
		return "", 0
	}

	var st epoch.State

	l, err := a.Platform.Epochs(ctx, group)
	if err == nil {
		st, err = l.Read(ctx)
	}

	if err != nil { // the run finds out when it claims
		a.Log.WarnContext(ctx, "the epochs of the group cannot be read", "group", group, logs.Err, err)
		return "", 0
	}

	return st.Newest()
}

// nextEpoch is one more than the greatest that a vault has, or the run's own. The first
// vault has to answer; another that does not is passed over. So two runs with vaults that do not
// see each other can get one number: it tells proofs apart, and keeps nobody from anything;
// what does, where there are voters enough, is the claim.
func (a *Activities) nextEpoch(ctx context.Context, set vault.Set, group, run string) (next uint64, mine bool, err error) {
	for i, v := range set.Vaults {
		ids, err := v.Reports(ctx, runs.PromotionKind(group))
		if err != nil && i == 0 {
			return 0, false, err
		}

		if len(ids) == 0 {
			continue
		}
		newest := ids[len(ids)-1]

		n, perr := strconv.ParseUint(newest, 10, 63)
		if perr != nil || runs.EpochID(n) != newest {
			return 0, false, fail.Newf(fail.Corrupt, op, group, "the vault of %s has a promotion called %.40q", v.Region(), newest)
		}

		var p runs.Promotion
		if err := v.Report(ctx, runs.PromotionKind(group), newest, &p); err == nil && p.Run == run && n >= next {
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
func take(ctx context.Context, set vault.Set, group string, p runs.Promotion) (bool, error) {
	for i, v := range set.Vaults {
		one := vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}

		_, err := one.SaveReport(ctx, runs.PromotionKind(group), runs.EpochID(p.Epoch), p)
		if fail.Is(err, fail.Conflict) {
			return false, nil
		}

		if err != nil && i == 0 {
			return false, err
		}
	}

	return true, nil
}
