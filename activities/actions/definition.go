package actions

import (
	"context"

	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/restore/inventory"
	"drctl/restore/plan"
)

const promotionKind = "promotion-of-"

// load reads a plan, once in the life of this process.
func (a *Activities) load(ctx context.Context, ref plan.Ref) (plan.Definition, error) {
	a.mu.Lock()
	d, ok := a.plans[ref.SHA256]
	a.mu.Unlock()

	if ok {
		return d, nil
	}

	d, err := inventory.LoadDefinition(ctx, a.Platform.Vault, ref)
	if err != nil {
		return d, err
	}

	a.mu.Lock()
	defer a.mu.Unlock()

	if a.plans == nil || len(a.plans) > 20 {
		a.plans = map[string]plan.Definition{}
	}
	a.plans[ref.SHA256] = d

	return d, nil
}

// BeginIn is a run that begins.
type BeginIn struct {
	Run  string   `json:"run"`
	By   string   `json:"by"`
	Plan plan.Ref `json:"plan"`
}

// Begun is what a run got.
type Begun struct {
	Epoch uint64 `json:"epoch"`
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
	set = vault.Set{Vaults: append([]*vault.Vault{v}, others(set.Vaults, v)...), Durability: 1}

	for range 100 {
		next, mine, err := a.nextEpoch(ctx, set, d.Group, in.Run)
		if err != nil || mine {
			return Begun{Epoch: next}, err
		}

		if taken, err := take(ctx, set, d.Group, Promotion{Epoch: next, Run: in.Run, By: in.By, From: d.From, To: d.To, Mode: d.Mode, Plan: in.Plan.SHA256}); taken || err != nil {
			return Begun{Epoch: next}, err
		}
	}

	return Begun{}, fail.Newf(fail.Conflict, op, d.Group, "others begin recoveries of the group all the time")
}

func others(all []*vault.Vault, but *vault.Vault) (out []*vault.Vault) {
	for _, v := range all {
		if v.Region() != but.Region() {
			out = append(out, v)
		}
	}

	return out
}
