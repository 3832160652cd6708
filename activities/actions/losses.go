package actions

import (
	"context"
	"time"

	"drctl/activities/aftermath"
	"drctl/activities/planned"
	"drctl/activities/section"
	"drctl/internal/logs"
	"drctl/internal/vault"
	"drctl/restore/losses"
	"drctl/restore/plan"
)

// lossLimit is how long vaults may take to tell what was lost.
const lossLimit = time.Minute

// lost says what a failover lost, and keeps that in the vaults. Nobody waits for it: the
// new side takes writes already. What cannot be found out is said in its notes.
func (a *Activities) lost(ctx context.Context, c Call, out section.Result) *losses.Statement {
	d, err := a.load(ctx, c.Plan)
	if err != nil || d.Mode != plan.ModeFailover {
		return nil
	}

	all := aftermath.Promoted(d, out)
	if len(all) == 0 {
		return nil
	}

	stop := planned.Beat(ctx, planned.Nothing)
	defer stop()

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lossLimit)
	defer cancel()

	now := time.Now().UTC()
	st := losses.Statement{Run: c.Run, Group: d.Group, From: d.From, To: d.To, Epoch: c.Epoch, Made: now}

	set, err := a.vaults(ctx, d.Group, d.To)
	if err == nil {
		err = aftermath.Before(ctx, planned.Journal{Vault: set.Vaults[0], Group: d.Group, Run: c.Run, Section: c.Step}, c.Outs, d, all, &st)
	}

	if err != nil {
		st.Notes = append(st.Notes, err.Error())
	}

	var notes []string
	st.Shards, notes = losses.Find(ctx, set, d.Group, all, now)
	st.Notes = append(st.Notes, notes...)

	kept, err := losses.Save(ctx, set, st)
	if err != nil {
		st.Notes = append(st.Notes, "this could not be kept: "+err.Error())
		kept = st
	}

	for _, s := range kept.Shards {
		a.Log.WarnContext(ctx, kept.Words(s), "run", c.Run, "group", d.Group, logs.Shard, s.Shard.String())
	}

	return &kept
}

// vaults are those of a group that answer, that of a region first: it has to be there.
func (a *Activities) vaults(ctx context.Context, group, region string) (vault.Set, error) {
	v, err := a.Platform.Vault(ctx, region)
	if err != nil {
		return vault.Set{}, err
	}

	set, err := a.Platform.Set(ctx, group, region)
	if err != nil {
		return vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}, nil
	}

	return planned.Reached(ctx, v, set), nil
}
