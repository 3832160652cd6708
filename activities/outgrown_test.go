package activities_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"drctl/activities"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/vault"
	"drctl/targets"
)

// A tablespace made after the newest base is in none, and a replay would need
// it: FollowShard says so while it follows and at its start, until there is a
// base that holds it.
func TestFollowShardReportsATablespaceUntilThereIsABase(t *testing.T) {
	w := &world{instances: map[targets.ShardID]targets.Instance{}, tools: sandboxtest.Tools(t), dir: sandboxtest.Dir(t)}
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	w.shop.Postgres = []targets.Instance{in}
	w.add(in, nil)
	w.vaults(t, map[string]vault.Location{"east": {URL: "file://" + filepath.Join(w.dir, "east")}, "west": {URL: "file://" + filepath.Join(w.dir, "west")}})
	a := w.activities(resolver{w, policy(targets.Gate)})
	c, err := pgx.Connect(t.Context(), sandboxtest.DSN(in, in.Database))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })

	space := filepath.Join(sandboxtest.Dir(t), "late")
	if err := errors.Join(os.Mkdir(space, 0o700), w.tools.RunAs.Own(space)); err != nil {
		t.Fatal(err)
	}
	f := followOne(t, a, activities.FollowIn{Shard: in.Shard})
	w.bases(t, a, "first")
	if _, err := c.Exec(t.Context(), "CREATE TABLESPACE late LOCATION '"+space+"'"); err != nil {
		t.Fatal(err)
	}
	says := func(f *following, what string) {
		t.Helper()
		if out := f.wait(t, what); f.err != nil || out.Group != group || !strings.Contains(out.Break, space) || !strings.Contains(out.Break, "base first") {
			t.Fatalf("%s: %+v %v", what, out, f.err)
		}
	}
	says(f, "while it follows")
	says(followOne(t, a, activities.FollowIn{Shard: in.Shard}), "at its start")

	asked := followOne(t, a, activities.FollowIn{Shard: in.Shard, BaseAsked: true})
	w.bases(t, a, "second") // needs what follows on
	asked.stop()
	<-asked.done
	if asked.out.Break != "" && asked.err == nil {
		t.Fatalf("%+v", asked.out)
	}
	last := followOne(t, a, activities.FollowIn{Shard: in.Shard})
	last.stop()
	<-last.done
	if last.out.Break != "" {
		t.Fatalf("the second base holds the tablespace: %+v", last.out)
	}
}
