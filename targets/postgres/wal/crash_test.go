package wal_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/targets/postgres/wal"
)

// crashAndPromotion goes on with a cluster over crashes in the middle of a record
// and over a promotion: its log is read as one. What was open when the server
// died is forgotten, what was prepared is not.
func crashAndPromotion(t *testing.T, c *cluster, settings map[string]string) {
	t.Helper()
	conn := c.connect(t)
	do(t, conn, "CHECKPOINT")
	prepare(t, conn, "survives")

	open := c.connect(t)
	do(t, open, "BEGIN")
	do(t, open, "SELECT pg_logical_emit_message(true, 'drctl/global', 'dies')")

	// A server that is killed while it writes giants leaves one without an end.
	for range 2 {
		giant(t, c)
		c.start(t, settings)
	}
	conn = c.connect(t)
	do(t, conn, "COMMIT PREPARED 'survives'")
	prepare(t, conn, "moves")
	c.stop(t)

	c.promote(t, settings)
	conn = c.connect(t)
	do(t, conn, "COMMIT PREPARED 'moves'")

	var d diary
	c.load(t, &d, 1000, 2, 10)
	s := c.finish(t)

	if len(s.timelines) != 2 {
		t.Fatalf("timelines %v", s.timelines)
	}

	o := s.options()
	o.All = true
	all, _ := read(t, s.open(t, s.start), o)

	e := decided(t, s.open(t, s.start), s.options())
	if e.overwritten == 0 {
		t.Error("no crash cut off a record")
	}

	t.Logf("%d records, %d given up, timeline 2 from %v", len(all), e.overwritten, s.timelines[1].Begin)

	ended := map[string]wal.Transaction{}
	for _, x := range e.transactions {
		for _, m := range x.Tags {
			// A backend that sees its server die in time may still write the abort.
			if m.Content == "dies" && x.Outcome != wal.Aborted {
				t.Errorf("%v at %v has the tag of a transaction that died", x.Outcome, x.Start)
			}
		}

		if x.Outcome == wal.CommittedPrepared {
			ended[x.GID] = x
		}
	}

	for _, gid := range []string{"survives", "moves"} {
		if x := ended[gid]; len(x.Tags) != 1 || x.Tags[0].Content != gid || !x.Whole {
			t.Errorf("%s: %+v", gid, x)
		}
	}

	agreeOn(t, e, &d, stamps(t, conn, d.deeds), s.timelines[1].Begin)
	wrongTimelines(t, s)
}

// agreeOn compares what came behind a place.
func agreeOn(t *testing.T, e ended, d *diary, times map[uint32]time.Time, from wal.LSN) {
	t.Helper()

	var late []wal.Transaction
	for _, x := range e.transactions {
		if x.Start >= from && x.GID != "moves" {
			late = append(late, x)
		}
	}
	e.transactions = late
	e.messages = slices.DeleteFunc(e.messages, func(m wal.Message) bool { return m.Start < from })
	agree(t, e, d, times)
}

// wrongTimelines reads the log with other timelines than it has.
func wrongTimelines(t *testing.T, s stretch) {
	t.Helper()
	two := s.timelines[1]

	for _, wrong := range [][]wal.Timeline{nil, {{ID: 1}}, {{ID: 2}}, {{ID: 1}, {ID: 3, Begin: two.Begin}},
		{{ID: 1}, {ID: 2, Begin: two.Begin + 2*wal.PageSize}}, {{ID: 1}, {ID: 2, Begin: two.Begin - 2*wal.PageSize}}} {
		o := s.options()
		o.Timelines = wrong
		mustBeCorrupt(t, fmt.Sprint("timelines ", wrong), s.open(t, s.start), o)
	}
}

func prepare(t *testing.T, conn *pgx.Conn, gid string) {
	t.Helper()

	for _, sql := range []string{"BEGIN", "SELECT pg_logical_emit_message(true, 'drctl/global', '" + gid + "')", "PREPARE TRANSACTION '" + gid + "'"} {
		do(t, conn, sql)
	}
}

// giant kills the server while a client writes records larger than its buffers.
func giant(t *testing.T, c *cluster) {
	t.Helper()
	conn := c.connect(t)

	begun := make(chan struct{})

	over := make(chan struct{})
	go func() {
		defer close(over)

		for n := 0; ; n++ {
			if _, err := conn.Exec(context.Background(), "SELECT pg_logical_emit_message(false, 'giant', repeat('x', 3000000))"); err != nil {
				return
			}

			if n == 1 {
				close(begun)
			}
		}
	}()

	<-begun

	if err := c.proc.Kill(); err != nil {
		t.Fatal(err)
	}

	<-over
}

// promote makes a stopped cluster a standby and promotes it.
func (c *cluster) promote(t *testing.T, settings map[string]string) {
	t.Helper()
	signal := filepath.Join(c.dir, "standby.signal")

	if err := c.tools.RunAs.WriteFile(signal, ""); err != nil {
		t.Fatal(err)
	}

	c.start(t, settings)

	if ask(t, c.connect(t), "SELECT pg_promote(true, 60)::text") != "true" {
		t.Fatal("the promotion did not end")
	}

	if _, err := os.Stat(signal); err == nil {
		t.Fatal("it is a standby still")
	}
}
