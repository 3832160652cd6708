package actions

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"drctl/activities/steps"
	"drctl/internal/epoch"
	"drctl/internal/fail"
	"drctl/internal/logs"
	"drctl/internal/silence"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/targets/handover"
)

// claimLimit bounds how long a majority is tried for.
const claimLimit = 20 * time.Second

// Claimed is the group's epoch that a run has got.
type Claimed struct {
	Epoch uint64 `json:"epoch"`
	// Lease is the longest that the region which is left could hold, and Waited how long
	// that was waited for; both are zero in a planned epoch.
	Lease  time.Duration `json:"lease_ns,omitempty"`
	Waited time.Duration `json:"waited_ns,omitempty"`
	// Proofs are of the servers for which guards have answered.
	Proofs []silence.Proof `json:"proofs,omitempty"`
}

// epochs are the part of a run in the epochs of its group.
type epochs struct {
	log   *epoch.Log
	lease time.Duration
	call  Call
	plan  plan.Definition
	warn  func(ctx context.Context, text string, err error)
	// waived says that a person let the claim count as done.
	waived bool

	mu     sync.Mutex
	tenure *epoch.Tenure
}

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
func (a *Activities) epochs(ctx context.Context, c Call, d plan.Definition) (*epochs, error) {
	step := claimStep(d)
	if step == "" {
		return nil, nil
	}

	l, err := a.Platform.Epochs(ctx, d.Group)
	if err != nil {
		return nil, err
	}

	return &epochs{log: l, lease: a.Platform.Lease(), call: c, plan: d, waived: c.Waived[step] != "",
		warn: func(ctx context.Context, text string, err error) {
			a.Log.WarnContext(ctx, text, "run", c.Run, logs.Err, err)
		}}, nil
}

func (e *epochs) planned() bool { return e.plan.Mode != plan.ModeFailover }

// id names the run's claim among all.
func (e *epochs) id() string { return epoch.Record{Epoch: e.call.Epoch, Claim: e.call.Run}.ID() }

// Claim gets the epoch that the run's beginning has named: whoever else has claimed since
// then is in the way. It may be repeated, and is the same claim.
func (e *epochs) claim(ctx context.Context) (*epoch.Tenure, error) {
	ctx, stop := context.WithTimeout(ctx, claimLimit)
	defer stop()

	t, err := e.log.Claim(ctx, epoch.Bid{Holder: e.plan.To, Run: e.call.Run, Claim: e.call.Run, Number: e.call.Epoch, Behind: e.call.Behind,
		Lease: e.lease, Planned: e.planned(), First: !e.planned()})
	if fail.Is(err, fail.Conflict) {
		return nil, fail.New(fail.Conflict, op, e.plan.Group, "another recovery of the group runs, or has run: see drctl recovery show and drctl status, then begin anew", err)
	}

	return t, err
}

// Claim implements steps.Epochs: that of a section, where the old side is ended in order.
func (e *epochs) Claim(ctx context.Context) (json.RawMessage, error) {
	t, err := e.claim(ctx)
	if err == nil {
		err = t.Renew(ctx)
	}

	if err != nil {
		return nil, err
	}

	e.mu.Lock()
	e.tenure = t
	e.mu.Unlock()

	return json.Marshal(Claimed{Epoch: e.call.Epoch})
}

// Held implements steps.Epochs: for how long the region that takes over has the epoch, and
// an error when it has not.
func (e *epochs) Held(ctx context.Context) (time.Duration, error) {
	e.mu.Lock()
	defer e.mu.Unlock()

	if e.waived {
		return e.lease, e.unclaimed(ctx)
	}

	if e.tenure == nil { // another process has claimed
		t, err := e.log.Join(ctx, e.plan.To, "")
		if err != nil {
			return 0, err
		}

		if id := t.Epoch().ID(); id != e.id() {
			return 0, fail.New(fail.Conflict, op, e.plan.Group, "see drctl recovery show", fmt.Errorf("epoch %s is another run's (%s)", id, t.Epoch().Run))
		}
		e.tenure = t
	}

	// What has just been renewed is not asked for again while clients wait. Of two processes
	// that run one section the journal stops one before that.
	if e.tenure.Own() < e.lease*9/10 {
		if err := e.tenure.Renew(ctx); err != nil {
			return 0, err
		}
	}

	left := e.tenure.Left()
	if e.planned() {
		left = e.tenure.Own()
	}

	if left <= 0 {
		return 0, fail.New(fail.Denied, op, e.plan.Group, "", errors.New("the lease of the region that is left may still run"))
	}

	return left, nil
}

