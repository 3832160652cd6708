package wal_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets/postgres/wal"
)

var seeds = flag.Bool("seeds", false, "write pages of real logs into testdata")

// TestSeeds writes the pages from which FuzzReader starts, two of each version:
// go test ./targets/postgres/wal -run TestSeeds -seeds
func TestSeeds(t *testing.T) {
	if !*seeds {
		return
	}

	for _, major := range sandboxtest.Majors {
		c := newCluster(t, sandboxtest.ToolsOf(t, major), 1<<20, map[string]string{"wal_level": "logical"})
		do(t, c.connect(t), "CREATE TABLE load (a int, b text)")
		do(t, c.connect(t), "CHECKPOINT")
		do(t, c.connect(t), "SELECT pg_switch_wal()")
		conn := c.connect(t)

		for _, sql := range []string{
			"CHECKPOINT", "BEGIN", "SELECT pg_logical_emit_message(true, 'drctl/global', 'a/2')", "SAVEPOINT a",
			"SELECT pg_logical_emit_message(true, 'drctl/global', 'b/2')", "RELEASE a", "COMMIT",
			"BEGIN", "INSERT INTO load VALUES (1, 'x')", "SELECT pg_logical_emit_message(true, 'drctl/global', 'c/2')", "PREPARE TRANSACTION 'gid'", "COMMIT PREPARED 'gid'",
			"SELECT pg_logical_emit_message(false, 'drctl/note', 'd')", "BEGIN", "INSERT INTO load VALUES (1, 'x')", "ROLLBACK",
			"CREATE TABLE gone (a int)", "DROP TABLE gone",
		} {
			do(t, conn, sql)
		}
		s := c.finish(t)
		log := s.bytes(t)
		all, _ := read(t, bytes.NewReader(log), s.options())

		first := 0
		for n := range all { // the page with the prepared transaction, and the one behind it
			if all[n].Kind == wal.Prepare {
				first = int(all[n].Start-s.start) / wal.PageSize * wal.PageSize
			}
		}
		end := min(first+2*wal.PageSize, len(log))

		if err := os.WriteFile(filepath.Join("testdata", fmt.Sprintf("%d.wal", major)), log[first:end], 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
