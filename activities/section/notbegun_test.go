package section

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync/atomic"
	"testing"

	"drctl/internal/fail"
	"drctl/restore/machine"
	"drctl/restore/plan"
)

// stopped are the hands of a process that was stopped while it prepared.
type stopped struct {
	prepares, wakes chan struct{}
	did             atomic.Int64
}

func (s *stopped) Prepare(context.Context) (json.RawMessage, error) {
	close(s.prepares)
	<-s.wakes

	return nil, nil
}

func (s *stopped) Do(context.Context, plan.Node, Known) (json.RawMessage, error) {
	s.did.Add(1)
	return nil, nil
}

func (s *stopped) Undo(context.Context, plan.Node, Known) error {
	s.did.Add(1)
	return nil
}

// TestWhoWakesUpDoesNotBegin: what was reported as not begun is not begun afterwards by a process
// that was stopped meanwhile. Who begins it anew does.
func TestWhoWakesUpDoesNotBegin(t *testing.T) {
	j := &memory{}
	run := func(h Hands) (Result, error) {
		return Run(t.Context(), Options{Steps: steps(), Hands: h, Journal: j, By: "test", Log: slog.New(slog.DiscardHandler)})
	}

	first := &stopped{prepares: make(chan struct{}), wakes: make(chan struct{})}
	ended := make(chan error, 1)

	go func() {
		_, err := run(first)
		ended <- err
	}()

	<-first.prepares

	if err := NotBegun(t.Context(), j, "the next one"); err != nil {
		t.Fatal(err)
	}

	close(first.wakes)

	if err := <-ended; !fail.Is(err, fail.Conflict) || first.did.Load() > 0 {
		t.Errorf("it has done %d steps of what was reported as untouched: %v", first.did.Load(), err)
	}

	for range 2 { // and however often nothing came of it
		if err := NotBegun(t.Context(), j, "the next one"); err != nil {
			t.Fatal(err)
		}
	}

	again := &stopped{prepares: make(chan struct{}), wakes: first.wakes}
	if r, err := run(again); err != nil || r.Verdict != machine.Reached {
		t.Fatalf("begun anew: %+v, %v", r, err)
	}

	if err := NotBegun(t.Context(), j, "the next one"); !fail.Is(err, fail.Conflict) {
		t.Errorf("it has begun: %v", err)
	}
}
