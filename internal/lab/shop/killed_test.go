package shop

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"drctl/internal/lab/shop/journal"
	"drctl/internal/lab/shop/transfer"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
)

func TestSurvivesDyingServer(t *testing.T) {
	var proc servers.Server
	p := platform(t, &proc)
	dir := p.Postgres[0].DataDir
	o := options(p, filepath.Join(t.TempDir(), "journal"))
	o.Duration, o.Rate = 6*time.Second, 300
	type result struct {
		Summary
		error
	}

	done := make(chan result)
	go func() { s, err := Run(t.Context(), o); done <- result{s, err} }()

	time.Sleep(1500 * time.Millisecond)

	if err := proc.Kill(); err != nil {
		t.Fatal(err)
	}

	time.Sleep(500 * time.Millisecond)

	var port int
	if _, err := fmt.Sscanf(proc.Address, "127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}

	again, err := sandboxtest.Tools(t).StartPostgres(t.Context(), servers.PostgresSpec{Dir: dir, Port: port,
		Settings: map[string]string{"max_prepared_transactions": "64", "max_connections": "60"},
		HBA:      []string{"host all all 127.0.0.1/32 scram-sha-256"}})
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = again.Kill() })

	r := <-done
	if r.error != nil || r.Failed == 0 || r.Resolved.Left != 0 {
		t.Errorf("%+v, %v", r.Summary, r.error)
	}

	t.Logf("%+v", r.Summary)

	if rep := checked(t, p, now(), o.Journal); !rep.OK {
		t.Errorf("%+v", rep)
	}
}

// What a killed generator leaves is settled by the next one, from the journal.
func TestSettlesWhatAKilledGeneratorLeft(t *testing.T) {
	p := platform(t)
	path := filepath.Join(t.TempDir(), "journal")

	j, err := journal.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	left := func(style string, commitSent bool, states ...string) string {
		r := &journal.Record{ID: uuid.NewString(), Kind: journal.KindMoney, Style: style, Shards: []int{0, 1}, Rows: []int{5, 6}, Amount: 9, BeginNS: 1, Status: journal.Begun}
		if commitSent {
			r.CommitNS = 2
		}

		if err := j.Write(r); err != nil {
			t.Fatal(err)
		}

		for n, state := range states {
			switch state {
			case "prepared":
				exec(t, p.Postgres[n], "BEGIN; "+fmt.Sprintf("INSERT INTO transfers VALUES ('%s', %d, %d, 'money'); PREPARE TRANSACTION '%s'", r.ID, n, 18*n-9, transfer.GID(r.ID, n)))
			case "committed":
				exec(t, p.Postgres[n], "BEGIN; "+transfer.SQL(r, n)+"; COMMIT")
			}
		}

		return r.ID
	}
	want := map[string]int{
		left(TwoPhase, false, "prepared"):              0,
		left(TwoPhase, false, "prepared", "prepared"):  0,
		left(TwoPhase, true, "prepared", "prepared"):   2,
		left(TwoPhase, true, "committed", "prepared"):  2,
		left(Plain, true, "committed"):                 2,
		left(Plain, true, "committed", "committed"):    2,
		left(Plain, true):                              0,
		left(TwoPhase, true, "", "prepared"):           0,
		left(TwoPhase, true, "committed", "committed"): 2,
	}

	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	o := options(p, path)
	o.Duration = time.Second

	sum, err := Run(t.Context(), o)
	if err != nil || sum.Resolved.Committed != 5 || sum.Resolved.Repaired != 1 || sum.Resolved.RolledBack != 3 || sum.Resolved.Left != 0 {
		t.Errorf("%+v, %v", sum, err)
	}

	status := map[string]Record{}
	for r, err := range journal.Read(path) {
		if err != nil {
			t.Fatal(err)
		}
		status[r.ID] = r
	}

	for id, legs := range want {
		got := 0
		for _, in := range p.Postgres {
			got += scan[int](t, in, "SELECT count(*) FROM transfers WHERE id = '"+id+"'")
		}

		if got != legs || (status[id].Status == journal.Acked) != (legs == 2) {
			t.Errorf("%s: %d legs, want %d; %+v", id, got, legs, status[id])
		}
	}

	for _, in := range p.Postgres {
		if n := scan[int](t, in, "SELECT count(*) FROM pg_prepared_xacts"); n != 0 {
			t.Errorf("%d prepared transactions are left", n)
		}
	}
}

func TestJournalTruncation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")

	j, err := journal.Open(path)
	if err != nil {
		t.Fatal(err)
	}

	if _, err := journal.Open(path); err == nil {
		t.Error("two writers had the same journal")
	}

	for n := range 100 {
		if err := j.Write(&journal.Record{ID: fmt.Sprint(n), Kind: journal.KindCart, Status: journal.Begun, Reason: strings.Repeat("x", n)}); err != nil {
			t.Fatal(err)
		}
	}

	if err := j.Close(); err != nil {
		t.Fatal(err)
	}

	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	count := func() (n int, err error) {
		for _, e := range journal.Read(path) {
			if e != nil {
				return n, e
			}

			n++
		}

		return n, nil
	}
	for size := len(whole); size >= 0; size -= 37 {
		if err := os.WriteFile(path, whole[:size], 0o644); err != nil {
			t.Fatal(err)
		}

		want := bytes.Count(whole[:size], []byte("\n"))
		if n, err := count(); n != want || err != nil {
			t.Fatalf("cut to %d bytes: %d records, want %d; %v", size, n, want, err)
		}

		j, err := journal.Open(path)
		if err != nil {
			t.Fatal(err)
		}

		if err := j.Write(&journal.Record{ID: "after", Status: journal.Begun}); err != nil {
			t.Fatal(err)
		}
		_ = j.Close()

		if n, err := count(); n != want+1 || err != nil {
			t.Fatalf("appended after a cut to %d bytes: %d records, want %d; %v", size, n, want+1, err)
		}
	}
	broken := bytes.Clone(whole)

	broken[bytes.IndexByte(broken, '\n')+3] = 0
	if err := os.WriteFile(path, broken, 0o644); err != nil {
		t.Fatal(err)
	}

	if _, err := count(); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a broken line in the middle: %v", err)
	}
}
