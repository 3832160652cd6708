package postgres_test

import (
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/observation"
	"drctl/internal/sandbox/sandboxtest"
)

// The server itself has to answer, and one that has become a standby says so.
func TestSessionIsOfTheServerItself(t *testing.T) {
	t.Parallel()
	d, in, _ := quiesced(t)
	o := observation.NewObserver()

	s, err := d.Session(ctxFor(t, 2*time.Minute), in)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	if seen, err := s.Observe(ctxFor(t, 2*time.Minute), o); err != nil || seen.Inserted == 0 || seen.Timeline == "" || s.Server() == "" {
		t.Errorf("%+v %v", seen, err)
	}

	pooled := in
	pooled.Address = newLink(t, in.Address, true).address()
	_, err = d.Session(ctxFor(t, 2*time.Minute), pooled)
	wantCode(t, err, fail.Invalid, "pooler")

	standby, err := d.Session(ctxFor(t, 2*time.Minute), sandboxtest.Standby(t, in, sandboxtest.PostgresOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	defer standby.Close()

	_, err = standby.Observe(ctxFor(t, 2*time.Minute), o)
	wantCode(t, err, fail.Conflict, "recovery")
}
