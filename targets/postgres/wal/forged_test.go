package wal_test

import (
	"bytes"
	"testing"

	"drctl/internal/fail"
	"drctl/targets/postgres/wal"
)

// plain is a commit with nothing but its time.
func plain() []byte { return u32(0, 0, 0) }

// running is a list of open transactions, of which only its ends count.
func running(next, oldest uint32) []byte { return u32(1, 0, 0, next, oldest, next-1) }

// shutdown is the checkpoint of a stopped server.
func shutdown(next uint32) []byte {
	return u32(0, 0, 1, 1, 0, 0, next, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
}

const log, standby = 0, 8

// What began before reading began is not called whole, whatever is known later.
func TestWhole(t *testing.T) {
	f := &forged{major: 15}
	f.add(xact, commit, 5, plain())                  // nothing is known yet
	f.add(standby, 0x10, 0, running(10, 8))          // 8 and 9 may have tags that were not seen
	f.add(message, 0, 9, tag("half"))                //
	f.add(xact, commit, 9, plain())                  // seen in part
	f.add(xact, commit, 11, plain())                 // began later
	f.add(standby, 0x10, 0, running(13, 8))          // 8 is open still
	f.add(xact, commit, 8, plain())                  //
	f.add(standby, 0x10, 0, running(14, 12))         // all began later
	f.add(xact, commit, 12, plain())                 //
	f.add(xact, commitPrepared, 0, u32(0, 0, 16, 4)) // prepared nobody knows when

	var x wal.Transactions

	got, err := f.runFrom(t, 0, &x)
	if !fail.Is(err, fail.NotFound) || len(got) != 6 {
		t.Fatalf("%d transactions, %v", len(got), err)
	}

	for i, whole := range []bool{false, false, true, false, true, false} {
		if got[i].Whole != whole {
			t.Errorf("transaction %d is called whole: %v", got[i].XID, got[i].Whole)
		}
	}

	if knows, known := x.KnowsFrom(); !known || knows <= got[3].Start || knows >= got[4].Start {
		t.Errorf("all is known from %v: %v", knows, known)
	}

	// Identifiers wrap around.
	f = &forged{major: 15}
	f.add(standby, 0x10, 0, running(4, 1<<32-2))
	f.add(xact, commit, 1<<32-2, plain())
	f.add(xact, commit, 4, plain())

	if got, _ = f.run(t); len(got) != 2 || got[0].Whole || !got[1].Whole {
		t.Errorf("%+v", got)
	}
}

// A server that died rolled back what was open, and kept what was prepared.
func TestDeath(t *testing.T) {
	for _, end := range []struct {
		info byte
		data []byte
	}{{0x00, shutdown(20)}, {0x90, u32(0, 0, 2, 1)}} {
		f := &forged{major: 16}
		f.add(message, 0, 7, tag("open"))
		f.add(message, 0, 8, tag("prepared"))
		f.add(xact, 0x10, 8, prepare15(8, "gid"))
		f.add(log, end.info, 0, end.data)
		f.add(xact, commit, 7, plain())
		f.add(xact, commitPrepared, 0, u32(0, 0, 16, 8))
		f.add(xact, commit, 21, plain())

		got, err := f.run(t)
		if !fail.Is(err, fail.NotFound) || len(got) != 4 {
			t.Fatalf("%d transactions, %v", len(got), err)
		}

		if len(got[1].Tags) != 0 || len(got[2].Tags) != 1 || got[2].GID != "gid" {
			t.Errorf("%+v", got)
		}

		if got[3].Whole != (end.info == 0) {
			t.Errorf("behind %02X a new transaction is called whole: %v", end.info, got[3].Whole)
		}
	}
}

// Tags of subtransactions go with them.
func TestSubtransactions(t *testing.T) {
	f := &forged{major: 14}
	f.add(message, 0, 9, tag("kept"))
	f.add(message, 0, 10, tag("rolled back"))
	f.add(message, 0, 7, tag("above"))
	f.add(xact, abort, 10, plain())
	f.add(message, 0, 11, tag("unnamed"))
	f.add(xact, commit, 7, u32(0, 0, 2, 2, 9, 10))

	got, err := f.run(t)
	if !fail.Is(err, fail.NotFound) || len(got) != 2 || len(got[1].Tags) != 2 || got[1].Tags[0].Content != "kept" || got[1].Tags[1].Content != "above" {
		t.Errorf("%+v, %v", got, err)
	}
}

// filled is a log of two pages, the first filled by two records, of which the
// first has a length.
func filled(first int) *forged {
	f := &forged{major: 13}
	const room = wal.PageSize - 40

	f.add(10, 0, 3, make([]byte, first-29))
	f.add(10, 0, 3, make([]byte, room-first-29))
	f.add(xact, commit, 3, plain())

	return f
}

// Bytes of another history of the same place are found by the record that they
// name as the one before, also where pages, lengths and checksums are right.
func TestSplicedHistories(t *testing.T) {
	one, two := filled(4000), filled(4008)
	if got, err := one.run(t); len(got) != 1 || !fail.Is(err, fail.NotFound) {
		t.Fatal(err)
	}
	one.b = append(one.b[:wal.PageSize:wal.PageSize], two.b[wal.PageSize:]...)

	if _, err := one.run(t); !fail.Is(err, fail.Corrupt) {
		t.Errorf("two histories: %v", err)
	}

	f := &forged{major: 13}
	f.add(10, 0, 3, make([]byte, 5*wal.PageSize))
	f.add(xact, commit, 3, plain())
	f.b[3*wal.PageSize+16]++ // how much of the record is to come

	if _, err := f.runFrom(t, 1, &wal.Transactions{}); !fail.Is(err, fail.Corrupt) {
		t.Errorf("a record of another length at the start: %v", err)
	}
}

// A start behind a switch finds the next segment; one where the records before
// the switch are gone finds that they are.
func TestHoleAtTheStart(t *testing.T) {
	f := &forged{major: 17}
	f.add(10, 0, 3, make([]byte, 3*wal.PageSize))
	f.switchSegment()
	f.add(xact, commit, 3, plain())

	for _, page := range []int{0, 1, 4, 50, forgedSegment/wal.PageSize - 1, forgedSegment / wal.PageSize} {
		if got, err := f.runFrom(t, page, &wal.Transactions{}); len(got) != 1 || !fail.Is(err, fail.NotFound) {
			t.Errorf("from page %d: %d transactions, %v", page, len(got), err)
		}
	}

	hole := bytes.Clone(f.b[:40])
	hole = append(hole, make([]byte, forgedSegment-40)...)
	f.b = append(hole, f.b[forgedSegment:]...)

	if _, err := f.run(t); !fail.Is(err, fail.Corrupt) {
		t.Errorf("the records before the switch are gone: %v", err)
	}

	if got, err := f.runFrom(t, 60, &wal.Transactions{}); len(got) != 1 {
		t.Errorf("from behind the hole: %d transactions, %v", len(got), err)
	}
}
