package regional_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"drctl/internal/human"
	"drctl/restore/losses"
	"drctl/restore/machine"
	"drctl/targets/handover"
	"drctl/workflows/recovery"
)

// lossOf reads what drctl says of what a failover lost.
func (p *place) lossOf(args ...string) (losses.Statement, losses.Shard) {
	p.Helper()

	var st losses.Statement
	if err := json.Unmarshal([]byte(p.must("drctl", append([]string{"recovery", "loss", "--json"}, args...)...)), &st); err != nil {
		p.Fatal(err)
	}

	i := slices.IndexFunc(st.Shards, func(s losses.Shard) bool { return s.Shard.String() == "orders/0" })
	if i < 0 {
		p.Fatalf("%+v", st)
	}

	return st, st.Shards[i]
}

func said(o recovery.Out, step string) string {
	for _, s := range o.Steps {
		if s.ID == step {
			return s.Said
		}
	}

	return ""
}

// TestWhatAFailoverLostAndHowTheOldSideComesBack lets an old primary write what no
// standby and no vault gets, fails over, reads what was lost from its disks, and has it
// rewound; then one whose disk is gone is rebuilt from the vault.
func TestWhatAFailoverLostAndHowTheOldSideComesBack(t *testing.T) {
	p := newPlace(t)
	p.serve()
	p.must("drctl", "backup", "now")
	p.exec("east", "CREATE TABLE kept ()")
	p.write("east", 100)
	p.must("drctl", "cut", "now")

	_ = p.up.Process.Kill()
	_ = p.up.Wait()

	// From here on nobody gets what the east writes.
	p.exec("west", "ALTER SYSTEM SET primary_conninfo = ''")
	p.exec("west", "SELECT pg_reload_conf()")
	p.until("the standby is cut off", func() bool { return p.sql("west", "SELECT count(*)::text FROM pg_stat_wal_receiver") == "0" })
	p.exec("east", "BEGIN; SELECT pg_logical_emit_message(true, 'drctl/tx', 'order 7'); INSERT INTO kept SELECT FROM generate_series(1, 7); COMMIT")
	p.must("drlab", "break", "--dir", p.dir, "kill", "east/orders/0")
	p.must("drlab", "break", "--dir", p.dir, "kill", "east/carts/0")

	o := p.over(machine.Reached, "failover", "run", "--engine", "embedded", "--vouch", "killed by this test")
	p.has("west", 100)

	if o.Loss == nil || len(o.Loss.Shards) != 2 || o.Loss.Silent.IsZero() {
		t.Fatalf("the failover says of its loss: %+v", o.Loss)
	}

	// Nobody saw what was lost, and nobody may say that it is nothing.
	for _, s := range o.Loss.Shards {
		if s.Verdict == losses.Nothing || s.Known.Timeline == "" || s.Since.IsZero() {
			t.Errorf("%s: %+v", s.Shard, s)
		}
	}

	if text := p.must("drctl", "recovery", "loss"); !strings.Contains(text, "not known what is lost") && !strings.Contains(text, "at least") || strings.Contains(text, "nothing lost") {
		t.Error(text)
	}

	p.diskTells(o)
	p.rewound()
	p.rebuilt()
}

// diskTells reads the lost transactions from the old disks.
func (p *place) diskTells(o recovery.Out) {
	p.Helper()

	_, s := p.lossOf(o.Run, "--read")
	if s.Verdict != losses.Lost || s.Read == nil || !s.Read.Read || s.Read.Count == 0 || len(s.Read.Kept) == 0 {
		p.Fatalf("%+v", s)
	}

	if !slices.ContainsFunc(s.Read.Lost, func(x handover.LostTransaction) bool {
		return slices.Contains(x.Tags, "drctl/tx: order 7") && slices.Contains(x.Rows, handover.LostRows{Table: "shop.public.kept", Inserted: 7})
	}) {
		p.Errorf("%+v", s.Read)
	}

	// What was read stays in the vault, without the disks.
	if _, again := p.lossOf(); again.Read == nil || again.Read.Count != s.Read.Count {
		p.Errorf("%+v", again)
	}

	if text := p.must("drctl", "recovery", "loss"); !strings.Contains(text, human.Plural(s.Read.Count, "transaction")+" lost") || !strings.Contains(text, "order 7") {
		p.Error(text)
	}
}

// rewound goes home: what diverged there is undone by pg_rewind.
func (p *place) rewound() {
	p.Helper()
	p.must("drlab", "up", "--dir", p.dir)
	p.must("drlab", "break", "--dir", p.dir, "kill", "east/orders/0") // nobody starts a primary that was left
	p.serve()
	p.write("west", 20)

	o := p.over(machine.Reached, "failback", "run", "--to", "east")
	if text := said(o, "return-orders/0"); !strings.Contains(text, "rewind") {
		p.Errorf("it came back otherwise: %s", text)
	}

	p.has("east", 120)
	p.standsBy("east", false)
	p.standsBy("west", true)
}

// rebuilt loses a standby's disk: what is in its place is not touched, and an empty
// place is filled from the vault.
func (p *place) rebuilt() {
	p.Helper()
	dir := p.instance("west").DataDir
	p.must("drlab", "break", "--dir", p.dir, "destroy", "west/orders/0")

	if err := os.MkdirAll(dir, 0o700); err != nil {
		p.Fatal(err)
	}

	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		p.Fatal(err)
	}

	p.refused(1, ".left' && drctl failback run --group shop --from east --to west", "failback", "run", "--from", "east", "--to", "west", "--stay", "media", "--yes")

	if err := os.Remove(precious); err != nil {
		p.Fatalf("what was in the way was touched: %v", err)
	}

	o := p.over(machine.Reached, "failback", "run", "--from", "east", "--to", "west")
	if text := said(o, "return-orders/0"); !strings.Contains(text, "rebuilt from the vault") {
		p.Errorf("it came back otherwise: %s", text)
	}

	p.has("west", 120)
	p.standsBy("west", false)
	p.standsBy("east", true)
}
