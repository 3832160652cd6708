package activities

import (
	"context"
	"time"

	"drctl/internal/engine"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/targets"
)

// CheckVault verifies what a vault holds of a group.
func (a *Activities) CheckVault(ctx context.Context, in CheckIn) (CheckOut, error) {
	out, err := a.check(ctx, in)
	return out, engine.EncodeError(err)
}

func (a *Activities) check(parent context.Context, in CheckIn) (CheckOut, error) {
	ctx, cancel := stoppable(parent)
	defer cancel(nil)
	start := time.Now()
	out := CheckOut{Region: in.Region}
	g, err := a.Platform.Group(in.Group)
	if err != nil {
		return out, err
	}
	v, err := a.Platform.Vault(ctx, in.Region)
	if err != nil {
		return out, err
	}
	stop := beatEvery(ctx, 2*time.Second, func() Beat { return Beat{Phase: "check", Detail: in.Region, Done: int64(time.Since(start).Seconds())} })
	defer stop()
	findings, err := VerifyVault(ctx, v, g, in.ReadData)
	if err != nil {
		return out, err
	}
	out.Findings = findings
	for _, f := range findings {
		if f.Severity == targets.Failed {
			out.Failed++
		}
	}
	out.Took = time.Since(start)
	return out, nil
}

// VerifyVault checks every stored byte of a group in one vault, and that the
// streams are contiguous from each shard's oldest base to its newest cut.
func VerifyVault(ctx context.Context, v *vault.Vault, g Group, readData string) ([]targets.Finding, error) {
	shards := make([]targets.ShardID, len(g.Shards))
	for i, s := range g.Shards {
		shards[i] = s.Shard
	}
	findings, err := v.Verify(ctx, vault.VerifyOptions{ReadData: readData, Shards: shards, Groups: []string{g.Name}})
	if err != nil {
		return findings, err
	}
	cuts, cerr := v.Cuts(ctx, g.Name) // damaged records are findings above
	if cerr != nil && len(cuts) == 0 {
		return findings, nil
	}
	for _, s := range g.Shards {
		if s.Kind == targets.S3 {
			continue
		}
		bases, _ := v.Bases(ctx, s.Shard) // likewise
		var to targets.Position
		for _, c := range cuts {
			if p, ok := c.Point(s.Shard); ok && !c.SealedAt.IsZero() {
				to = p.Position
			}
		}
		if len(bases) == 0 || to.Lineage == "" {
			continue
		}
		from := bases[0]
		for _, b := range bases {
			if b.Finished.Before(from.Finished) {
				from = b
			}
		}
		fs, err := stream.Check(ctx, v, s.Shard, from.From, to)
		if err != nil {
			return findings, err
		}
		findings = append(findings, fs...)
	}
	return findings, nil
}

// RetainOut says what retention removed.
type RetainOut struct {
	Region string                `json:"region"`
	Plan   vault.RetentionPlan   `json:"plan"`
	Result vault.RetentionResult `json:"result"`
}

// Retain applies a group's retention to one region's vault: the only place
// where anything is deleted from it.
func (a *Activities) Retain(ctx context.Context, in CheckIn) (RetainOut, error) {
	out, err := a.retain(ctx, in)
	return out, engine.EncodeError(err)
}

func (a *Activities) retain(parent context.Context, in CheckIn) (RetainOut, error) {
	ctx, cancel := stoppable(parent)
	defer cancel(nil)
	out := RetainOut{Region: in.Region}
	g, err := a.Platform.Group(in.Group)
	if err != nil {
		return out, err
	}
	v, err := a.Platform.Vault(ctx, in.Region)
	if err != nil {
		return out, err
	}
	stop := beatEvery(ctx, 2*time.Second, func() Beat { return Beat{Phase: "retain", Detail: in.Region} })
	defer stop()
	return ApplyRetention(ctx, v, g, time.Now().UTC(), false)
}

// ApplyRetention removes from a vault what the group's policy no longer keeps,
// or with dry only says what that would be.
func ApplyRetention(ctx context.Context, v *vault.Vault, g Group, now time.Time, dry bool) (RetainOut, error) {
	out := RetainOut{Region: v.Region()}
	inv, err := v.Inventory(ctx, []string{g.Name})
	if err != nil {
		return out, err
	}
	pol := g.Policy.Retention
	if n := g.Policy.KeepCutsMin; n > 0 && len(inv.Cuts) > 0 {
		// Cuts are sorted by age: the Nth newest one widens the window.
		nth := inv.Cuts[max(0, len(inv.Cuts)-n)]
		pol.KeepCuts = max(pol.KeepCuts, now.Sub(nth.FencedAt)+time.Minute)
	}
	out.Plan = vault.PlanRetention(inv, pol, now)
	out.Result, err = v.Retain(ctx, out.Plan, vault.RetainOptions{DryRun: dry})
	return out, err
}
