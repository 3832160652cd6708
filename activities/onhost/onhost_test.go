package onhost

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/handover"
)

// scripted is a switch that says what was called, and takes its time.
type scripted struct {
	handover.Switch
	calls chan string
	hold  chan struct{} // Stop waits for it
	begun bool
}

func (s *scripted) Prepare(context.Context) (handover.Prepared, error) {
	s.calls <- "prepare"
	return handover.Prepared{Lag: 7}, nil
}

func (s *scripted) Drain(context.Context) (targets.Position, error) {
	s.calls <- "drain"
	return targets.Position{Offset: 5}, nil
}

func (s *scripted) Stop(ctx context.Context) (handover.Stopped, error) {
	s.calls <- "stop"

	if s.hold != nil {
		<-s.hold
	}

	return handover.Stopped{Last: 9, Silence: handover.Silence{Instance: "orders/0@east"}}, nil
}

func (s *scripted) Undo(_ context.Context, begun bool) error {
	s.calls <- "undo"
	s.begun = begun

	return fail.Newf(fail.Conflict, "switch: undo", "orders/0", "it has been promoted")
}

// direct carries a call to a Hosted as the engine would, in JSON.
type direct struct {
	h    *Hosted
	sw   handover.Switch
	asks []Ask
}

func (d *direct) Ask(ctx context.Context, a Ask) (json.RawMessage, error) {
	d.asks = append(d.asks, a)

	out, err := d.h.Do(ctx, d.sw, a)
	if err != nil {
		return nil, err
	}

	return json.Marshal(out)
}

func TestWhatTheHostSaysComesBackWhole(t *testing.T) {
	t.Parallel()

	there := &scripted{calls: make(chan string, 10)}
	by := &direct{h: &Hosted{}, sw: there}
	s := Switch{By: by, To: Ask{Shard: targets.ShardID{Target: "orders", Shard: "0"}}}

	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()

	if p, err := s.Prepare(ctx); err != nil || p.Lag != 7 {
		t.Errorf("%+v, %v", p, err)
	}

	if at, err := s.Drain(ctx); err != nil || at.Offset != 5 {
		t.Errorf("%+v, %v", at, err)
	}

	if out, err := s.Silence(ctx); err != nil || out.Last != 9 || out.Silence.Instance != "orders/0@east" {
		t.Errorf("%+v, %v", out, err)
	}

	if err := s.Undo(ctx, true); !fail.Is(err, fail.Conflict) || !there.begun {
		t.Errorf("%v, begun %v", err, there.begun)
	}

	var calls []string
	for len(there.calls) > 0 {
		calls = append(calls, <-there.calls)
	}

	if want := []string{"prepare", "drain", "drain", "stop", "undo"}; len(calls) != len(want) {
		t.Errorf("%v, want %v", calls, want)
	}

	for _, a := range by.asks {
		if a.Limit <= 0 || a.Limit > time.Minute {
			t.Errorf("%s may take %s", a.Do, a.Limit)
		}
	}
}

// A stop that nobody waits for any more has ended before what comes next begins.
func TestCallsForAShardDoNotOverlap(t *testing.T) {
	t.Parallel()

	var h Hosted
	there := &scripted{calls: make(chan string, 10), hold: make(chan struct{})}
	a := Ask{Shard: targets.ShardID{Target: "orders", Shard: "0"}}

	stopped := make(chan struct{})
	go func() {
		defer close(stopped)

		a := a
		a.Do = Stop
		_, _ = h.Do(context.Background(), there, a)
	}()

	<-there.calls

	undone := make(chan error, 1)
	go func() {
		a := a
		a.Do = Undo

		_, err := h.Do(context.Background(), there, a)
		undone <- err
	}()

	// Another shard's is not held up.
	b := Ask{Shard: targets.ShardID{Target: "orders", Shard: "1"}, Do: Prepare}
	if _, err := h.Do(t.Context(), there, b); err != nil {
		t.Error(err)
	}

	<-there.calls

	select {
	case c := <-there.calls:
		t.Errorf("%s while the stop is at work", c)
	case <-time.After(100 * time.Millisecond):
	}

	// One whose time is over does not begin.
	gone, cancel := context.WithCancel(t.Context())
	cancel()

	a.Do = Undo
	if _, err := h.Do(gone, there, a); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}

	close(there.hold)
	<-stopped

	if err := <-undone; !fail.Is(err, fail.Conflict) {
		t.Errorf("%v", err)
	}
}
