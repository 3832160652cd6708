package guard_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"drctl/internal/epoch"
	"drctl/internal/guard"
	"drctl/internal/vault"
)

// slept is the clock of a machine that sleeps: it goes on, and timers do not.
type slept struct{ by atomic.Int64 }

func (s *slept) clock() time.Duration { return epoch.Boot() + time.Duration(s.by.Load()) }

// A watchman whose machine slept past the end of the lease kills when it wakes up, and not
// after what is left of a timer.
func TestAWatchmanSeesThatTheMachineSlept(t *testing.T) {
	t.Parallel()

	var s slept
	in, out := io.Pipe()
	killed := make(chan struct{})

	go func() {
		_ = guard.Stand(in, s.clock, func([]guard.Place) error { close(killed); return nil })
	}()

	err := json.NewEncoder(out).Encode(guard.Watch{Until: s.clock() + time.Hour, Places: []guard.Place{{Dir: t.TempDir(), Programs: []string{"none"}}}})
	if err != nil {
		t.Fatal(err)
	}

	select {
	case <-killed:
		t.Fatal("before its time")
	case <-time.After(time.Second):
	}

	s.by.Store(int64(2 * time.Hour))

	select {
	case <-killed:
	case <-time.After(time.Minute):
		t.Fatal("the lease is over since an hour, and the servers run")
	}
	_ = out.Close()
}

// stoppable tells when it is stopped.
type stoppable struct {
	unseen
	once    sync.Once
	stopped chan struct{}
}

func (s *stoppable) Stop(context.Context) error {
	s.once.Do(func() { close(s.stopped) })
	return nil
}

// A guard whose machine slept past the end of its lease looks when it wakes up who has the
// epoch.
func TestAGuardSeesThatTheMachineSlept(t *testing.T) {
	t.Parallel()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	o := order{Dir: t.TempDir(), Key: key.Secret().Reveal()}

	var s slept
	open := func(by string) *epoch.Log {
		c, err := o.config(by, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.Clock = s.clock

		l, err := epoch.Open(c)
		if err != nil {
			t.Fatal(err)
		}

		t.Cleanup(l.Close)

		return l
	}

	srv := &stoppable{unseen: unseen{dir: t.TempDir()}, stopped: make(chan struct{})}
	srv.runs.Store(true)

	// It renews each twenty seconds.
	g := &guard.Guard{Log: open("guard"), Region: "east", Name: "host1", Servers: []guard.Server{srv}, Lease: time.Minute, Clock: s.clock, Out: slog.New(slog.DiscardHandler)}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)

	go func() { ended <- g.Run(ctx) }()

	other := open("failover")
	for {
		st, err := other.Read(t.Context())
		if err == nil && len(st.Guards) == 1 && len(st.Guards[0].Instances) == 1 {
			break
		}

		time.Sleep(20 * time.Millisecond)
	}

	if _, err := other.Claim(t.Context(), epoch.Bid{Holder: "west", Run: "failover", Lease: time.Minute}); err != nil {
		t.Fatal(err)
	}

	woke := time.Now()
	s.by.Store(int64(time.Hour))
	<-srv.stopped

	if d := time.Since(woke); d > 10*time.Second {
		t.Errorf("the lease was over since an hour, and the server ran for another %s", d)
	}

	stop()

	if err := <-ended; err != nil {
		t.Error(err)
	}
}
