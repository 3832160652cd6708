package switchover_test

import (
	"context"
	"testing"
	"time"

	"drctl/targets/handover"
)

// TestLink: a replica says whether it still gets bytes of its master.
func TestLink(t *testing.T) {
	p := newPair(t)
	h := p.hands(p.a, p.b, 1).(handover.Linked)

	if k, err := h.Link(p.context()); err != nil || !k.Up {
		t.Fatalf("%+v, %v", k, err)
	}

	// The master goes without a word to anybody.
	_ = p.client(p.a).ShutdownNoSave(p.context()).Err()

	for ctx := p.context(); ; time.Sleep(20 * time.Millisecond) {
		k, err := h.Link(ctx)
		if err == nil && !k.Up {
			break
		}

		if ctx.Err() != nil {
			t.Fatalf("%+v, %v", k, err)
		}
	}

	if _, err := p.hands(p.b, p.a, 1).(handover.Linked).Link(context.Background()); err == nil {
		t.Error("a server that is gone has said something")
	}
}
