package postgres_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/proc"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
	"drctl/targets/postgres"
	"drctl/targets/targettest"
)

func conformance(wrap func(*postgres.Driver) targets.Driver) targettest.Kit {
	return targettest.Kit{
		Driver: func(t testing.TB, log *slog.Logger) targets.Driver {
			return wrap(postgres.New(postgres.Options{Tools: sandboxtest.Tools(t), Log: log}))
		},
		Start: func(t testing.TB) targets.Instance {
			in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Settings: map[string]string{"deadlock_timeout": "10min"}})
			run(t, open(t, in), "CREATE TABLE names (name text PRIMARY KEY, filler text)")
			return in
		},
		Put: func(t testing.TB, in targets.Instance, name string) error {
			_, err := open(t, in).Exec(context.Background(), "INSERT INTO names VALUES ($1, repeat($1, 100))", name)
			return err
		},
		Names: func(t testing.TB, in targets.Instance) []string {
			rows, err := open(t, in).Query(context.Background(), "SELECT name FROM names ORDER BY name")
			if err != nil {
				t.Fatal(err)
			}
			names, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				t.Fatal(err)
			}
			return names
		},
		Empty: func(t testing.TB) targets.Instance {
			return targets.Instance{Kind: targets.Postgres, Shard: targets.ShardID{Target: "orders", Shard: "0"}, Region: "sandbox", Role: targets.Sandbox,
				User: "drctl", Database: "shop", DataDir: filepath.Join(sandboxtest.Dir(t), "data")}
		},
		Stop: func(_ testing.TB, pid int) {
			if id, err := proc.Of(pid); err == nil {
				_ = id.Kill()
			}
		},
		Damage: func(t testing.TB, in targets.Instance) {
			c := open(t, in)
			file := filepath.Join(in.DataDir, value[string](t, c, "SELECT pg_relation_filepath('names')"))
			run(t, c, "CHECKPOINT")
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)-20] ^= 1
			if err := os.WriteFile(file, b, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		Turn: func(t testing.TB, in targets.Instance) {
			run(t, open(t, in), "SELECT pg_switch_wal()")
		},
		Acknowledged: func(t testing.TB, in targets.Instance) uint64 {
			// It reports no flush position: what is written counts, and where its slot stands.
			return lsn(t, open(t, in), `SELECT greatest((SELECT max(write_lsn) FROM pg_stat_replication),
				(SELECT max(restart_lsn) FROM pg_replication_slots), '0/0')::text`)
		},
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	targettest.Run(t, conformance(func(d *postgres.Driver) targets.Driver { return d }))
}

// Drivers that are broken on purpose: the suite must see each.
type (
	liar     struct{ *postgres.Driver } // a restore that could not be done claims success
	hasty    struct{ *postgres.Driver } // follow acknowledges all that it was sent
	unlocked struct{ *postgres.Driver } // a member locks nothing
)

func (d liar) Restore(ctx context.Context, in targets.Instance, req targets.RestoreRequest, from targets.Source) (targets.Outcome, error) {
	out, err := d.Driver.Restore(ctx, in, req, from)
	if err != nil {
		return targets.Outcome{Reached: req.Point}, nil
	}

	return out, nil
}

type ahead struct{ targets.Archive }

func (a ahead) Durable() uint64 { at, _ := a.Tail(); return at.Offset }

func (d hasty) Follow(ctx context.Context, in targets.Instance, a targets.Archive) error {
	return d.Driver.Follow(ctx, in, ahead{a})
}

type free struct{ targets.Member }

func (free) Lock(context.Context, time.Duration) error { return nil }

func (d unlocked) Join(ctx context.Context, in targets.Instance, req targets.JoinRequest) (targets.Member, error) {
	m, err := d.Driver.Join(ctx, in, req)
	return free{m}, err
}

func TestConformanceCatchesBrokenDrivers(t *testing.T) {
	t.Parallel()

	for name, x := range map[string]struct {
		check string
		wrap  func(*postgres.Driver) targets.Driver
	}{
		"liar":    {"restore from a faulty source", func(d *postgres.Driver) targets.Driver { return liar{d} }},
		"hasty":   {"follow acknowledges what is durable", func(d *postgres.Driver) targets.Driver { return hasty{d} }},
		"unlocks": {"locks end with their member", func(d *postgres.Driver) targets.Driver { return unlocked{d} }},
	} {
		t.Run(name, func(t *testing.T) { targettest.Catches(t, conformance(x.wrap), x.check) })
	}
}
