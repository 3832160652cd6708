package rounds_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/lab/rounds"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
)

// pair are two servers of a shard, each with all that a watch and a register need.
func pair(t *testing.T) (east, west targets.Instance) {
	t.Helper()

	east = sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	east.Region = "east"

	run(t, east, "CREATE TABLE "+rounds.WatchTable+" (region text PRIMARY KEY, n bigint); INSERT INTO "+rounds.WatchTable+" VALUES ('east', 0), ('west', 0)")
	run(t, east, "CREATE TABLE "+rounds.RegisterTable+" (v bigint); INSERT INTO "+rounds.RegisterTable+" VALUES (0)")

	west = sandboxtest.Standby(t, east, sandboxtest.PostgresOptions{})
	west.Region = "west"

	return east, west
}

func run(t *testing.T, in targets.Instance, text string) {
	t.Helper()

	c, err := pgx.Connect(t.Context(), sandboxtest.DSN(in, in.Database))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.WithoutCancel(t.Context()))

	if _, err := c.Exec(t.Context(), text); err != nil {
		t.Fatal(err)
	}
}

func until(t *testing.T, what string, f func() bool) {
	t.Helper()

	for end := time.Now().Add(2 * time.Minute); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never happens: %s", what)
		}
	}
}

// TestTwoWritersAreFound: a standby is promoted while its primary goes on, and a watch sees that, and that nothing was
// wrong before.
func TestTwoWritersAreFound(t *testing.T) {
	t.Parallel()

	east, west := pair(t)
	w := rounds.NewWatch(t.Context(), []targets.Instance{east, west})
	defer w.Stop()

	until(t, "the primary is seen to take writes", func() bool { return w.Since("east")[0].Took["east"] > 10 })

	if s := w.Since("east")[0]; s.Both != "" || s.Took["west"] != 0 || s.Asked < 10 {
		t.Errorf("one server takes writes, and: %+v", s)
	}

	run(t, west, "SELECT pg_promote()")
	until(t, "both are seen to take writes", func() bool { return w.Since("east")[0].Both != "" })

	// After a mark it is a finding again as soon as both are seen again.
	w.Mark()
	until(t, "both are seen to take writes again", func() bool { return w.Since("east")[0].Both != "" })
}

// TestALostWriteIsFound: an acknowledged write is undone behind the back of the clients.
func TestALostWriteIsFound(t *testing.T) {
	t.Parallel()

	east, _ := pair(t)
	r := rounds.NewRegister(east, east.Address)

	if err := r.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}

	use := func(meanwhile func()) rounds.Judgement {
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})

		go func() {
			defer close(ended)

			r.Use(ctx, 3, 1)
		}()

		n := len(r.Ops())
		until(t, "the register is used", func() bool { return len(r.Ops()) > n+50 })
		meanwhile()

		n = len(r.Ops())
		until(t, "the register is used", func() bool { return len(r.Ops()) > n+50 })
		stop()
		<-ended

		return rounds.Check(r.Begins, r.Ops(), nil)
	}

	if j := use(func() {}); j.Wrong != "" || j.Reads == 0 || j.Writes == 0 || j.Unknown != 0 {
		t.Errorf("of a register that nobody touched: %+v", j)
	}

	// A first value is nobody's any more. Until somebody reads it, it may be overwritten.
	if j := use(func() {
		run(t, east, "BEGIN; UPDATE "+rounds.RegisterTable+" SET v = 1; COMMIT; SELECT pg_sleep(0.2)")
		for range 200 {
			run(t, east, "UPDATE "+rounds.RegisterTable+" SET v = 1")
		}
	}); j.Wrong == "" {
		t.Error("a lost write was not found")
	}
}
