package guard_test

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"drctl/internal/epoch"
	"drctl/internal/guard"
	"drctl/internal/vault"
)

// unseen is a server whose place is known once it runs.
type unseen struct {
	dir  string
	runs atomic.Bool
}

func (u *unseen) Instance() string                       { return "carts/0@east" }
func (u *unseen) Writable(context.Context) (bool, error) { return true, nil }
func (u *unseen) Hold(context.Context) error             { return nil }
func (u *unseen) Release(context.Context) error          { return nil }
func (u *unseen) Stop(context.Context) error             { return nil }

func (u *unseen) Here() bool { return u.runs.Load() }

func (u *unseen) Place() (string, []string) {
	if !u.runs.Load() {
		return "", nil
	}

	return u.dir, []string{"no-such-program"}
}

// TestAServerThatComesLater: a guard answers for a server from when it knows where its
// processes are, and not before.
func TestAServerThatComesLater(t *testing.T) {
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

	u := &unseen{dir: t.TempDir()}
	g := &guard.Guard{Log: open("guard"), Region: "east", Name: "host1", Servers: []guard.Server{u}, Lease: 3 * time.Second, Out: slog.New(slog.DiscardHandler)}
	ctx, stop := context.WithCancel(t.Context())

	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()

	reader := open("reader")
	until := func(instances ...string) {
		t.Helper()

		for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			st, err := reader.Read(t.Context())
			if err == nil && len(st.Guards) == 1 && slices.Equal(st.Guards[0].Instances, instances) {
				return
			}

			if time.Now().After(end) {
				t.Fatalf("want %v: %+v, %v", instances, st.Guards, err)
			}
		}
	}
	until()
	u.runs.Store(true)
	until("carts/0@east")
	stop()

	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
