package postgres_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets/postgres"
)

// crossShard runs f while the group's gate is held shared.
func crossShard(ctx context.Context, gate *pgxpool.Pool, f func() error) error {
	tx, err := gate.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx) // lets go, after the last commit

	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock_shared(hashtextextended('drctl/gate/shop', 0))`); err != nil {
		return err
	}

	return f() // begin, write and commit on every shard in here
}

// What docs/gate.md tells a platform's developers is the lock that the barrier
// takes: the Go snippet is the function above, word for word, and the others
// hold the same statement.
func TestGateAsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/gate.md")
	if err != nil {
		t.Fatal(err)
	}

	self, err := os.ReadFile("gatedoc_test.go")
	if err != nil {
		t.Fatal(err)
	}

	for _, language := range []string{"go", "java", "python"} {
		_, rest, ok := strings.Cut(string(page), "```"+language+"\n")

		snippet, _, closed := strings.Cut(rest, "```")
		if !ok || !closed {
			t.Fatalf("docs/gate.md has no snippet for %s", language)
		}

		if !strings.Contains(snippet, "pg_advisory_xact_lock_shared(hashtextextended('"+postgres.GateKey("shop")+"', 0))") {
			t.Errorf("the snippet for %s takes another lock than the barrier:\n%s", language, snippet)
		}

		if language == "go" && !strings.Contains(string(self), snippet) {
			t.Errorf("the snippet for Go is not the function that this test runs:\n%s", snippet)
		}
	}

	d, in, _ := quiesced(t)
	ctx := ctxFor(t, 2*time.Minute)

	pool, err := pgxpool.New(ctx, sandboxtest.DSN(in, in.Database))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	closedGate := func(id string, wait time.Duration) error {
		m := join(t, d, in, request(id))
		defer m.Close()

		if err := m.LockGate(ctx, wait); err != nil {
			return err
		}

		return m.Release(ctx)
	}

	failed := errors.New("the work failed")
	for i, result := range []error{nil, failed} {
		id := []string{"done", "failed"}[i]

		err := crossShard(ctx, pool, func() error {
			if err := closedGate(id+"-inside", 200*time.Millisecond); !fail.Is(err, fail.Stalled) {
				t.Errorf("the barrier has the gate in the middle of the work: %v", err)
			}

			return result
		})
		if !errors.Is(err, result) {
			t.Errorf("got %v, want %v", err, result)
		}

		if err := closedGate(id+"-after", time.Minute); err != nil {
			t.Errorf("the gate is held after the work: %v", err)
		}
	}
}
