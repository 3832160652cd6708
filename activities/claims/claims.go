package claims

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"drctl/internal/epoch"
	"drctl/internal/fail"
	"drctl/internal/silence"
	"drctl/restore/plan"
)

const op = "recovery plan"

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

// Part is the part of a run in the epochs of its group.
type Part struct {
	Log   *epoch.Log
	Lease time.Duration
	Plan  plan.Definition
	Run   string
	// Number is the run's, and Behind the newest epoch that was there when the run began.
	Number uint64
	Behind string
	Warn   func(ctx context.Context, text string, err error)
	// Waived says that a person let the claim count as done.
	Waived bool

	mu     sync.Mutex
	tenure *epoch.Tenure
}

func (e *Part) planned() bool { return e.Plan.Mode != plan.ModeFailover }

// id names the run's claim among all.
func (e *Part) id() string { return epoch.Record{Epoch: e.Number, Claim: e.Run}.ID() }

// Take gets the epoch that the run's beginning has named: whoever else has claimed since
// then is in the way. It may be repeated, and is the same claim.
func (e *Part) Take(ctx context.Context) (*epoch.Tenure, error) {
	ctx, stop := context.WithTimeout(ctx, claimLimit)
	defer stop()

	t, err := e.Log.Claim(ctx, epoch.Bid{Holder: e.Plan.To, Run: e.Run, Claim: e.Run, Number: e.Number, Behind: e.Behind,
		Lease: e.Lease, Planned: e.planned(), First: !e.planned()})
	if fail.Is(err, fail.Conflict) {
		return nil, fail.New(fail.Conflict, op, e.Plan.Group, "another recovery of the group runs, or has run: see drctl recovery show and drctl status, then begin anew", err)
	}

	return t, err
}

// Claim implements steps.Epochs: that of a section, where the old side is ended in order.
func (e *Part) Claim(ctx context.Context) (json.RawMessage, error) {
	t, err := e.Take(ctx)
	if err == nil {
		err = t.Renew(ctx)
	}

	if err != nil {
		return nil, err
	}

	e.mu.Lock()
	e.tenure = t
	e.mu.Unlock()

	return json.Marshal(Claimed{Epoch: e.Number})
}

// Held implements steps.Epochs: for how long the region that takes over has the epoch, and
// an error when it has not.
func (e *Part) Held(ctx context.Context) (time.Duration, error) {
	e.mu.Lock()
	defer e.mu.Unlock()

	if e.Waived {
		return e.Lease, e.unclaimed(ctx)
	}

	if e.tenure == nil { // another process has claimed
		t, err := e.Log.Join(ctx, e.Plan.To, "")
		if err != nil {
			return 0, err
		}

		if id := t.Epoch().ID(); id != e.id() {
			return 0, fail.New(fail.Conflict, op, e.Plan.Group, "see drctl recovery show", fmt.Errorf("epoch %s is another run's (%s)", id, t.Epoch().Run))
		}
		e.tenure = t
	}

	// What has just been renewed is not asked for again while clients wait. Of two processes
	// that run one section the journal stops one before that.
	if e.tenure.Own() < e.Lease*9/10 {
		if err := e.tenure.Renew(ctx); err != nil {
			return 0, err
		}
	}

	left := e.tenure.Left()
	if e.planned() {
		left = e.tenure.Own()
	}

	if left <= 0 {
		return 0, fail.New(fail.Denied, op, e.Plan.Group, "", errors.New("the lease of the region that is left may still run"))
	}

	return left, nil
}

// unclaimed is an error when somebody else has an epoch that this run has not seen. Who
// cannot be asked forbids nothing: a person has let the claim go.
func (e *Part) unclaimed(ctx context.Context) error {
	st, err := e.Log.Read(ctx)
	if err != nil {
		e.Warn(ctx, "the epochs cannot be read, and a person has let the claim go", err)
		return nil
	}

	if id, n := st.Newest(); e.Behind != "" && id != e.Behind && n >= e.Number {
		return fail.New(fail.Conflict, op, e.Plan.Group, "see drctl recovery show", fmt.Errorf("epoch %s was claimed since the run began", id))
	}

	return nil
}

// Back implements steps.Epochs: the region that was to be left gets the group back, in the
// next epoch. It may be repeated. fail.Conflict when somebody else has claimed: then the
// old side must not write again. It is no error when no majority can be asked: a server
// that comes back without an epoch is stopped by its guard, if it has one.
func (e *Part) Back(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, claimLimit)
	defer stop()

	e.mu.Lock()
	e.tenure = nil
	e.mu.Unlock()

	back := e.Run + "/back"

	st, err := e.Log.Read(ctx)
	if err != nil {
		e.Warn(ctx, "the epoch cannot be given back", err)
		return nil
	}

	mine := false
	for _, v := range st.Voters {
		mine = mine || v.Last.ID() == e.id() || v.Last.Claim == back
	}

	switch id, n := st.Newest(); {
	case st.Present.Claim == back:
		return nil
	case !mine && n >= e.Number:
		return fail.New(fail.Conflict, op, e.Plan.Group, "see drctl recovery show", fmt.Errorf("epoch %s was claimed since the run began: the old side stays as it is", id))
	case !mine:
		return nil // nothing was claimed
	}

	_, err = e.Log.Claim(ctx, epoch.Bid{Holder: e.Plan.From, Run: e.Run, Claim: back, Number: e.Number + 1, Behind: e.id(), Lease: e.Lease, Planned: true})
	if err != nil && !fail.Is(err, fail.Conflict) {
		e.Warn(ctx, "the epoch cannot be given back", err)
		return nil
	}

	return err
}
