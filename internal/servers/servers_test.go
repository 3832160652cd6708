package servers_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
)

func TestServersStart(t *testing.T) {
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	if a, b := systemID(t, in), systemID(t, sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})); a == b {
		t.Errorf("two clusters with one system identifier %d", a)
	}
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

func systemID(t *testing.T, in targets.Instance) (id int64) {
	t.Helper()
	c, err := pgx.Connect(context.Background(), sandboxtest.DSN(in, in.Database))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	if err := c.QueryRow(context.Background(), "select system_identifier from pg_control_system()").Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}
