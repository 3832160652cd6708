package postgres

import (
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

func TestParseLabel(t *testing.T) {
	l, err := parseLabel([]byte("START WAL LOCATION: 0/9000028 (file 000000010000000000000009)\nCHECKPOINT LOCATION: 0/9000060\nSTART TIMELINE: 4\n"))
	if err != nil || l.start != 0x9000028 || l.tli != 4 {
		t.Fatal(l, err)
	}

	if _, err := parseLabel([]byte("LABEL: x\n")); err == nil {
		t.Fatal("a label without a start was accepted")
	}
}

func TestSlotWarnings(t *testing.T) {
	const gib = 1 << 30
	for name, x := range map[string]struct {
		slot slotState
		want string
	}{
		"fine":       {slotState{kind: "physical", active: true, status: "reserved", held: gib / 8, keepSize: gib, safe: gib}, ""},
		"quarter":    {slotState{kind: "physical", active: true, status: "reserved", held: gib / 3, keepSize: gib, safe: gib / 2}, "until it is lost"},
		"unreserved": {slotState{kind: "physical", active: true, status: "unreserved", held: 2 * gib, keepSize: gib}, "about to be lost"},
		"lost":       {slotState{kind: "physical", status: "lost", keepSize: gib}, "take a new base"},
		"unlimited":  {slotState{kind: "physical", active: true, status: "reserved", held: 8 * gib, keepSize: -1}, "disk fills up"},
		"idle":       {slotState{kind: "physical", status: "reserved", held: 1, keepSize: gib}, "nobody reads"},
		"logical":    {slotState{kind: "logical"}, "not physical"},
	} {
		got := strings.Join(x.slot.warnings("drctl"), "\n")
		if x.want == "" && got != "" || !strings.Contains(got, x.want) {
			t.Errorf("%s: %q, want %q", name, got, x.want)
		}
	}
}

func TestRecoveryConfQuoting(t *testing.T) {
	r := &restoreRun{work: `/w/it's 100%`, req: targets.RestoreRequest{Point: targets.Position{RestorePoint: "drctl:x"}, Path: []targets.Span{{Timeline: "7-0000000A"}}}}

	conf := r.recoveryConf()
	for _, want := range []string{
		`restore_command = 'cp ''/w/it''\\''''s 100%%/wal/''%f "%p"'`,
		"recovery_target_name = 'drctl:x'", "recovery_target_timeline = '10'", "archive_mode = 'off'"} {
		if !strings.Contains(conf, want) {
			t.Errorf("no %s in\n%s", want, conf)
		}
	}

	r.req.Until = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	if conf := r.recoveryConf(); !strings.Contains(conf, "recovery_target_time = '2026-01-02 03:04:05.000006+00'") || strings.Contains(conf, "recovery_target_name") {
		t.Error(conf)
	}
}

// A check that was ended is no damage.
func TestSortReports(t *testing.T) {
	t.Parallel()
	text := `btree index "shop.public.pair_pkey":
    ERROR:  canceling statement due to statement timeout
heap table "shop.public.t", block 0, offset 2:
    xmin 7 precedes oldest valid transaction ID 0:700
btree index "shop.public.other_h":
    ERROR:  heap tuple (0,1) from table "other" lacks matching index tuple within index "other_h"
    HINT:  Retrying verification using the function bt_index_parent_check() might provide a more specific error.
pg_amcheck: checked`

	damage, unchecked := sortReports(text)
	if len(damage) != 2 || len(unchecked) != 1 || !strings.Contains(damage[0], "oldest valid") || !strings.Contains(damage[1], "HINT") || !strings.Contains(unchecked[0], "pair_pkey") {
		t.Fatalf("damage %q, unchecked %q", damage, unchecked)
	}
}

func TestEndOfAServer(t *testing.T) {
	t.Parallel()

	for log, want := range map[string]fail.Code{
		`FATAL:  "min_wal_size" must be at least twice "wal_segment_size"`:                                   fail.Unsupported,
		"FATAL:  maximum number of prepared transactions reached\nHINT:  Increase max_prepared_transactions": fail.Unsupported,
		"LOG:  startup process (PID 7) was terminated by signal 9: Killed":                                   fail.Unavailable,
		"FATAL:  could not fork new process for connection: Resource temporarily unavailable":                fail.Unavailable,
		"LOG:  restored log file":                            fail.Unavailable,
		"PANIC:  could not locate a valid checkpoint record": fail.Corrupt,
		"FATAL:  database files are incompatible with server\nDETAIL:  initialized by PostgreSQL version 14":     fail.Unsupported,
		`FATAL:  configuration file "/data/postgresql.conf" contains errors`:                                     fail.Unsupported,
		"FATAL:  could not map anonymous shared memory: Cannot allocate memory\nHINT:  reduce its shared memory": fail.Unavailable,
	} {
		if got, _ := endOf(log); got != want {
			t.Errorf("%q: %s, want %s", log, got, want)
		}
	}
}
