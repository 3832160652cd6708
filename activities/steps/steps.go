package steps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"drctl/activities/halfdone"
	"drctl/activities/onhost"
	"drctl/activities/section"
	"drctl/internal/fail"
	"drctl/internal/traffic"
	"drctl/restore/ahead"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/targets/handover"
)

const op = "recovery step"

// Shard is one shard in hand.
type Shard struct {
	Switch handover.Switch
	// Old is the side that is left.
	Old targets.Instance
	// Others are its further instances, and Standing the proofs for them: they are
	// standbys, or somebody vouched for them.
	Others   []targets.Instance
	Standing []handover.Silence
}

// Hands are those of one section: see section.Hands.
type Hands struct {
	To     string // region that takes over
	Epoch  uint64 // of the promotion
	Shards map[targets.ShardID]Shard
	Routes traffic.Set
	Defs   map[string]plan.StepDef // of the whole plan, by id
	// Was is how the routes were before anything was touched, where that was read
	// before the section.
	Was traffic.States
	// Given are outcomes of steps before the section, by id, and Vouched the words by
	// which people stand for such a step.
	Given   map[string]json.RawMessage
	Vouched map[string]string
	// Epochs are the run's part in the epochs of its group; nil where there are not enough
	// voters, and nothing keeps another run from doing the same.
	Epochs Epochs
	// Line is a place of the old side's log that is known, where the old side itself
	// cannot say its end. It may be nil.
	Line func(ctx context.Context, id targets.ShardID) (ahead.Line, error)
	// Newer is not nil while a newer recovery may have promoted another server; asked
	// before an old side is started again. It may be nil.
	Newer func(ctx context.Context) error
	// Laid are the shards whose new side was laid down from a vault, up to a place, and Wake starts
	// the server of one.
	Laid map[targets.ShardID]targets.Position
	Wake func(ctx context.Context, id targets.ShardID) error
	// InDoubt lists what is prepared on the new side of a shard and not ended.
	InDoubt func(ctx context.Context, id targets.ShardID) ([]string, error)
	// Resolve ends it by the rule, from where the new sides have left the old timelines.
	Resolve func(ctx context.Context, id targets.ShardID, forks map[targets.ShardID]targets.Position) (halfdone.Left, error)
}

// Epochs say which region of a group may write.
type Epochs interface {
	// Claim gets the next one for the region that takes over.
	Claim(ctx context.Context) (json.RawMessage, error)
	// Held is for how long that region has it from now; an error when it has not.
	Held(ctx context.Context) (time.Duration, error)
	// Back gives the group back to the region that was to be left. Conflict: somebody else
	// has claimed, and that region must not write again.
	Back(ctx context.Context) error
}

var _ section.Hands = (*Hands)(nil)

// Seen is what Prepare saw: how far each shard was, and where each route pointed.
type Seen struct {
	Shards map[string]handover.Prepared `json:"shards"`
	Routes traffic.States               `json:"routes"`
	Lines  map[string]ahead.Line        `json:"lines,omitempty"`
}

// Prepare connects to everything, makes checkpoints, and reads the routes. It
// changes nothing that a client feels, and fails when one shard or route is not ready.
// Where the old side cannot be asked any more it reads how far its log is known instead.
func (h *Hands) Prepare(ctx context.Context) (json.RawMessage, error) {
	ids := slices.SortedFunc(maps.Keys(h.Shards), targets.ShardID.Compare)
	prepared, lines := make([]handover.Prepared, len(ids)), make([]ahead.Line, len(ids))
	seen := Seen{Shards: map[string]handover.Prepared{}, Routes: h.Was}

	group, ctx2 := errgroup.WithContext(ctx)
	for i, id := range ids {
		group.Go(func() (err error) {
			if h.Line != nil {
				lines[i], err = h.Line(ctx2, id)
			} else {
				prepared[i], err = h.Shards[id].Switch.Prepare(ctx2)
			}

			return err
		})
	}

	if seen.Routes == nil {
		group.Go(func() (err error) {
			seen.Routes, err = h.Routes.Read(ctx2)
			return err
		})
	}

	if err := group.Wait(); err != nil {
		return nil, err
	}

	for i, id := range ids {
		if h.Line == nil {
			seen.Shards[id.String()] = prepared[i]
			continue
		}

		if seen.Lines == nil {
			seen.Lines = map[string]ahead.Line{}
		}
		seen.Lines[id.String()] = lines[i]
	}

	return json.Marshal(seen)
}

