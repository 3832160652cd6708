package sandbox_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"drctl/internal/sandbox/sandboxtest"
)

func TestServersStart(t *testing.T) {
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	sb := sandboxtest.Standby(t, in, sandboxtest.PostgresOptions{})
	c, err := pgx.Connect(context.Background(), sandboxtest.DSN(sb, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	var rec bool
	if err := c.QueryRow(context.Background(), "select pg_is_in_recovery()").Scan(&rec); err != nil || !rec {
		t.Fatal(rec, err)
	}
	m := sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	sandboxtest.RedisReplica(t, m, sandboxtest.RedisOptions{})
	sandboxtest.S3(t, true)
}
