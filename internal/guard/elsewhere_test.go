package guard_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"drctl/internal/guard"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/vault"
	"drctl/targets"
	pgfencing "drctl/targets/postgres/fencing"
)

// TestAServerOfAnotherHost: every host may have the directory that a server of another one works in.
// The guard answers for the server that works here, and for no other.
func TestAServerOfAnotherHost(t *testing.T) {
	t.Parallel()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	o := order{Dir: t.TempDir(), Key: key.Secret().Reveal()}

	l, err := o.log("guard", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	own := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Shard: "orders/0"})
	other := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Shard: "orders/1"})
	other.DataDir = own.DataDir // of that name, on its host

	g := &guard.Guard{Log: l, Region: own.Region, Name: "host1", Lease: 5 * time.Second, Out: slog.New(slog.DiscardHandler)}
	for _, in := range []targets.Instance{own, other} {
		s, err := pgfencing.Open(in)
		if err != nil {
			t.Fatal(err)
		}
		g.Servers = append(g.Servers, s)
	}

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)

	go func() { ended <- g.Run(ctx) }()

	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		st, err := l.Read(t.Context())
		if err == nil && len(st.Guards) == 1 && slices.Contains(st.Guards[0].Instances, "orders/1@"+own.Region) {
			t.Error("it answers for a server that it cannot stop")
			break
		}

		if err == nil && len(st.Guards) == 1 && slices.Contains(st.Guards[0].Instances, "orders/0@"+own.Region) {
			break
		}

		if time.Now().After(end) {
			t.Fatalf("it answers for none: %+v, %v", st.Guards, err)
		}
	}

	stop()

	if err := <-ended; err != nil {
		t.Error(err)
	}
}