// Do implements section.Hands.
func (h *Hands) Do(ctx context.Context, n plan.Node, k section.Known) (json.RawMessage, error) {
	switch n.Op {
	case plan.OpReroute:
		return nil, h.reroute(ctx, n, k)
	case plan.OpClaim:
		if h.Epochs == nil {
			return nil, fail.Newf(fail.Unsupported, op, n.ID, "there are no voters for epochs here")
		}

		return h.Epochs.Claim(ctx)
	case plan.OpFence, plan.OpDrain, plan.OpPromote, plan.OpFollow, plan.OpResolve:
	default:
		return nil, fail.Newf(fail.Unsupported, op, n.ID, "a section has no hands for %q", n.Op)
	}

	if h.Shards[n.Shard].Switch == nil {
		return nil, fail.Newf(fail.Unsupported, op, n.ID, "nobody moves shard %s: it has no log, or no instance in %s", n.Shard, h.To)
	}

	switch n.Op {
	case plan.OpFence:
		return h.fence(ctx, n)
	case plan.OpPromote:
		return h.promote(ctx, n, k)
	case plan.OpResolve:
		return h.resolve(ctx, n, k)
	}

	// The drain is proven by Stop, which shows that the new side holds the last record;
	// the archive's slot is made by Promote, before the first write.
	return nil, nil
}

// fence stops the old side, in order, and returns the end of its log with the proof.
func (h *Hands) fence(ctx context.Context, n plan.Node) (json.RawMessage, error) {
	with := h.Defs[n.ID].With.Fence
	if with == nil || !slices.Contains(with.By, plan.ByStop) {
		return nil, fail.Newf(fail.Unsupported, op, n.ID, "inside a section an old side is silent because it was stopped, and in no other way")
	}

	sw := h.Shards[n.Shard].Switch

	stopped, err := silence(ctx, sw)
	if err != nil {
		return nil, err
	}

	return json.Marshal(stopped)
}

// silence drains and stops, by one call where the old side is on another host.
func silence(ctx context.Context, sw handover.Switch) (handover.Stopped, error) {
	if far, ok := sw.(onhost.Silencer); ok {
		return far.Silence(ctx)
	}

	if _, err := sw.Drain(ctx); err != nil {
		return handover.Stopped{}, err
	}

	return sw.Stop(ctx)
}

func (h *Hands) promote(ctx context.Context, n plan.Node, k section.Known) (json.RawMessage, error) {
	s := h.Shards[n.Shard]

	req, err := h.proven(n, k)
	if err != nil {
		return nil, fail.New(fail.Denied, op, n.ID, "see what its fence returned: drctl recovery show", fmt.Errorf("nothing proves that the old side of %s is silent: %w", n.Shard, err))
	}
	req.Silence = append(req.Silence, s.Standing...)

	if h.Epochs != nil {
		held, err := h.Epochs.Held(ctx)
		if err != nil {
			return nil, err
		}

		var stop context.CancelFunc

		ctx, stop = context.WithTimeout(ctx, held)
		defer stop()
	}

	if at, ok := h.Laid[n.Shard]; ok {
		if err := h.wake(ctx, n, s, req.Silence); err != nil {
			return nil, err
		}
		req.LaidDown = at
	}

	out, err := s.Switch.Promote(ctx, req)
	if err != nil {
		return nil, err
	}

	if err := s.Switch.Probe(ctx); err != nil {
		return nil, err
	}

	return json.Marshal(out)
}

// wake starts what was laid down, which takes writes from then on.
func (h *Hands) wake(ctx context.Context, n plan.Node, s Shard, proofs []handover.Silence) error {
	if err := handover.CheckSilence(h.Epoch, append([]targets.Instance{s.Old}, s.Others...), proofs); err != nil {
		return fail.New(fail.Denied, op, n.ID, "fence it first, or have a person sign that it is silent", err)
	}

	return h.Wake(ctx, n.Shard)
}

// resolve ends what is in doubt by rule, or lists it.
func (h *Hands) resolve(ctx context.Context, n plan.Node, k section.Known) (json.RawMessage, error) {
	with := h.Defs[n.ID].With.Resolve
	if with == nil || h.InDoubt == nil || h.Resolve == nil {
		return nil, fail.Newf(fail.Unsupported, op, n.ID, "it names no rule")
	}

	if with.Rule == plan.ResolveByGroup {
		left, err := h.Resolve(ctx, n.Shard, h.forks(k))
		if err != nil {
			return nil, err
		}

		return json.Marshal(left)
	}

	ids, err := h.InDoubt(ctx, n.Shard)
	if err != nil {
		return nil, err
	}

	return json.Marshal(halfdone.Left{InDoubt: ids})
}

// forks are where the new sides have left the old timelines.
func (h *Hands) forks(k section.Known) map[targets.ShardID]targets.Position {
	out := map[targets.ShardID]targets.Position{}

	for id, d := range h.Defs {
		var p handover.Promoted
		if d.Do == plan.OpPromote && json.Unmarshal(k.Outs[id], &p) == nil && p.Fork.Timeline != "" {
			out[d.On] = p.Fork
		}
	}

	return out
}

