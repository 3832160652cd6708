package onhost

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/targets"
	"drctl/targets/handover"
)

const (
	// WorkflowName and ActivityName are what those are registered under.
	WorkflowName = "OnHost"
	ActivityName = "HandOnHost"
)

const op = "ask another host"

// Method is what the host is asked to do.
type Method string

// The methods, as handover.Switch has them; Silence is Drain and Stop in one.
const (
	Prepare Method = "prepare"
	Drain   Method = "drain"
	Silence Method = "silence"
	Stop    Method = "stop"
	Undo    Method = "undo"
	// Wake starts the server of what was laid down there; who is asked has its own way for it.
	Wake Method = "wake"
)

// Ask is one call.
type Ask struct {
	platform.Place
	Queue string          `json:"queue"` // of the host
	Shard targets.ShardID `json:"shard"`
	Kind  targets.Kind    `json:"kind"`
	Do    Method          `json:"do"`
	// Begun says that the promotion may have begun: see handover.Switch.Undo.
	Begun bool `json:"begun,omitempty"`
	// Limit is how long the host may take.
	Limit time.Duration `json:"limit_ns"`
	// Call says which step of which run is meant.
	Call json.RawMessage `json:"call"`
}

// Asker carries a call to the host and returns what it said.
type Asker interface {
	Ask(ctx context.Context, a Ask) (json.RawMessage, error)
}

// Beside is a conflict when an instance's directory is on another host than this one.
func Beside(here string, in targets.Instance) error {
	if in.DataDir == "" {
		return nil
	}

	return platform.Placed(here, in.Host, in.String())
}

// Switch is a shard's hands whose old side is on another host. What is embedded does the
// rest from here.
type Switch struct {
	handover.Switch
	To Ask // without Do, Begun and Limit
	By Asker
}

// longest bounds a call whose context has no end.
const longest = time.Hour

func (s Switch) ask(ctx context.Context, do Method, begun bool, out any) error {
	a := s.To
	a.Do, a.Begun, a.Limit = do, begun, longest

	if end, ok := ctx.Deadline(); ok {
		a.Limit = time.Until(end)
	}

	if a.Limit <= 0 {
		return fail.New(fail.Stalled, op, a.Host, "", context.DeadlineExceeded)
	}

	said, err := s.By.Ask(ctx, a)
	if err != nil || out == nil {
		return err
	}

	if err := json.Unmarshal(said, out); err != nil {
		return fail.New(fail.Corrupt, op, a.Host, "", err)
	}

	return nil
}

// Prepare implements handover.Switch.
func (s Switch) Prepare(ctx context.Context) (out handover.Prepared, err error) {
	return out, s.ask(ctx, Prepare, false, &out)
}

// Drain implements handover.Switch.
func (s Switch) Drain(ctx context.Context) (out targets.Position, err error) {
	return out, s.ask(ctx, Drain, false, &out)
}

// Stop implements handover.Switch.
func (s Switch) Stop(ctx context.Context) (out handover.Stopped, err error) {
	return out, s.ask(ctx, Stop, false, &out)
}

// Silence is Drain and Stop by one call: clients wait meanwhile.
func (s Switch) Silence(ctx context.Context) (out handover.Stopped, err error) {
	return out, s.ask(ctx, Silence, false, &out)
}

// Undo implements handover.Switch.
func (s Switch) Undo(ctx context.Context, begun bool) error { return s.ask(ctx, Undo, begun, nil) }

// Wake has the server of what was laid down started.
func (s Switch) Wake(ctx context.Context) error { return s.ask(ctx, Wake, false, nil) }

// Silencer is a switch that drains and stops by one call.
type Silencer interface {
	Silence(ctx context.Context) (handover.Stopped, error)
}

// Hosted does on its host what it is asked. The zero value is ready.
type Hosted struct {
	mu   sync.Mutex
	busy map[targets.ShardID]chan struct{}
}

// Do does a call, after the one before it for the shard has ended.
func (h *Hosted) Do(ctx context.Context, sw handover.Switch, a Ask) (out any, err error) {
	done, err := h.Turn(ctx, a)
	if err != nil {
		return nil, err
	}
	defer done()

	switch a.Do {
	case Prepare:
		return sw.Prepare(ctx)
	case Drain:
		return sw.Drain(ctx)
	case Stop:
		return sw.Stop(ctx)
	case Silence:
		if _, err := sw.Drain(ctx); err != nil {
			return nil, err
		}

		return sw.Stop(ctx)
	case Undo:
		return nil, sw.Undo(ctx, a.Begun)
	}

	return nil, fail.Newf(fail.Unsupported, op, a.Shard.String(), "this build cannot %q", a.Do)
}

// Turn waits until nobody else is at the shard.
func (h *Hosted) Turn(ctx context.Context, a Ask) (done func(), err error) {
	for {
		h.mu.Lock()

		if h.busy == nil {
			h.busy = map[targets.ShardID]chan struct{}{}
		}

		at, taken := h.busy[a.Shard]
		if !taken {
			mine := make(chan struct{})
			h.busy[a.Shard] = mine
			h.mu.Unlock()

			return func() {
				h.mu.Lock()
				delete(h.busy, a.Shard)
				h.mu.Unlock()
				close(mine)
			}, nil
		}

		h.mu.Unlock()

		select {
		case <-at:
		case <-ctx.Done():
			return nil, fail.New(fail.Stalled, op, a.Shard.String(), "", ctx.Err())
		}
	}
}
