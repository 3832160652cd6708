package activities_test

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"

	"drctl/activities"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/stream"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

// following is FollowShard in the background.
type following struct {
	stop func()
	done chan struct{}
	out  activities.FollowOut
	err  error
}

func followOne(t *testing.T, a *activities.Activities, in activities.FollowIn) *following {
	t.Helper()
	ch := make(chan struct{})

	f := &following{done: make(chan struct{}), stop: sync.OnceFunc(func() { close(ch) })}
	go func() {
		defer close(f.done)
		f.out, f.err = execute[activities.FollowOut](a, activities.FollowShardName, in, ch)
	}()

	t.Cleanup(func() { f.stop(); <-f.done })

	return f
}

func (f *following) wait(t *testing.T, what string) activities.FollowOut {
	t.Helper()

	select {
	case <-f.done:
	case <-time.After(3 * time.Minute):
		t.Fatal("it follows on: " + what)
	}

	return f.out
}

// A PostgreSQL whose slot was lost leaves a hole: FollowShard says so, and again
// at its start, until there is a base behind it.
func TestFollowShardReportsAHoleUntilThereIsABase(t *testing.T) {
	t.Parallel()
	w := &world{instances: map[targets.ShardID]targets.Instance{}, tools: sandboxtest.Tools(t), dir: sandboxtest.Dir(t)}
	// A vacuum of the filler would write enough for the slot to be lost a second time.
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Settings: map[string]string{"max_slot_wal_keep_size": "48MB", "max_wal_size": "32MB", "min_wal_size": "32MB", "autovacuum": "off"}})
	w.shop.Postgres = []targets.Instance{in}
	w.add(in, nil)
	w.vaults(t, map[string]vault.Location{"east": {URL: "file://" + filepath.Join(w.dir, "east")}, "west": {URL: "file://" + filepath.Join(w.dir, "west")}})
	a := w.activities(resolver{w, policy(targets.Gate)})

	c, err := pgx.Connect(t.Context(), sandboxtest.DSN(in, in.Database))
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = c.Close(context.Background()) })
	run := func(sql string) {
		t.Helper()

		if _, err := c.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	archived := func() targets.Position {
		t.Helper()

		st, err := a.Drivers[targets.Postgres].Probe(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}

		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		last := st.Position

		last.Offset--
		if _, err := stream.AwaitDurable(ctx, w.set, in.Shard, last, st.Position, 50*time.Millisecond, nil); err != nil {
			t.Fatal(err)
		}

		return st.Position
	}

	run("CREATE TABLE filler (b text); ALTER TABLE filler ALTER b SET STORAGE EXTERNAL")
	f := followOne(t, a, activities.FollowIn{Shard: in.Shard})

	archived()
	w.bases(t, a, "first")
	f.stop()
	<-f.done

	for range 8 {
		run("INSERT INTO filler SELECT repeat(md5(random()::text), 250) FROM generate_series(1, 1600)")
		run("SELECT pg_switch_wal()")
		run("CHECKPOINT")
	}

	var status string
	if err := c.QueryRow(t.Context(), "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'drctl'").Scan(&status); err != nil || status != "lost" {
		t.Fatalf("the slot is %s (%v), the test wants it lost", status, err)
	}

	broke := func(f *following, what string) {
		t.Helper()

		if out := f.wait(t, what); f.err != nil || out.Group != group || !strings.Contains(out.Break, "a hole of ") {
			t.Fatalf("%s: %+v %v", what, out, f.err)
		}
	}
	broke(followOne(t, a, activities.FollowIn{Shard: in.Shard}), "while it declares the hole")
	broke(followOne(t, a, activities.FollowIn{Shard: in.Shard}), "at its start")
	asked := followOne(t, a, activities.FollowIn{Shard: in.Shard, BaseAsked: true})
	w.bases(t, a, "second") // needs what follows on
	archived()
	asked.stop()
	<-asked.done

	if asked.out.Break != "" && !fail.Is(asked.err, fail.Unavailable) {
		t.Fatalf("%+v %v", asked.out, asked.err)
	}
	f = followOne(t, a, activities.FollowIn{Shard: in.Shard})

	run("INSERT INTO filler VALUES ('x')")
	end := archived()

	select {
	case <-f.done:
		t.Fatalf("it ended although there is a base: %+v %v", f.out, f.err)
	default:
	}

	for _, v := range w.set.Vaults {
		bases, err := v.Bases(t.Context(), in.Shard)
		if err != nil || len(bases) != 2 {
			t.Fatalf("%s: %d bases, %v", v.Region(), len(bases), err)
		}

		ls, err := stream.Load(t.Context(), v, in.Shard)
		if err != nil {
			t.Fatal(err)
		}

		if _, err := timeline.Path(ls, bases[0].From, end); !fail.Is(err, fail.NotFound) {
			t.Fatalf("%s: there is no hole: %v", v.Region(), err)
		}

		if _, err := timeline.Path(ls, bases[1].From, end); err != nil {
			t.Fatalf("%s: the new base does not lead to the end: %v", v.Region(), err)
		}
	}
}

// slowVaults opens no vault before it is told to.
type slowVaults struct {
	resolver
	open chan struct{}
}

func (s slowVaults) Set(ctx context.Context, g, r string) (vault.Set, error) {
	select {
	case <-s.open:
		return s.resolver.Set(ctx, g, r)
	case <-ctx.Done():
		return vault.Set{}, ctx.Err()
	case <-time.After(2 * time.Minute):
		return vault.Set{}, fail.Newf(fail.Internal, "test", "", "nothing beat while the archiver started")
	}
}

// A start that takes long beats: the engine must not take it for dead.
func TestFollowShardBeatsFromTheBeginning(t *testing.T) {
	w := startServers(t, 1)
	w.vaults(t, map[string]vault.Location{"east": {URL: "file://" + filepath.Join(w.dir, "east")}, "west": {URL: "file://" + filepath.Join(w.dir, "west")}})
	p := slowVaults{resolver{w, policy(targets.Gate)}, make(chan struct{})}
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(quiet))
	env := suite.NewTestActivityEnvironment()
	w.activities(p).Register(env)
	stop := make(chan struct{})
	env.SetWorkerStopChannel(stop)
	beat := sync.OnceFunc(func() { close(p.open) })
	end := sync.OnceFunc(func() { close(stop) })
	env.SetOnActivityHeartbeatListener(func(_ *activity.Info, details converter.EncodedValues) {
		var b engine.Beat
		if err := details.Get(&b); err != nil {
			t.Error(err)
		}

		beat()
		end()
	})

	if _, err := env.ExecuteActivity(activities.FollowShardName, activities.FollowIn{Shard: w.shards[0].Shard}); err != nil && strings.Contains(err.Error(), "nothing beat") {
		t.Fatal(err)
	}

	select {
	case <-p.open:
	default:
		t.Fatal("it never beat")
	}
}