// proven is what shows that the old side of a shard is silent, and where its log ends
// or was seen last: what its fence returned, or a person's word for the fence.
func (h *Hands) proven(n plan.Node, k section.Known) (handover.PromoteRequest, error) {
	var req handover.PromoteRequest

	fence, ok := h.fenceOf(n.Shard)
	if !ok {
		return req, errors.New("the plan has no fence of it")
	}

	if out, here := k.Outs[fence.ID]; here {
		var stopped handover.Stopped
		if err := json.Unmarshal(out, &stopped); err != nil {
			return req, err
		}

		return handover.PromoteRequest{Silence: []handover.Silence{stopped.Silence}, Line: stopped.At, History: stopped.History, Exact: true}, nil
	}

	var seen Seen
	if err := json.Unmarshal(k.Prepared, &seen); err != nil {
		return req, err
	}

	line, ok := seen.Lines[n.Shard.String()]
	if !ok {
		return req, errors.New("how far its log went is not known")
	}
	req.Line, req.History = line.At, line.History

	if words := h.Vouched[fence.ID]; words != "" {
		req.Silence = []handover.Silence{{Instance: h.Shards[n.Shard].Old.String(), Kind: handover.SilentStatement, Epoch: h.Epoch, By: words}}
		return req, nil
	}

	var silence handover.Silence
	if err := json.Unmarshal(h.Given[fence.ID], &silence); err != nil {
		return req, fmt.Errorf("its fence %s returned no proof: %w", fence.ID, err)
	}
	req.Silence = []handover.Silence{silence}

	return req, nil
}

// fenceOf is the step that makes the old side of a shard silent.
func (h *Hands) fenceOf(id targets.ShardID) (plan.StepDef, bool) {
	for _, d := range h.Defs {
		if d.Do == plan.OpFence && d.On == id {
			return d, true
		}
	}

	return plan.StepDef{}, false
}

// reroute moves one route.
func (h *Hands) reroute(ctx context.Context, n plan.Node, k section.Known) error {
	b, was, err := h.route(n, k)
	if err != nil {
		return err
	}

	switch h.Defs[n.ID].With.Reroute.Move {
	case plan.RouteHold:
		return b.Driver.Hold(ctx)
	case plan.RouteIsolate:
		return b.Driver.Isolate(ctx)
	case plan.RouteSwitch:
		return b.Driver.Point(ctx, h.To)
	case plan.RouteRelease:
		return b.Driver.Release(ctx, h.To, was)
	}

	return fail.Newf(fail.Unsupported, op, n.ID, "a route has no move %q", h.Defs[n.ID].With.Reroute.Move)
}

// route is the route of a step, and what was read of it before all else.
func (h *Hands) route(n plan.Node, k section.Known) (traffic.Bound, traffic.State, error) {
	var seen Seen
	if err := json.Unmarshal(k.Prepared, &seen); err != nil {
		return traffic.Bound{}, traffic.State{}, fail.New(fail.Corrupt, op, n.ID, "", err)
	}

	with := h.Defs[n.ID].With.Reroute
	if with == nil {
		return traffic.Bound{}, traffic.State{}, fail.Newf(fail.Invalid, op, n.ID, "it names no route")
	}

	for _, b := range h.Routes {
		if was, ok := seen.Routes[with.Route]; ok && b.Route.Name == with.Route {
			return b, was, nil
		}
	}

	return traffic.Bound{}, traffic.State{}, fail.Newf(fail.NotFound, op, n.ID, "there is no route %q, or it was not read before", with.Route)
}

// Undo implements section.Hands.
func (h *Hands) Undo(ctx context.Context, n plan.Node, k section.Known) error {
	switch n.Op {
	case plan.OpReroute:
		b, was, err := h.route(n, k)
		if err != nil {
			return err
		}

		return b.Driver.Undo(ctx, was)
	case plan.OpClaim:
		return h.back(ctx)
	case plan.OpFence:
		// Before its server starts again: a guard would stop it.
		if err := h.back(ctx); err != nil {
			return err
		}

		sw := h.Shards[n.Shard].Switch
		if sw == nil {
			return nil // Do refused it, and touched nothing
		}

		if h.Newer != nil {
			if err := h.Newer(ctx); err != nil {
				return err
			}
		}

		return sw.Undo(ctx, k.Past)
	}

	return fail.New(fail.Unsupported, op, n.ID, "", errors.New("nothing takes this step back"))
}

func (h *Hands) back(ctx context.Context) error {
	if h.Epochs == nil {
		return nil
	}

	return h.Epochs.Back(ctx)
}

// Close ends the connections of all shards. Routes are closed by who opened them.
func (h *Hands) Close() {
	for _, s := range h.Shards {
		s.Switch.Close()
	}
}
