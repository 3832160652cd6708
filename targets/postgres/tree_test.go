package postgres

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"drctl/internal/fail"
	"drctl/targets"
)

func TestInspectTree(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()

		if err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string {
		path := filepath.Join(dir, name)
		must(os.MkdirAll(filepath.Dir(path), 0o700))

		return path
	}
	link := func(name string) { must(os.Symlink("/nowhere", at(name))) }

	must(os.WriteFile(at("PG_VERSION"), nil, 0o600))
	must(os.WriteFile(at("base/5/1259"), nil, 0o600))

	for _, name := range []string{"pg_wal", "pg_tblspc/16400", "base/pgsql_tmp/x", "log", "postgresql.conf", "server.key", "pg_stat_tmp", "messages/current"} {
		link(name)
	}
	socket, err := net.Listen("unix", at(".s.PGSQL.5432"))
	must(err)

	defer socket.Close()
	spaces := map[string]string{"16400": "/nowhere"}
	found, err := inspectTree(dir, inSystem, spaces)
	must(err)
	must(found.check(targets.Instance{}))
	slices.Sort(found.other)

	if want := []string{"log", "pg_stat_tmp", "postgresql.conf", "server.key"}; !slices.Equal(found.other, want) {
		t.Errorf("left out %v, want %v", found.other, want)
	}

	for _, name := range []string{"base/16500", "base/5/1260", "pg_xact", "global/1262", "pg_tblspc/16401", "pg_tblspc/stray", "pg_tblspc/x/PG_15/y", "pg_multixact/members"} {
		link(name)
		found, err := inspectTree(dir, inSystem, spaces)
		must(err)

		if want := []string{name + " is a symbolic link"}; !slices.Equal(found.vital, want) {
			t.Errorf("found %v, want %v", found.vital, want)
		}

		if err := found.check(targets.Instance{}); fail.CodeOf(err) != fail.Unsupported {
			t.Errorf("%s: %v", name, err)
		}

		must(os.Remove(at(name)))
	}

	must(syscall.Mkfifo(at("base/5/pipe"), 0o600))

	if found, err := inspectTree(dir, inSystem, spaces); err != nil || !slices.Equal(found.vital, []string{"base/5/pipe is a special file"}) {
		t.Errorf("found %v, %v", found.vital, err)
	}

	space := filepath.Join(dir, "space")
	must(os.MkdirAll(filepath.Join(space, "PG_15_202209061", "16500"), 0o700))
	must(os.Symlink("/nowhere", filepath.Join(space, "lost+found")))
	must(os.Symlink("/nowhere", filepath.Join(space, "PG_15_202209061", "16500", "2619")))

	if found, err := inspectTree(space, inSpace, nil); err != nil || !slices.Equal(found.vital, []string{"PG_15_202209061/16500/2619 is a symbolic link"}) {
		t.Errorf("found %v, %v", found.vital, err)
	}
}
