package all_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/targets"
	"drctl/targets/postgres"
)

// Two standbys that were promoted at different places are both on timeline 2.
// What one of them wrote is never archived behind what the other one did, nor
// taken for the parent of what came after it.
func TestTwoServersOfOneTimelineAreNotMixed(t *testing.T) {
	old := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	keep := sandboxtest.PostgresOptions{Settings: map[string]string{"wal_keep_size": "1GB"}}
	one, two := sandboxtest.Standby(t, old, keep), sandboxtest.Standby(t, old, keep)

	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	do := func(in targets.Instance, sql string) {
		t.Helper()

		c, err := pgx.Connect(ctx, sandboxtest.DSN(in, in.Database))
		if err == nil {
			_, err = c.Exec(ctx, sql)
			_ = c.Close(ctx)
		}

		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	d := postgres.New(postgres.Options{Tools: sandboxtest.Tools(t)})
	at := func(in targets.Instance) targets.Position {
		t.Helper()

		st, err := d.Probe(ctx, in)
		if err != nil {
			t.Fatal(err)
		}

		return st.Position
	}
	promote := func(in targets.Instance, after uint64) {
		t.Helper()

		for at(in).Offset < after {
			time.Sleep(20 * time.Millisecond)
		}

		do(in, "SELECT pg_promote(true, 120)")
	}

	do(old, "CREATE TABLE t AS SELECT generate_series(1, 1000) i")
	promote(one, at(old).Offset)
	do(old, "INSERT INTO t SELECT generate_series(1, 1000)")
	promote(two, at(old).Offset)

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err := vault.Init(ctx, vault.Options{Region: "east", Location: vault.Location{URL: "file://" + filepath.Join(t.TempDir(), "vault")}, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	set := vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}
	archive := func(ctx context.Context, in targets.Instance) error {
		a, err := stream.NewArchiver(ctx, stream.Options{Set: set, Shard: old.Shard, Kind: targets.Postgres, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			return err
		}
		defer a.Abort()

		return d.Follow(ctx, in, a)
	}
	// The first one is archived, far beyond everything that the others write.
	for range 8 {
		do(one, "INSERT INTO t SELECT generate_series(1, 1000)")
		do(one, "SELECT pg_switch_wal()")
	}
	fctx, stop := context.WithCancel(ctx)

	done := make(chan error, 1)
	go func() { done <- archive(fctx, one) }()
	end := at(one)
	last := end

	last.Offset--
	if _, err := stream.AwaitDurable(ctx, set, old.Shard, last, end, 50*time.Millisecond, nil); err != nil {
		t.Fatal(err)
	}

	stop()
	<-done
	refused := func(what string, in targets.Instance) {
		t.Helper()
		err := archive(ctx, in)

		behind := fail.Is(err, fail.Conflict) && strings.Contains(err.Error(), "on the same timeline")
		if !behind && (!fail.Is(err, fail.Corrupt) || !strings.Contains(err.Error(), end.Timeline)) {
			t.Fatalf("%s is archived behind another server: %v", what, err)
		}
	}
	refused("the other server", two)
	three := sandboxtest.Standby(t, two, keep)
	promote(three, at(two).Offset)
	refused("a child of the other server", three)

	ls, err := stream.Load(ctx, v, old.Shard)
	if err != nil {
		t.Fatal(err)
	}

	for _, l := range ls {
		if strings.HasSuffix(l.ID, "-00000003") {
			t.Fatalf("timeline 3 was begun: %+v", l.Parent)
		}
	}
}
