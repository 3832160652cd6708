package activities

import (
	"testing"
	"time"
)

// Time is up only after the log has begun, and not while an image is stored.
func TestAnImageIsNotCutOff(t *testing.T) {
	p := &paced{begun: make(chan struct{})}

	up := make(chan bool, 1)
	go func() { up <- p.wait(t.Context(), time.Millisecond) }()
	quiet := func(why string) {
		t.Helper()

		select {
		case <-up:
			t.Fatal("its time was up " + why)
		case <-time.After(100 * time.Millisecond):
		}
	}
	quiet("before the log began")
	p.image.Add(1)
	close(p.begun)
	quiet("while an image was stored")
	p.image.Add(-1)

	if !<-up {
		t.Error("its time was never up")
	}
}
