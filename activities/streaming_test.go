package activities_test

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"

	"drctl/activities"
	"drctl/internal/engine"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/vault"
	"drctl/targets"
)

// beats follows a shard until a beat is as enough wants it, or until it fails,
// and returns all beats.
func beats(t *testing.T, a *activities.Activities, shard targets.ShardID, enough func(engine.Beat) bool) ([]engine.Beat, error) {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(quiet))
	env := suite.NewTestActivityEnvironment()
	env.SetTestTimeout(2 * time.Minute)
	a.Register(env)
	ch := make(chan struct{})
	env.SetWorkerStopChannel(ch)
	stop := sync.OnceFunc(func() { close(ch) })
	var mu sync.Mutex
	var all []engine.Beat
	env.SetOnActivityHeartbeatListener(func(_ *activity.Info, details converter.EncodedValues) {
		var b engine.Beat
		if err := details.Get(&b); err != nil {
			t.Error(err)
		}

		mu.Lock()
		defer mu.Unlock()

		if all = append(all, b); enough(b) {
			stop()
		}
	})
	_, err := env.ExecuteActivity(activities.FollowShardName, activities.FollowIn{Shard: shard})

	mu.Lock()
	defer mu.Unlock()

	return all, err
}

func onePostgres(t *testing.T) (*world, targets.Instance, *pgx.Conn) {
	t.Helper()
	w := &world{instances: map[targets.ShardID]targets.Instance{}, tools: sandboxtest.Tools(t), dir: sandboxtest.Dir(t)}
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})

	c, err := pgx.Connect(t.Context(), sandboxtest.DSN(in, in.Database))
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = c.Close(context.Background()) })
	w.vaults(t, map[string]vault.Location{"east": {URL: "file://" + filepath.Join(w.dir, "east")}, "west": {URL: "file://" + filepath.Join(w.dir, "west")}})

	return w, in, c
}

// An archiver that waits for a slot that somebody else reads does not follow.
func TestFollowShardHasNotBegunBeforeTheServerSends(t *testing.T) {
	w, in, c := onePostgres(t)
	w.shop.Postgres = []targets.Instance{in}
	w.add(in, nil)

	var at string
	if err := c.QueryRow(t.Context(), "SELECT lsn::text FROM pg_create_physical_replication_slot('drctl', true)").Scan(&at); err != nil {
		t.Fatal(err)
	}

	from, err := targets.ParseLSN(at)
	if err != nil {
		t.Fatal(err)
	}

	other, err := pgconn.Connect(t.Context(), sandboxtest.DSN(in, in.Database)+"&replication=true")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(context.Background())

	if err := pglogrepl.StartReplication(t.Context(), other, "drctl", pglogrepl.LSN(from), pglogrepl.StartReplicationOptions{Timeline: 1, Mode: pglogrepl.PhysicalReplication}); err != nil {
		t.Fatal(err)
	}
	a := w.activities(resolver{w, policy(targets.Gate)})
	follows := func(b engine.Beat) bool { return b.Phase == engine.Following }

	all, err := beats(t, a, in.Shard, follows)
	if err == nil || !strings.Contains(err.Error(), "another archiver reads") {
		t.Errorf("it did not wait for the slot: %v", err)
	}

	if len(all) == 0 {
		t.Error("it did not beat while it waited")
	}

	for _, b := range all {
		if follows(b) {
			t.Errorf("while another reads the slot it beats %+v", b)
		}
	}

	// With the slot it has begun although the server writes nothing.
	_ = other.Close(t.Context())
	if all, err = beats(t, a, in.Shard, follows); len(all) == 0 || !follows(all[len(all)-1]) {
		t.Errorf("an idle server: %+v, %v", all, err)
	}
}

// A slot that may not be moved fills the server's disk: the beats say so.
func TestFollowShardTellsOfASlotThatStays(t *testing.T) {
	w, in, c := onePostgres(t)
	for _, sql := range []string{"REVOKE EXECUTE ON FUNCTION pg_replication_slot_advance(name, pg_lsn) FROM PUBLIC",
		"CREATE ROLE weak LOGIN REPLICATION PASSWORD '" + sandboxtest.Password + "'", "GRANT pg_monitor TO weak"} {
		if _, err := c.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	in.User = "weak"
	w.shop.Postgres = []targets.Instance{in}
	w.add(in, nil)
	a := w.activities(resolver{w, policy(targets.Gate)})

	all, err := beats(t, a, in.Shard, func(b engine.Beat) bool { return b.Phase == engine.Following })
	if len(all) == 0 {
		t.Fatal("it did not beat: ", err)
	}

	b := all[len(all)-1]
	if b.Phase != engine.Following || !strings.Contains(b.Trouble, "the server keeps its log") || !strings.Contains(b.Trouble, "pg_replication_slot_advance") {
		t.Errorf("%+v", b)
	}
}
