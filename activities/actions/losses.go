package actions

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"drctl/activities/planned"
	"drctl/activities/section"
	"drctl/activities/steps"
	"drctl/internal/logs"
	"drctl/internal/vault"
	"drctl/restore/losses"
	"drctl/restore/machine"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/targets/handover"
)

// lossLimit is how long vaults may take to tell what was lost.
const lossLimit = time.Minute

// heard asks a standby how far its primary had come; nil when it does not say.
func (a *Activities) heard(ctx context.Context, driver targets.Driver, standby targets.Instance) *handover.Heard {
	p, ok := driver.(handover.Asking)
	if !ok {
		return nil
	}

	h, err := p.Asker().Heard(ctx, standby)
	if err != nil {
		return nil
	}

	return &h
}

// lost says what a failover lost, and keeps that in the vaults. Nobody waits for it: the
// new side takes writes already. What cannot be found out is said in its notes.
func (a *Activities) lost(ctx context.Context, c Call, out section.Result) *losses.Statement {
	d, err := a.load(ctx, c.Plan)
	if err != nil || d.Mode != plan.ModeFailover {
		return nil
	}

	all := promoted(d, out)
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
		err = before(ctx, set.Vaults[0], c, d, all, &st)
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

// promoted are the shards that a section promoted.
func promoted(d plan.Definition, out section.Result) (all []losses.Promoted) {
	for _, s := range out.Steps {
		def, _ := d.Step(s.ID)

		var p handover.Promoted
		if def.Do != plan.OpPromote || s.Status != machine.Done || json.Unmarshal(s.Out, &p) != nil || p.Fork.Timeline == "" {
			continue
		}
		all = append(all, losses.Promoted{Shard: def.On, Kind: def.Kind, Fork: p.Fork})
	}

	return all
}

// before adds what was known before the promotion: by the section's journal, and by
// the steps that had asked the standbys.
func before(ctx context.Context, v *vault.Vault, c Call, d plan.Definition, all []losses.Promoted, st *losses.Statement) error {
	es, err := planned.Journal{Vault: v, Group: d.Group, Run: c.Run, Section: c.Step}.Read(ctx)
	if err != nil || len(es) == 0 {
		return err
	}
	st.Silent = es[0].At.UTC() // the fences of a failover have ended when its section begins

	var seen steps.Seen
	if err := json.Unmarshal(es[0].Prepared, &seen); err != nil {
		return fmt.Errorf("what was known before: %w", err)
	}

	for i := range all {
		p := &all[i]

		line := seen.Lines[p.Shard.String()]
		p.Line = line.At.Timeline

		if line.Heard != nil {
			p.Heard = append(p.Heard, *line.Heard)
		}

		for _, s := range d.Steps {
			var h handover.Heard
			if s.Do == plan.OpPrecheck && s.On == p.Shard && json.Unmarshal(c.Outs[s.ID], &h) == nil {
				p.Heard = append(p.Heard, h)
			}
		}
	}

	return nil
}

// vaults are those of a group that answer, that of a region first: it has to be there.
func (a *Activities) vaults(ctx context.Context, group, region string) (vault.Set, error) {
	v, err := a.Platform.Vault(ctx, region)
	if err != nil {
		return vault.Set{}, err
	}
	out := vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}

	if set, err := a.Platform.Set(ctx, group, region); err == nil {
		if set, err = set.Answering(ctx); err == nil {
			out.Vaults = append(out.Vaults, others(set.Vaults, v)...)
		}
	}

	return out, nil
}
