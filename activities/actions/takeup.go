package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"drctl/activities/planned"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/restore/plan"
	"drctl/restore/runs"
)

// takenUp writes that a run is taken up for the so manieth time. Conflict when another
// was quicker, or when a newer recovery of the group began since.
func (a *Activities) takenUp(ctx context.Context, d plan.Definition, in BeginIn, epoch uint64, mine bool) error {
	if !mine {
		return fail.New(fail.Conflict, op, in.Run, "see where the group is: drctl status", fmt.Errorf("a newer recovery of %s has begun since (epoch %d): this one is over", d.Group, epoch-1))
	}

	v, err := a.Platform.Vault(ctx, d.To)
	if err != nil {
		return err
	}

	_, err = one(v).SaveReport(ctx, runs.JournalKind(d.Group, in.Run), runs.TakeID(in.Take), runs.TakenUp{Run: in.Run, By: in.By, Token: in.Token})
	if fail.Is(err, fail.Conflict) {
		return fail.New(fail.Conflict, op, in.Run, "see what it does: drctl recovery show", errors.New("somebody else has taken the run up meanwhile"))
	}

	return err
}

func one(v *vault.Vault) vault.Set { return vault.Set{Vaults: []*vault.Vault{v}, Durability: 1} }

// superseded is not nil once another engine has taken the run up. A vault that does not
// tell counts as one that has, where it has to be sure.
func (a *Activities) superseded(ctx context.Context, c Call, d plan.Definition, sure bool) error {
	v, err := a.Platform.Vault(ctx, d.To)
	if err == nil {
		err = runs.Superseded(ctx, v, d.Group, c.Run, c.Take)
	}

	if fail.Is(err, fail.Conflict) {
		return err
	}

	if !sure {
		return nil
	}

	return err
}

// mayUndo is nil while what a run did before its section may be taken back: see planned.Back.
func (a *Activities) mayUndo(ctx context.Context, c Call, d plan.Definition) error {
	if c.Take == 0 { // its own engine knows
		return nil
	}

	v, err := a.Platform.Vault(ctx, d.To)
	if err != nil {
		return err
	}

	return planned.Back(ctx, v, c.Run, d, c.Mode)
}

// stood is a step that was done, for an engine that takes the run up.
type stood struct {
	Step string `json:"step"`
	Done Done   `json:"done"`
}

// keep notes in the vault that a step outside of a section was done.
func (a *Activities) keep(ctx context.Context, c Call, d plan.Definition, done Done) error {
	v, err := a.Platform.Vault(ctx, d.To)
	if err != nil {
		return err
	}

	_, err = one(v).SaveReport(ctx, runs.JournalKind(d.Group, c.Run), runs.DoneID(c.Step), stood{Step: c.Step, Done: done})
	if fail.Is(err, fail.Conflict) { // done once more, by a retry
		return nil
	}

	return err
}

// already returns what a step did before the run was taken up, where that still counts. A
// fence is done again: who was silent may have come back. What came before the section
// is done again as well while that has not begun, but for what was read before anything
// was touched.
func (a *Activities) already(ctx context.Context, c Call, d plan.Definition, s plan.StepDef) (done Done, ok bool, err error) {
	if c.Take == 0 || s.Do == plan.OpFence {
		return done, false, nil
	}

	v, err := a.Platform.Vault(ctx, d.To)
	if err != nil {
		return done, false, err
	}
	kind := runs.JournalKind(d.Group, c.Run)

	if s.Do != plan.OpPrecheck {
		began, err := planned.Begun(ctx, v, c.Run, d)
		if err != nil || !began {
			return done, false, err
		}
	}

	var x stood

	err = v.Report(ctx, kind, runs.DoneID(c.Step), &x)
	if fail.Is(err, fail.NotFound) {
		return done, false, nil
	}

	return x.Done, err == nil && x.Step == c.Step, err
}

// EndIn is a run that ended, with how.
type EndIn struct {
	Run  string          `json:"run"`
	Plan plan.Ref        `json:"plan"`
	Out  json.RawMessage `json:"out"`
}

// End keeps in the vaults how a run ended.
func (a *Activities) End(ctx context.Context, in EndIn) error {
	d, err := a.load(ctx, in.Plan)
	if err != nil {
		return engine.EncodeError(err)
	}

	set, err := a.vaults(ctx, d.Group, d.To)
	if err == nil {
		_, err = set.SaveReport(ctx, runs.EndKind(d.Group), in.Run, in.Out)
	}

	if fail.Is(err, fail.Conflict) { // kept by an attempt before, or by another engine
		err = nil
	}

	return engine.EncodeError(err)
}

// newer is not nil while a newer recovery of the group may have promoted another
// server: see runs.Newer.
func (a *Activities) newer(ctx context.Context, d plan.Definition, epoch uint64) error {
	set, err := a.vaults(ctx, d.Group, d.To)
	if err != nil {
		return err
	}

	return runs.Newer(ctx, set, d.Group, epoch)
}
