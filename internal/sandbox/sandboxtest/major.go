package sandboxtest

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"drctl/internal/servers"
	"drctl/targets"
)

// Majors are the versions of PostgreSQL that drctl knows. bin/postgres has a
// server of each.
var Majors = []int{13, 14, 15, 16, 17, 18}

// ToolsOf finds the servers, PostgreSQL of a major version, and fails the test
// when it is missing. It has initdb, pg_ctl and postgres, and no other program.
func ToolsOf(t testing.TB, major int) servers.Binaries {
	t.Helper()
	tools := Tools(t)

	dir, err := os.Getwd()
	for ; err == nil && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
	}

	tools.PostgresBin = filepath.Join(dir, "bin", "postgres", strconv.Itoa(major), "bin")
	if _, err := tools.PG("postgres"); err != nil {
		t.Fatalf("PostgreSQL %d is missing (run make majors): %v", major, err)
	}

	return tools
}

// NewCluster makes a cluster, with a superuser drctl, whose log has segments of
// a size in bytes, and returns its data directory.
func NewCluster(t testing.TB, tools servers.Binaries, segmentSize uint64) string {
	t.Helper()

	dir := filepath.Join(Dir(t), "pg")
	if err := tools.InitPostgres(context.Background(), servers.PostgresSpec{Dir: dir, User: "drctl",
		Password: targets.NewSecret(Password), NoSync: true, SegmentSize: segmentSize}); err != nil {
		t.Fatal(err)
	}

	return dir
}

// Start starts a server on a data directory. Its database is postgres.
func Start(t testing.TB, tools servers.Binaries, dir string, o PostgresOptions) targets.Instance {
	t.Helper()
	in := instance(o.Shard, dir, startPostgres(t, tools, dir, o))
	in.Database = "postgres"

	return in
}
