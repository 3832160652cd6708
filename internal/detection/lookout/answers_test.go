package lookout

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	goredis "github.com/redis/go-redis/v9"

	"drctl/internal/detection"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
	"drctl/targets/postgres"
	"drctl/targets/postgres/postmaster"
	"drctl/targets/redis"
)

// probed is what a look at a real server says.
func probed(t *testing.T, d targets.Driver, in targets.Instance) detection.Sighting {
	t.Helper()

	l := New(Options{Place: "office", Home: "east", Limit: 10 * time.Second, Shards: []Shard{{in.Shard, in.Kind, []string{"east", "west"}}},
		Driver:   func(targets.Kind) (targets.Driver, error) { return d, nil },
		Instance: func(context.Context, targets.ShardID, string) (targets.Instance, error) { return in, nil }})

	return l.look(t.Context())[0]
}

// A server that says why it does nothing for who asks is there: no region is lost by it.
func TestARefusalIsAnAnswer(t *testing.T) {
	t.Parallel()
	tools := sandboxtest.Tools(t)

	t.Run("no connection is free", func(t *testing.T) {
		t.Parallel()
		in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Shard: "orders/0", Settings: map[string]string{"max_connections": "4", "superuser_reserved_connections": "1", "max_wal_senders": "0", "max_replication_slots": "0"}})

		for {
			conn, err := pgx.Connect(t.Context(), sandboxtest.DSN(in, in.Database))
			if err != nil {
				break
			}

			t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
		}

		if s := probed(t, postgres.New(postgres.Options{Tools: tools}), in); s.Saw != detection.Alive {
			t.Errorf("%+v", s)
		}
	})

	t.Run("it takes no new sessions", func(t *testing.T) {
		t.Parallel()
		in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Shard: "orders/0"})

		conn, err := pgx.Connect(t.Context(), sandboxtest.DSN(in, in.Database))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.WithoutCancel(t.Context()))

		// It waits for that session to end.
		srv, err := postmaster.Find(in.DataDir)
		if err == nil {
			err = syscall.Kill(srv.Pid, syscall.SIGTERM)
		}

		if err != nil {
			t.Fatal(err)
		}

		for {
			c, err := pgx.Connect(t.Context(), sandboxtest.DSN(in, in.Database))
			if err != nil {
				break
			}
			_ = c.Close(t.Context())
		}

		if s := probed(t, postgres.New(postgres.Options{Tools: tools}), in); s.Saw != detection.Alive {
			t.Errorf("%+v", s)
		}
	})

	t.Run("a script runs", func(t *testing.T) {
		t.Parallel()
		in := sandboxtest.Redis(t, sandboxtest.RedisOptions{Settings: map[string]string{"lua-time-limit": "50"}})

		c := goredis.NewClient(&goredis.Options{Addr: in.Address, Password: in.Password.Reveal(), Protocol: 2, DisableIdentity: true, MaxRetries: -1, ReadTimeout: -1})
		defer c.Close()

		ended := make(chan struct{})
		go func() {
			defer close(ended)

			_ = c.Eval(t.Context(), "while true do end", nil).Err()
		}()

		for !goredis.HasErrorPrefix(c.Ping(t.Context()).Err(), "BUSY") {
			time.Sleep(10 * time.Millisecond)
		}

		if s := probed(t, redis.New(redis.Options{Tools: tools}), in); s.Saw != detection.Alive {
			t.Errorf("%+v", s)
		}

		if err := c.ScriptKill(t.Context()).Err(); err != nil {
			t.Error(err)
		}

		<-ended
	})
}
