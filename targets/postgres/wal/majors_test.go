package wal_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets/postgres/wal"
)

// The log of each version says what clients and server know, and is, record by
// record, what the server's own reader (pg_walinspect, from 15 on) sees.
func TestMajors(t *testing.T) {
	for _, major := range sandboxtest.Majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			more := map[string]string{}

			segment := uint64(1 << 20)
			if major%2 == 0 {
				more["wal_level"] = "logical" // names the transaction above in records, the gid in COMMIT PREPARED
			} else if major == 17 {
				segment = 64 << 20
			}
			c := newCluster(t, sandboxtest.ToolsOf(t, major), segment, more)

			var d diary

			do(t, c.connect(t), "CHECKPOINT")
			checkStamps := stampFacts(t, c)
			c.load(t, &d, uint64(major), 4, 25)
			s := c.finish(t)

			all, r := read(t, s.open(t, s.start), func() wal.Options { o := s.options(); o.All = true; return o }())
			if r.Major() != major || r.SegmentSize() != segment {
				t.Errorf("a log of %d with segments of %d bytes, want %d with %d", r.Major(), r.SegmentSize(), major, segment)
			}

			e := decided(t, s.open(t, s.start), s.options())
			agree(t, e, &d, stamps(t, c.connect(t), d.deeds))

			checkStamps(t, e)

			if !e.known {
				t.Error("it is not known where knowledge begins")
			}

			if major >= 15 {
				inspect(t, c.connect(t), all)
			}

			t.Logf("%d bytes, %d records, %d transactions of which clients know %d, known from %v", s.size, len(all), len(e.transactions), len(d.deeds), e.knows)

			crashAndPromotion(t, c, more)
		})
	}
}

// inspect compares records with what pg_walinspect says.
func inspect(t *testing.T, conn *pgx.Conn, all []wal.Record) {
	t.Helper()
	do(t, conn, "CREATE EXTENSION IF NOT EXISTS pg_walinspect")

	rows, err := conn.Query(context.Background(), `SELECT start_lsn::text, end_lsn::text, prev_lsn::text, xid::text::bigint, record_length, resource_manager
		FROM pg_get_wal_records_info($1::text::pg_lsn, $2::text::pg_lsn)`, all[0].Start.String(), all[len(all)-1].End.String())
	if err != nil {
		t.Fatal(err)
	}

	n := 0
	for ; rows.Next(); n++ {
		var start, end, prev, manager string
		var xid int64

		var length int32
		if err := rows.Scan(&start, &end, &prev, &xid, &length, &manager); err != nil {
			t.Fatal(err)
		}

		if n >= len(all) {
			t.Fatalf("the server has a record at %s more", start)
		}

		got := all[n]
		if got.Start != lsn(t, start) || got.End != lsn(t, end) || got.Previous != lsn(t, prev) || int64(got.XID) != xid || int32(got.Length) != length || managers[got.Manager] != manager {
			t.Fatalf("record %d: %+v, the server says %s to %s, prev %s, xid %d, %d bytes, %s", n, got, start, end, prev, xid, length, manager)
		}
	}

	if rows.Err() != nil {
		t.Fatal(rows.Err())
	}

	if n != len(all) {
		t.Errorf("%d records, the server says %d", len(all), n)
	}
}

var managers = []string{"XLOG", "Transaction", "Storage", "CLOG", "Database", "Tablespace", "MultiXact", "RelMap", "Standby", "Heap2", "Heap",
	"Btree", "Hash", "Gin", "Gist", "Sequence", "SPGist", "BRIN", "CommitTs", "ReplicationOrigin", "Generic", "LogicalMessage"}
