package alone

import (
	"context"
	"time"

	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/upkeep"
	"drctl/internal/vault"
	"drctl/restore/inventory"
	"drctl/restore/plan"
	"drctl/restore/recovery"
	"drctl/targets"
)

// Held is what one vault alone says of a group: whether it can be recovered from
// it, and to when. It says nothing of what is live.
type Held struct {
	Vault string `json:"vault"`
	Group string `json:"group"`
	// NewestCut is the newest sealed cut; "" when there is none.
	NewestCut string    `json:"newest_cut,omitempty"`
	TakenAt   time.Time `json:"taken_at,omitzero"`
	// Recoverable says that a plan to it can be made from this vault, Why why not.
	Recoverable bool        `json:"recoverable"`
	Why         string      `json:"why,omitempty"`
	Shards      []HeldShard `json:"shards"`
	// Checked is when the newest check on record in this vault began.
	Checked     time.Time `json:"checked_at,omitzero"`
	CheckFailed int       `json:"check_failed"`
	Problems    []string  `json:"problems"`
}

// HeldShard is what a vault holds of one shard.
type HeldShard struct {
	Shard targets.ShardID `json:"shard"`
	Kind  targets.Kind    `json:"kind"`
	// Base is the newest base that can be read; object stores have none.
	Base         string    `json:"base,omitempty"`
	BaseFinished time.Time `json:"base_finished,omitzero"`
}

// Ask asks one vault, and nothing else, what can be recovered from it.
func Ask(ctx context.Context, v *vault.Vault, g platform.Group, now time.Time) (Held, error) {
	out := Held{Vault: v.Region(), Group: g.Name, Shards: []HeldShard{}, Problems: []string{}}
	goal := plan.Goal{Group: g.Name, Cut: plan.Latest, Vault: v.Region(), Into: plan.Sandbox}

	inv, err := inventory.Read(ctx, v, goal, nil)
	if err != nil && !fail.Is(err, fail.NotFound) {
		return out, err
	}

	for _, d := range inv.Damaged {
		out.Problems = append(out.Problems, "damaged: "+d)
	}

	run, err := recovery.Build(goal, plan.ModeRestore, inv, now)
	if err != nil {
		out.Why = err.Error()
		out.Problems = append(out.Problems, "nothing can be recovered to the newest cut: "+out.Why)
	} else {
		out.Recoverable, out.NewestCut, out.TakenAt = true, run.Cut.ID, run.Cut.QuiescedAt
		for _, w := range run.Warnings {
			out.Problems = append(out.Problems, "warning: "+w)
		}
	}

	for _, s := range g.Shards {
		h := HeldShard{Shard: s.Shard, Kind: s.Kind}
		for b, err := range v.BasesNewest(ctx, s.Shard) {
			if err == nil {
				h.Base, h.BaseFinished = b.ID, b.Finished
				break
			}
		}
		out.Shards = append(out.Shards, h)
	}

	checks, err := upkeep.CheckHistory(ctx, []*vault.Vault{v}, g.Name, v.Region())
	if err != nil {
		out.Problems = append(out.Problems, "reports of checks: "+err.Error())
	}

	out.Checked = checks.Newest.Started
	if d := checks.Damaged; !d.Started.IsZero() {
		out.CheckFailed = d.Failed
		out.Problems = append(out.Problems, "found damage: "+d.String())
	}

	return out, nil
}
