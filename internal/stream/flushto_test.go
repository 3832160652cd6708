package stream

import (
	"testing"
	"time"

	"drctl/targets"
)

// Who asks for the log up to a place gets it as soon as it has come, in one chunk, however old that is.
func TestFlushTo(t *testing.T) {
	set, _ := testSet(t, 2, 2)
	a := start(t, Options{Set: set, ChunkAge: time.Hour})
	must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes("L", 0, 100)))

	done := make(chan error, 3)

	for _, to := range []uint64{300, 250, 100} {
		go func() { done <- a.FlushTo(ctx, pos("L", to)) }()
	}

	must(t, <-done)

	if d := a.Durable(); d != 100 {
		t.Fatalf("what had come is durable up to %d", d)
	}

	must(t, a.Write(ctx, 100, streamBytes("L", 100, 200)))

	select {
	case err := <-done:
		t.Fatalf("it did not wait for what had not come: %v", err)
	case <-time.After(50 * time.Millisecond):
	}

	must(t, a.Write(ctx, 200, streamBytes("L", 200, 300)))
	must(t, <-done)
	must(t, <-done)

	if d := a.Durable(); d != 300 {
		t.Errorf("durable up to %d", d)
	}

	if n := len(a.Timelines()); n != 1 {
		t.Errorf("%d timelines", n)
	}

	for _, v := range set.Vaults {
		mustEqual(t, v, "L", 0, 300)
	}

	must(t, a.Close(ctx))
}
