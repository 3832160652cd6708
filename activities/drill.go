package activities

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"time"

	"drctl/drills"
	"drctl/drills/debrief"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/report/evidence"
	"drctl/internal/sandbox"
	"drctl/internal/vault"
	"drctl/restore/inventory"
	"drctl/restore/plan"
	"drctl/restore/recovery"
	"drctl/targets"
)

// PickIn asks for a drill's cut and plan.
type PickIn struct {
	Drill drills.Definition `json:"drill"`
	Now   time.Time         `json:"now"`
	// Disaster is the instant of a (simulated) disaster: nothing later exists.
	Disaster time.Time `json:"disaster,omitzero"`
}

// PickOut is a drill's cut and plan.
type PickOut struct {
	Run    plan.Carried    `json:"run"`
	Order  plan.Outline    `json:"order"`
	Sample evidence.Sample `json:"sample"`
}

// CrossIn asks for the checks that span stores.
type CrossIn struct {
	Drill   drills.Definition `json:"drill"`
	Run     plan.Carried      `json:"run"`
	Sandbox SandboxRef        `json:"sandbox"`
}

// FinishIn is everything that a drill did, for its record.
type FinishIn = debrief.Seen

// CrossCheckStep is the id of the step that checks across stores.
const CrossCheckStep = debrief.CrossCheckStep

// PickDrill chooses the cut and plans its restore.
func (a *Activities) PickDrill(ctx context.Context, in PickIn) (PickOut, error) {
	out, err := a.pickDrill(ctx, in)
	return out, engine.EncodeError(err)
}

func (a *Activities) pickDrill(ctx context.Context, in PickIn) (PickOut, error) {
	stop := beatEvery(ctx, 2*time.Second, func() engine.Beat { return engine.Beat{Phase: "plan"} })
	defer stop()

	v, err := a.Platform.Vault(ctx, in.Drill.Vault)
	if err != nil {
		return PickOut{}, err
	}

	cuts, err := v.Cuts(ctx, in.Drill.Group) // newestIs looks for damage; nothing else may hide a cut
	if err != nil && (len(cuts) == 0 || !fail.Is(err, fail.Corrupt)) {
		return PickOut{}, err
	}
	var seed [8]byte
	_, _ = rand.Read(seed[:]) // never fails

	cut, sample, err := drills.PickCut(cuts, in.Drill, in.Now, in.Disaster, int64(binary.BigEndian.Uint64(seed[:])>>1))
	if err != nil {
		return PickOut{}, err
	}

	if in.Drill.Cut != drills.Random {
		if err := newestIs(ctx, v, cut, in.Disaster); err != nil {
			return PickOut{}, err
		}
	}
	goal := plan.Goal{Group: in.Drill.Group, Cut: cut.ID, Vault: in.Drill.Vault, Into: plan.Sandbox}
	// The group comes from the vault alone: a drill must not need the rest.
	inv, err := inventory.Read(ctx, v, goal, nil)
	if err != nil {
		return PickOut{}, err
	}

	run, err := recovery.Build(goal, plan.ModeDrill, inv, in.Now)
	if err != nil {
		return PickOut{}, err
	}

	carried, err := inventory.SaveRun(ctx, vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}, run)

	return PickOut{Run: carried, Order: run.Outline(), Sample: sample}, err
}

// newestIs fails when the vault has a newer cut than the one picked, from before
// the disaster if there was one, whose record cannot be read: a drill of the
// newest cut that quietly took the one before would hide just what it is there
// to find.
func newestIs(ctx context.Context, v *vault.Vault, cut targets.Cut, disaster time.Time) error {
	for i, err := range v.Store().List(ctx, vault.CutsPrefix(cut.Group), vault.CutKey(cut.Group, cut.ID)) {
		if err != nil {
			return err
		}

		if _, id, ok := vault.ParseCutKey(i.Key); ok {
			if !disaster.IsZero() && !targets.MadeBefore(id, disaster) {
				break // listed in order of time: taken after the disaster
			}

			if _, err := v.Cut(ctx, cut.Group, id); err != nil && !fail.Is(err, fail.NotFound) {
				return err
			}
		}
	}

	return nil
}

// CrossCheck runs the sums and object checks of a drill in its sandbox.
func (a *Activities) CrossCheck(ctx context.Context, in CrossIn) (plan.StepOut, error) {
	out, err := a.crossCheck(ctx, in)
	return out, engine.EncodeError(err)
}

func (a *Activities) crossCheck(parent context.Context, in CrossIn) (plan.StepOut, error) {
	ctx, cancel := stoppable(parent)
	defer cancel(nil)
	out := stepOut(ctx, boundStep{step: plan.Step{ID: CrossCheckStep}})

	run, err := a.run(ctx, in.Run)
	if err != nil {
		return out, err
	}

	restored, err := restoredIn(in.Sandbox, run)
	if err != nil {
		return out, err
	}
	beat := newBeater(ctx, targets.ShardID{Target: in.Drill.Group, Shard: "cross-check"})

	stop := beatEvery(ctx, 5*time.Second, beat.current)
	defer stop()

	out.Findings, err = drills.CrossCheck(ctx, in.Drill, restored, beat.progress)
	if err != nil {
		return out, err
	}

	proven, err := debrief.Proven(ctx, a.Platform.Vault, a.Logs, run)
	if err != nil {
		return out, err
	}

	out.Findings = append(out.Findings, proven...)
	_, isolated := drills.ProveIsolation(in.Sandbox.ID, in.Sandbox.Dir, restored, debrief.Production(ctx, a.Platform, run), nil)
	out.Findings = append(out.Findings, isolated)
	out.Finished = time.Now().UTC()

	return out, nil
}

func restoredIn(box SandboxRef, run plan.Run) ([]targets.Instance, error) {
	var out []targets.Instance
	for _, s := range run.Steps {
		if s.Op != plan.OpRestore {
			continue
		}

		inst, err := sandbox.Restored(box.Dir, s.Shard)
		if err != nil {
			return out, err
		}
		out = append(out, inst)
	}

	return out, nil
}
