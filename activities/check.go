package activities

import (
	"context"
	"time"

	"drctl/internal/engine"
	"drctl/internal/upkeep"
	"drctl/targets"
)

// What crosses the boundary is bounded, as the engine refuses more than 2 MB:
// so many of a list, and so many bytes of a text.
const (
	maxListed = 100
	maxText   = 1024
)

// CheckVault verifies what a vault holds of a group.
func (a *Activities) CheckVault(ctx context.Context, in CheckIn) (CheckOut, error) {
	out, err := a.check(ctx, in)
	return out, engine.EncodeError(err)
}

func (a *Activities) check(parent context.Context, in CheckIn) (CheckOut, error) {
	ctx, cancel := stoppable(parent)
	defer cancel(nil)

	g, err := a.Platform.Group(in.Group)
	if err != nil {
		return CheckOut{Region: in.Region}, err
	}

	v, err := a.Platform.Vault(ctx, in.Region)
	if err != nil {
		return CheckOut{Region: in.Region}, err
	}
	beat := &beater{ctx: ctx, shard: "vault of " + in.Region}
	beat.progress("check", 0, 0)
	// Reading one large object and restic's own check report nothing meanwhile.
	stop := beatEvery(ctx, 5*time.Second, beat.current)
	defer stop()

	readData, err := upkeep.NextPart(ctx, v, in.Group, in.Region, in.ReadData)
	if err != nil {
		return CheckOut{Region: in.Region}, err
	}

	out, err := upkeep.CheckVault(ctx, v, g, readData, beat.progress)
	if err != nil {
		return out, err
	}

	for _, f := range out.Findings {
		if f.Severity == targets.Failed || f.Severity == targets.Warned {
			a.Log.WarnContext(ctx, "check", "severity", string(f.Severity), "check", f.Check, "subject", f.Subject, "expected", f.Expected, "got", f.Got, "detail", f.Detail)
		}
	}
	err = upkeep.SaveCheck(ctx, a.Platform, g, out) // whole
	out.Findings = upkeep.Worst(out.Findings, maxListed)

	return out, err
}

// Retain applies a group's retention to a vault: nothing else deletes from it.
func (a *Activities) Retain(ctx context.Context, in CheckIn) (RetainOut, error) {
	out, err := a.retain(ctx, in)
	return out, engine.EncodeError(err)
}

func (a *Activities) retain(parent context.Context, in CheckIn) (RetainOut, error) {
	ctx, cancel := stoppable(parent)
	defer cancel(nil)

	g, err := a.Platform.Group(in.Group)
	if err != nil {
		return RetainOut{Region: in.Region}, err
	}

	v, err := a.Platform.Vault(ctx, in.Region)
	if err != nil {
		return RetainOut{Region: in.Region}, err
	}

	stop := beatEvery(ctx, 2*time.Second, func() engine.Beat { return engine.Beat{Phase: "retain", Detail: in.Region} })
	defer stop()

	out, err := upkeep.RetainOr(ctx, v, g, in.Remove, time.Now().UTC())
	if err != nil {
		return RetainOut{Region: in.Region}, err
	}

	a.Log.InfoContext(ctx, "retention", out.Figures()...)

	return out.Bounded(maxListed), nil
}