// unclaimed is an error when somebody else has an epoch that this run has not seen. Who
// cannot be asked forbids nothing: a person has let the claim go.
func (e *epochs) unclaimed(ctx context.Context) error {
	st, err := e.log.Read(ctx)
	if err != nil {
		e.warn(ctx, "the epochs cannot be read, and a person has let the claim go", err)
		return nil
	}

	if id, n := st.Newest(); e.call.Behind != "" && id != e.call.Behind && n >= e.call.Epoch {
		return fail.New(fail.Conflict, op, e.plan.Group, "see drctl recovery show", fmt.Errorf("epoch %s was claimed since the run began", id))
	}

	return nil
}

// Back implements steps.Epochs: the region that was to be left gets the group back, in the
// next epoch. It may be repeated. fail.Conflict when somebody else has claimed: then the
// old side must not write again. It is no error when no majority can be asked: a server
// that comes back without an epoch is stopped by its guard, if it has one.
func (e *epochs) Back(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, claimLimit)
	defer stop()

	e.mu.Lock()
	e.tenure = nil
	e.mu.Unlock()

	back := e.call.Run + "/back"

	st, err := e.log.Read(ctx)
	if err != nil {
		e.warn(ctx, "the epoch cannot be given back", err)
		return nil
	}

	mine := false
	for _, v := range st.Voters {
		mine = mine || v.Last.ID() == e.id() || v.Last.Claim == back
	}

	switch id, n := st.Newest(); {
	case st.Present.Claim == back:
		return nil
	case !mine && n >= e.call.Epoch:
		return fail.New(fail.Conflict, op, e.plan.Group, "see drctl recovery show", fmt.Errorf("epoch %s was claimed since the run began: the old side stays as it is", id))
	case !mine:
		return nil // nothing was claimed
	}

	_, err = e.log.Claim(ctx, epoch.Bid{Holder: e.plan.From, Run: e.call.Run, Claim: back, Number: e.call.Epoch + 1, Behind: e.id(), Lease: e.lease, Planned: true})
	if err != nil && !fail.Is(err, fail.Conflict) {
		e.warn(ctx, "the epoch cannot be given back", err)
		return nil
	}

	return err
}

// claim is the step of a failover: the claim, and the wait for the leases of the region
// that is lost. What its guards have answered for is silent then.
func (a *Activities) claim(ctx context.Context, c Call, d plan.Definition, s plan.StepDef) (Done, error) {
	e, err := a.epochs(ctx, c, d)
	if err != nil {
		return Done{}, err
	}

	t, err := e.claim(ctx)
	if err != nil {
		return Done{}, err
	}
	bound, lease := t.Bound(d.From), max(t.Longest(d.From), e.lease)

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

	out := Claimed{Epoch: c.Epoch, Lease: lease, Waited: t.Waited()}
	if out.Proofs, err = a.let(ctx, c, d, bound, out); err != nil {
		return Done{}, err
	}

	b, err := json.Marshal(out)

	return Done{Out: b, Said: fmt.Sprintf("epoch %d is %s's, after %s; guards have answered for %d servers", c.Epoch, d.To, out.Waited.Round(time.Millisecond), len(out.Proofs))}, err
}

// let are the proofs for what guards have answered for: their lease is over.
func (a *Activities) let(ctx context.Context, c Call, d plan.Definition, guards []epoch.Guard, w Claimed) (out []silence.Proof, err error) {
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

	var w Claimed
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
func proven(d plan.Definition, s plan.StepDef, w Claimed, number uint64, key silence.Key) (silence.Proof, error) {
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

			if f.Kind != handover.SilentLease {
				continue
			}

			if f.Proof == nil {
				return fail.Newf(fail.Denied, op, s.ID, "a guard's lease is said to be over, and there is no proof of that")
			}

			key, err := a.silenceKey(ctx, d)
			if err == nil {
				err = holds(d, s.On, *f.Proof, c.Epoch, key)
			}

			if err != nil {
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
