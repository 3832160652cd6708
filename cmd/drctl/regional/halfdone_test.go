package regional_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"drctl/activities/halfdone"
	"drctl/restore/machine"
	"drctl/workflows/recovery"
)

// TestHalfDoneBehindAFailover leaves global transactions half done when the primaries of the
// east are lost: each standby is promoted as far as it got, what is prepared is ended by the
// rule or left with the reason, and a tagged one of which a part is lost is listed.
func TestHalfDoneBehindAFailover(t *testing.T) {
	p := newPlace(t, "--shards", "2")
	p.serve()

	exec := func(region, shard string, all ...string) {
		t.Helper()
		c := p.postgres(region, shard)

		for _, text := range all {
			if _, err := c.Exec(t.Context(), text); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
		}
	}
	prepare := func(n, gid string) []string {
		return []string{"BEGIN", "INSERT INTO moves VALUES (" + n + ")", "PREPARE TRANSACTION '" + gid + "'"}
	}

	for _, shard := range []string{"0", "1"} {
		exec("east", shard, "CREATE TABLE moves (n bigint PRIMARY KEY)")
	}

	p.must("drctl", "backup", "now")

	// What the archive does not reach back to, by clocks that may be apart, is not decided.
	began := time.Now()
	p.until("the archive reaches back", func() bool { return time.Since(began) > halfdone.Apart+10*time.Second })

	// Committed on one shard, and on the other not yet.
	exec("east", "0", prepare("1", "shop-half-0")...)
	exec("east", "1", append(prepare("1", "shop-half-1"), "COMMIT PREPARED 'shop-half-1'")...)
	// Committed nowhere.
	exec("east", "0", prepare("2", "shop-nowhere-0")...)
	// An id that was used before.
	exec("east", "0", append(prepare("3", "shop-again-0"), "COMMIT PREPARED 'shop-again-0'")...)
	exec("east", "0", prepare("4", "shop-again-0")...)
	// Its other part is lost.
	exec("east", "0", "BEGIN", "SELECT pg_logical_emit_message(true, 'drctl/global', 'lost-part/2')", "INSERT INTO moves VALUES (5)", "COMMIT")

	for _, shard := range []string{"0", "1"} {
		var at string
		if err := p.postgres("east", shard).QueryRow(t.Context(), "SELECT pg_current_wal_flush_lsn()::text").Scan(&at); err != nil {
			t.Fatal(err)
		}

		p.until("the standby has it", func() (ok bool) {
			_ = p.postgres("west", shard).QueryRow(t.Context(), "SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn", at).Scan(&ok)
			return ok
		})
	}

	_ = p.up.Process.Kill()
	_ = p.up.Wait()

	for _, s := range []string{"orders/0", "orders/1", "carts/0"} {
		p.must("drlab", "break", "--dir", p.dir, "kill", "east/"+s)
	}

	out, said, code := p.run("drctl", "failover", "run", "--engine", "embedded", "--stay", "media", "--yes", "--json", "--vouch", "killed by this test")

	var o recovery.Out
	if err := json.Unmarshal([]byte(out), &o); err != nil || o.Verdict != machine.Reached || code != 3 {
		t.Fatalf("exit %d, %v\n%s", code, err, said)
	}

	p.endedByRule(o)

	if o.HalfDone == nil || len(o.HalfDone.Unknown) > 0 || !slices.ContainsFunc(o.HalfDone.List, func(h halfdone.Half) bool {
		return h.ID == "lost-part" && h.Want == 2 && len(h.Have) == 1 && h.Have[0].Shard.String() == "orders/0"
	}) {
		t.Errorf("half done: %+v", o.HalfDone)
	}
}

// endedByRule holds what the run says of prepared transactions against the server.
func (p *place) endedByRule(o recovery.Out) {
	p.Helper()

	i := slices.IndexFunc(o.Steps, func(s recovery.Step) bool { return s.ID == "takeover" })
	if i < 0 {
		p.Fatalf("%+v", o.Steps)
	}

	s := o.Steps[i]
	says := func(all []string, words ...string) bool {
		return slices.ContainsFunc(all, func(x string) bool {
			return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(x, w) })
		})
	}

	if len(s.Resolved) != 2 || !says(s.Resolved, "COMMIT PREPARED", `"shop-half-0"`, "committed on orders/1") || !says(s.Resolved, "ROLLBACK PREPARED", `"shop-nowhere-0"`, "no part") {
		p.Errorf("ended: %q", s.Resolved)
	}

	if len(s.InDoubt) != 1 || !says(s.InDoubt, `"shop-again-0"`, "used 2 times") {
		p.Errorf("in doubt: %q", s.InDoubt)
	}

	var moves, prepared string
	if err := p.postgres("west", "0").QueryRow(p.Context(), "SELECT (SELECT string_agg(n::text, ',' ORDER BY n) FROM moves), (SELECT string_agg(gid, ',') FROM pg_prepared_xacts)").Scan(&moves, &prepared); err != nil || moves != "1,3,5" || prepared != "shop-again-0" {
		p.Errorf("moves %s, prepared %s, %v", moves, prepared, err)
	}
}
