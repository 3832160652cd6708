package wal_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets/postgres/wal"
)

// What a table's rows went through is in the log of every version: one row or many at
// once, with images of pages, packed or not, and in records that go over several pages.
func TestChangesOfRows(t *testing.T) {
	t.Parallel()

	majors := []int{13, 15, 18}
	if sandboxtest.Size(0, 1) == 1 {
		majors = sandboxtest.Majors
	}

	for _, major := range majors {
		more := map[string]string{"wal_compression": strconv.FormatBool(major%2 == 1)}
		if major == 18 {
			more["wal_level"] = "logical"
		}
		c := newCluster(t, sandboxtest.ToolsOf(t, major), 1<<20, more)
		conn := c.connect(t)
		do(t, conn, "CREATE TABLE kept (id bigint PRIMARY KEY, note text)")
		do(t, conn, "CHECKPOINT")

		rows := make([][]any, 1000)
		for i := range rows {
			rows[i] = []any{i, fmt.Sprintf("%0100d", i)}
		}

		if _, err := conn.CopyFrom(context.Background(), pgx.Identifier{"kept"}, []string{"id", "note"}, pgx.CopyFromRows(rows)); err != nil {
			t.Fatal(err)
		}

		do(t, conn, "INSERT INTO kept VALUES (1000, 'one')")
		do(t, conn, "CHECKPOINT")
		do(t, conn, "UPDATE kept SET note = 'changed' WHERE id < 30")
		do(t, conn, "UPDATE kept SET id = id + 5000 WHERE id < 10")
		do(t, conn, "CHECKPOINT")
		do(t, conn, "DELETE FROM kept WHERE id >= 500")
		do(t, conn, "BEGIN; INSERT INTO kept VALUES (7777, 'aborted'); ROLLBACK")

		file, err := strconv.ParseUint(ask(t, conn, "SELECT pg_relation_filenode('kept')::text"), 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		s := c.finish(t)

		o := s.options()
		o.All = true

		r, err := wal.NewReader(s.open(t, s.start), o)
		if err != nil {
			t.Fatal(err)
		}
		got := map[wal.Operation]int{}

		for {
			rec, err := r.Next()
			if err != nil {
				break
			}

			if x, ok := rec.Change(); ok && x.File == uint32(file) && x.Database != 0 {
				got[x.Operation] += x.Rows
			}
		}

		if got[wal.Inserted] != 1002 || got[wal.Updated] != 40 || got[wal.Deleted] != 511 {
			t.Errorf("PostgreSQL %d: %v", major, got)
		}
	}
}
