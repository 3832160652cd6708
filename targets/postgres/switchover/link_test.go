package switchover_test

import (
	"context"
	"testing"
	"time"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets/handover"
)

// TestLink: a standby says whether it still gets bytes of its primary.
func TestLink(t *testing.T) {
	t.Parallel()
	p := newPair(t, sandboxtest.Tools(t))
	h := p.hands(p.a, p.b, 1)

	until(t, h, func(k handover.Link) bool { return k.Up && k.Silent < 5*time.Second }, func() { p.exec(p.a, "INSERT INTO t (note) VALUES ('more')") })
	p.kill(p.a)
	until(t, h, func(k handover.Link) bool { return !k.Up }, func() {})

	if _, err := p.hands(p.b, p.a, 1).(handover.Linked).Link(p.context()); err == nil {
		t.Error("a server that is gone has said something")
	}
}

func until(t *testing.T, h handover.Switch, is func(handover.Link) bool, meanwhile func()) {
	t.Helper()

	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()

	for {
		meanwhile()

		k, err := h.(handover.Linked).Link(ctx)
		if err == nil && is(k) {
			return
		}

		if ctx.Err() != nil {
			t.Fatalf("%+v, %v", k, err)
		}

		time.Sleep(20 * time.Millisecond)
	}
}
