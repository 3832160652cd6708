package wal_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"drctl/targets/postgres/wal"
)

// stampFacts makes transactions in which the time of the stamp matters, and
// returns what to check in their log.
func stampFacts(t *testing.T, c *cluster) func(*testing.T, ended) {
	t.Helper()
	conn := c.connect(t)

	for _, sql := range []string{
		"CREATE TABLE late (what text, xid bigint, at timestamptz)",
		"CREATE TABLE watched (a int)",
		`CREATE FUNCTION note(what text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
			PERFORM pg_sleep(0.02);
			INSERT INTO late VALUES (what, txid_current(), clock_timestamp());
		END $$`,
		`CREATE FUNCTION deferred() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM note('deferred trigger'); RETURN NULL; END $$`,
		"CREATE CONSTRAINT TRIGGER d AFTER INSERT ON watched DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION deferred()",

		// The stamp of a commit is behind all that a deferred trigger does.
		"INSERT INTO watched VALUES (1)",
		"BEGIN", "INSERT INTO watched VALUES (1)", "SELECT pg_sleep(0.02)", "COMMIT",
		"BEGIN", "INSERT INTO watched VALUES (1)", "PREPARE TRANSACTION 'trigger'", "COMMIT PREPARED 'trigger'",

		// Each transaction of a procedure has its own.
		"DO $$ BEGIN PERFORM note('procedure'); COMMIT; PERFORM note('procedure'); COMMIT; PERFORM note('procedure'); END $$",

		// A transaction whose flush nobody waits for.
		"SET synchronous_commit = off", "SELECT note('asynchronous')", "RESET synchronous_commit",

		// What is replicated from another server has that server's time besides its own.
		"SELECT pg_replication_origin_create('elsewhere')", "SELECT pg_replication_origin_session_setup('elsewhere')",
		"BEGIN", "SELECT pg_replication_origin_xact_setup('0/ABCDEF', '2001-02-03 04:05:06.789Z')", "SELECT note('origin')", "COMMIT",
		"SELECT pg_replication_origin_session_reset()",
	} {
		do(t, conn, sql)
	}
	end := lsn(t, ask(t, conn, "SELECT pg_current_wal_insert_lsn()::text"))

	var now time.Time
	if err := conn.QueryRow(context.Background(), "SELECT clock_timestamp()").Scan(&now); err != nil {
		t.Fatal(err)
	}

	rows, err := conn.Query(context.Background(), "SELECT what, (xid % 4294967296)::text, at FROM late")
	if err != nil {
		t.Fatal(err)
	}

	type fact struct {
		what string
		at   time.Time
	}

	facts := map[uint32]fact{}
	for rows.Next() {
		var f fact

		var id string
		if err := rows.Scan(&f.what, &id, &f.at); err != nil {
			t.Fatal(err)
		}
		n, _ := strconv.ParseUint(id, 10, 32)
		facts[uint32(n)] = f
	}

	if len(facts) != 8 {
		t.Fatalf("%d facts: %v", len(facts), facts)
	}

	return func(t *testing.T, e ended) {
		t.Helper()

		found := 0
		for _, x := range e.transactions {
			f, ok := facts[x.XID]
			if !ok || x.Outcome == wal.Aborted {
				continue
			}

			found++

			if x.Stamp.Before(f.at) || x.Stamp.After(now) || x.Start > end {
				t.Errorf("%s: %v is stamped %v, its last act was at %v, all was over at %v", f.what, x.Outcome, x.Stamp, f.at, now)
			}

			origin := wal.Origin{}
			if f.what == "origin" {
				origin = wal.Origin{LSN: 0xABCDEF, Time: time.Date(2001, 2, 3, 4, 5, 6, 789e6, time.UTC)}
			}

			if x.Origin != origin {
				t.Errorf("%s: the origin is %+v", f.what, x.Origin)
			}
		}

		if found != len(facts)+1 { // one was prepared, too
			t.Errorf("%d of %d transactions are in the log", found, len(facts)+1)
		}
	}
}
