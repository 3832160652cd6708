package lab

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestJournalSurvivesATornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, err := OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	j.Append(Record{ID: "1", Kind: Order, Error: "binary \x00\n\xff safe"})
	time.Sleep(3 * FlushEvery)
	if b, err := os.ReadFile(path); err != nil || len(b) == 0 {
		t.Fatalf("nothing was written in time: %q %v", b, err)
	}
	j.Append(Record{ID: "2", Kind: Order})
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b[:len(b)-5], 0o600); err != nil { // as a kill in the middle of a write leaves it
		t.Fatal(err)
	}
	if j, err = OpenJournal(path); err != nil {
		t.Fatal(err)
	}
	j.Append(Record{ID: "3", Kind: Order})
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	var ids string
	torn, err := ReadJournal(path, func(r Record) error { ids += r.ID; return nil })
	if err != nil || torn != 1 || ids != "13" {
		t.Fatalf("%d torn, ids %q, %v", torn, ids, err)
	}
}

func TestPercentiles(t *testing.T) {
	d := make([]time.Duration, 0, 200)
	for i := 200; i > 0; i-- {
		d = append(d, time.Duration(i))
	}
	if p50, p99, most := percentiles(d); p50 != 101 || p99 != 199 || most != 200 {
		t.Fatal(p50, p99, most)
	}
	if p50, p99, most := percentiles(nil); p50 != 0 || p99 != 0 || most != 0 {
		t.Fatal(p50, p99, most)
	}
}
