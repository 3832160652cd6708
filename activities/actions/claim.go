package actions

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"drctl/activities/claims"
	"drctl/activities/steps"
	"drctl/internal/epoch"
	"drctl/internal/fail"
	"drctl/internal/logs"
	"drctl/internal/silence"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/targets/handover"
)

// claimStep is the id of the step that claims; "" when the plan has none.
func claimStep(d plan.Definition) string {
	for _, s := range d.Steps {
		if s.Do == plan.OpClaim {
			return s.ID
		}
	}

	return ""
}

// epochs of a plan's group; nil when the plan claims none.
func (a *Activities) epochs(ctx context.Context, c Call, d plan.Definition) (*claims.Part, error) {
	step := claimStep(d)
	if step == "" {
		return nil, nil
	}

	l, err := a.Platform.Epochs(ctx, d.Group)
	if err != nil {
		return nil, err
	}

	return &claims.Part{Log: l, Lease: a.Platform.Lease(), Run: c.Run, Number: c.Epoch, Behind: c.Behind, Plan: d, Waived: c.Waived[step] != "",
		Warn: func(ctx context.Context, text string, err error) {
			a.Log.WarnContext(ctx, text, "run", c.Run, logs.Err, err)
		}}, nil
}

// claim is the step of a failover: the claim, and the wait for the leases of the region
// that is lost. What its guards have answered for is silent then.
func (a *Activities) claim(ctx context.Context, c Call, d plan.Definition, s plan.StepDef) (Done, error) {
	e, err := a.epochs(ctx, c, d)
	if err != nil {
		return Done{}, err
	}

	t, err := e.Take(ctx)
	if err != nil {
		return Done{}, err
	}
	bound, lease := t.Bound(d.From), max(t.Longest(d.From), e.Lease)

	if err := t.Wait(ctx); err != nil {
		return Done{}, err
	}

	// A claim that was gone on with may have been waited for by another process, whose count
	// nobody else has seen.
	enough := lease + lease/10
	for left := enough - t.Waited(); left > 0; left = enough - t.Waited() {
		select {
		case <-ctx.Done():
			return Done{}, fail.New(fail.Stalled, op, s.ID, "", ctx.Err())
		case <-time.After(left):
		}
	}

	out := claims.Claimed{Epoch: c.Epoch, Lease: lease, Waited: t.Waited()}
	if out.Proofs, err = a.let(ctx, c, d, bound, out); err != nil {
		return Done{}, err
	}

	b, err := json.Marshal(out)

	return Done{Out: b, Said: fmt.Sprintf("epoch %d is %s's, after %s; guards have answered for %d servers", c.Epoch, d.To, out.Waited.Round(time.Millisecond), len(out.Proofs))}, err
}

// let are the proofs for what guards have answered for: their lease is over.
func (a *Activities) let(ctx context.Context, c Call, d plan.Definition, guards []epoch.Guard, w claims.Claimed) (out []silence.Proof, err error) {
	key, err := a.silenceKey(ctx, d)
	if err != nil {
		return nil, err
	}

	for _, g := range guards {
		for _, in := range g.Instances {
			id, ok := shardOf(d, in)
			if !ok {
				continue
			}

			out = append(out, silence.Sign(silence.Proof{Kind: silence.Guard, Group: d.Group, Shard: id, Instance: in, Epoch: c.Epoch, Since: time.Now().UTC(), By: a.Process,
				Guard: &silence.GuardEvidence{Guard: g.Name, Holder: g.Holder, To: d.To, Instances: g.Instances, Lease: w.Lease, Waited: w.Waited}}, key))
		}
	}

	return out, nil
}

// guarded names a server as guards do.
func guarded(id targets.ShardID, region string) string { return id.String() + "@" + region }

func shardOf(d plan.Definition, instance string) (targets.ShardID, bool) {
	for _, s := range d.Steps {
		if s.Do == plan.OpFence && guarded(s.On, d.From) == instance {
			return s.On, true
		}
	}

	return targets.ShardID{}, false
}

// silenceKey authenticates the proofs of this vault set's processes.
func (a *Activities) silenceKey(ctx context.Context, d plan.Definition) (silence.Key, error) {
	v, err := a.Platform.Vault(ctx, d.To)
	if err != nil {
		return nil, err
	}
	k := sha256.Sum256([]byte("drctl silence v1\x00" + v.SetID() + "\x00" + v.Key().Secret().Reveal()))

	return k[:], nil
}

// guardProof is the proof that the guard of a shard's old side has let go of it.
func (a *Activities) guardProof(ctx context.Context, c Call, d plan.Definition, s plan.StepDef) (silence.Proof, error) {
	step := claimStep(d)
	if step == "" {
		return silence.Proof{}, errors.New("without a witness no guard's lease can be waited for")
	}

	var w claims.Claimed
	if out := c.Outs[step]; len(out) > 0 {
		if err := json.Unmarshal(out, &w); err != nil {
			return silence.Proof{}, fail.New(fail.Corrupt, op, s.ID, "", err)
		}
	}

	key, err := a.silenceKey(ctx, d)
	if err != nil {
		return silence.Proof{}, err
	}

	return proven(d, s, w, c.Epoch, key)
}

// proven is the proof that a claim has of a shard's old side.
func proven(d plan.Definition, s plan.StepDef, w claims.Claimed, number uint64, key silence.Key) (silence.Proof, error) {
	server := guarded(s.On, d.From)
	for _, p := range w.Proofs {
		if p.Instance == server {
			return p, holds(d, s.On, p, number, key)
		}
	}

	return silence.Proof{}, fmt.Errorf("no guard has answered for %s when the epoch was claimed", server)
}

// holds is an error when a guard's proof does not count.
func holds(d plan.Definition, id targets.ShardID, p silence.Proof, number uint64, key silence.Key) error {
	return silence.Check(silence.Need{Group: d.Group, Shard: id, Epoch: number, To: d.To, Instances: []string{guarded(id, d.From)}, Key: key}, []silence.Proof{p}, time.Now())
}

// provable gives hands the run's part in the epochs, and refuses a guard's proof that does
// not hold.
func (a *Activities) provable(ctx context.Context, h *steps.Hands, c Call, d plan.Definition) error {
	e, err := a.epochs(ctx, c, d)
	if err != nil {
		return err
	}

	if e != nil {
		h.Epochs = e
	}

	for _, s := range d.Steps {
		if out := c.Outs[s.ID]; s.Do == plan.OpFence && len(out) > 0 {
			var f fenced
			if err := json.Unmarshal(out, &f); err != nil {
				return fail.New(fail.Corrupt, op, s.ID, "", err)
			}

			switch {
			case f.Kind != handover.SilentLease:
				continue
			case f.Proof == nil:
				return fail.Newf(fail.Denied, op, s.ID, "a guard's lease is said to be over, and there is no proof of that")
			}

			if key, err := a.silenceKey(ctx, d); err != nil {
				return err
			} else if err := holds(d, s.On, *f.Proof, c.Epoch, key); err != nil {
				return err
			}
		}
	}

	return nil
}

// giveBack takes the claim of a failover back.
func (a *Activities) giveBack(ctx context.Context, c Call, d plan.Definition) error {
	e, err := a.epochs(ctx, c, d)
	if err != nil {
		return err
	}

	return e.Back(ctx)
}
