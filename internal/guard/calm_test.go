package guard_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"drctl/internal/epoch"
	"drctl/internal/guard"
	"drctl/internal/vault"
)

// moved is a server of a region that is left in order. From then on it says once, or never, that it
// is a standby, and is silent after that: it loads what its new primary sends.
type moved struct {
	stoppable
	name   string
	left   atomic.Bool
	says   atomic.Int32 // how often it still says so
	stops  atomic.Int32
	silent atomic.Int32
}

func (m *moved) Instance() string { return m.name }

func (m *moved) Writable(context.Context) (bool, error) {
	if !m.left.Load() {
		return true, nil
	}

	if m.says.Add(-1) >= 0 {
		return false, nil
	}

	m.silent.Add(1)

	return false, errors.New("it loads")
}

func (m *moved) Stop(ctx context.Context) error {
	m.stops.Add(1)
	return m.stoppable.Stop(ctx)
}

// A standby that was a primary before a switchover stays, though it does not answer when the lease
// of its region ends. One that never said what it is does not.
func TestAStandbyThatLoadsStays(t *testing.T) {
	t.Parallel()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	o := order{Dir: t.TempDir(), Key: key.Secret().Reveal()}

	open := func(by string) *epoch.Log {
		l, err := o.log(by, nil)
		if err != nil {
			t.Fatal(err)
		}

		t.Cleanup(l.Close)

		return l
	}

	loads, mute := &moved{name: "carts/0@east"}, &moved{name: "carts/1@east"}
	for _, m := range []*moved{loads, mute} {
		m.stoppable = stoppable{unseen: unseen{dir: t.TempDir()}, stopped: make(chan struct{})}
		m.runs.Store(true)
	}

	g := &guard.Guard{Log: open("guard"), Region: "east", Name: "host1", Servers: []guard.Server{loads, mute}, Lease: 5 * time.Second, Out: slog.New(slog.DiscardHandler)}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)

	go func() { ended <- g.Run(ctx) }()

	other := open("switchover")
	for {
		st, err := other.Read(t.Context())
		if err == nil && len(st.Guards) == 1 && len(st.Guards[0].Instances) == 2 {
			break
		}

		if t.Context().Err() != nil {
			t.Fatal(err)
		}

		time.Sleep(20 * time.Millisecond)
	}

	loads.says.Store(1)
	loads.left.Store(true)
	mute.left.Store(true)

	if _, err := other.Claim(t.Context(), epoch.Bid{Holder: "west", Lease: 5 * time.Second, Planned: true}); err != nil {
		t.Fatal(err)
	}

	<-mute.stopped

	stop()

	if err := <-ended; err != nil {
		t.Error(err)
	}

	if loads.stops.Load() > 0 {
		t.Error("a standby was stopped because it loads")
	}

	if loads.silent.Load() == 0 {
		t.Error("it was never asked while it was silent: nothing was tested")
	}
}
