package wal_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets/postgres/wal"
)

func mustBeCorrupt(t *testing.T, what string, src io.Reader, o wal.Options) {
	t.Helper()

	if _, _, err := try(src, o); !fail.Is(err, fail.Corrupt) {
		t.Errorf("%s: %v", what, err)
	}
}

// sample makes a real log, small enough to be read many times.
func sample(t *testing.T) (stretch, []byte) {
	t.Helper()
	c := newCluster(t, sandboxtest.Tools(t), 1<<20, nil)
	do(t, c.connect(t), "SELECT pg_switch_wal()")

	var d diary
	c.load(t, &d, 1, 3, 25)
	s := c.finish(t)

	return s, s.bytes(t)
}

// TestDamage reads one real log whole, in parts and damaged.
func TestDamage(t *testing.T) {
	t.Parallel()
	s, log := sample(t)
	o := s.options()
	o.All = true
	all, _ := read(t, bytes.NewReader(log), o)

	for name, test := range map[string]func(*testing.T, stretch, []byte, []wal.Record){
		"a flipped bit is found": flipped, "a start anywhere": anywhere, "an end anywhere": cut,
		"bytes of another place": misplaced, "a source that trickles": trickle,
		"a segment made and not written": unwritten,
	} {
		t.Run(name, func(t *testing.T) { test(t, s, log, all) })
	}
}

// flipped damages single bits of records and of page headers.
func flipped(t *testing.T, s stretch, log []byte, all []wal.Record) {
	rnd := rand.New(rand.NewPCG(7, 7))
	o := s.options()

	for range 200 {
		rec := all[rnd.IntN(len(all)-1)]
		at := rec.Start + wal.LSN(rnd.IntN(int(min(rec.Length, uint32(rec.End-rec.Start)))))
		b := bytes.Clone(log)
		b[at-s.start] ^= 1 << rnd.IntN(8)
		// From the segment on in which the record begins: the rest was read before.
		from := rec.Start - rec.Start%wal.LSN(s.segment)
		o.Start = from

		if removable(at, b, log, s.start) {
			continue
		}

		mustBeCorruptAt(t, bytes.NewReader(b[from-s.start:]), o, at)
	}
}

// removable reports whether the damage hit a bit of a page header that says
// nothing, or the unused end of one.
func removable(at wal.LSN, b, log []byte, start wal.LSN) bool {
	in := at % wal.PageSize
	return in == 2 && b[at-start]^log[at-start] == 4 || in >= 20 && in < 24
}

func mustBeCorruptAt(t *testing.T, src io.Reader, o wal.Options, at wal.LSN) {
	t.Helper()

	_, r, err := try(src, o)
	if code := fail.CodeOf(err); code != fail.Corrupt && code != fail.Unsupported {
		t.Errorf("damage at %v: %v", at, err)
	} else if r.End() > at {
		t.Errorf("damage at %v was found behind %v: %v", at, r.End(), err)
	}
}

// anywhere begins at pages here and there: the same records follow, and no
// transaction is called whole that lacks a tag.
func anywhere(t *testing.T, s stretch, log []byte, all []wal.Record) {
	whole := decided(t, bytes.NewReader(log), s.options())

	full := map[wal.LSN]wal.Transaction{}
	for _, x := range whole.transactions {
		full[x.Start] = x
	}
	incomplete := 0

	for page := 0; page < len(log)/wal.PageSize; page += 3 {
		o := s.options()
		o.Start += wal.LSN(page * wal.PageSize)

		o.All = true
		if page%2 == 0 {
			o.SegmentSize = 0
		}

		src := log[page*wal.PageSize:]
		got, _ := read(t, bytes.NewReader(src), o)

		want := all
		for len(want) > 0 && want[0].Start < o.Start {
			want = want[1:]
		}

		if len(got) != len(want) || len(got) > 0 && (got[0].Start != want[0].Start || got[0].Length != want[0].Length) {
			t.Fatalf("from %v: %d records, want %d", o.Start, len(got), len(want))
		}

		e := decided(t, bytes.NewReader(src), o)
		for _, x := range e.transactions {
			y := full[x.Start]

			same := len(x.Tags) == len(y.Tags) && x.GID == y.GID
			if (x.Whole || e.known && x.Start >= e.knows) && !same {
				t.Errorf("from %v: %v of %d at %v is called whole with %d tags and %q, it has %d and %q", o.Start, x.Outcome, x.XID, x.Start, len(x.Tags), x.GID, len(y.Tags), y.GID)
			}

			if !same {
				incomplete++
			}
		}

		if len(want) > 0 {
			o.From = want[len(want)/2].Start

			got, _ = read(t, bytes.NewReader(src), o)
			if got[0].Start != o.From {
				t.Errorf("from %v the first record is %v", o.From, got[0].Start)
			}
		}
	}

	if incomplete == 0 {
		t.Error("no start was in the middle of a transaction")
	}
}

// cut ends the log at all kinds of places: each whole record before it comes,
// and the place where the next one begins is exact.
func cut(t *testing.T, s stretch, log []byte, all []wal.Record) {
	rnd := rand.New(rand.NewPCG(9, 9))
	o := s.options()
	o.All = true

	for i := range 60 {
		n := rnd.IntN(len(all) - 2)

		end := all[n].End
		switch i % 3 {
		case 1: // inside the next record
			end = all[n+1].Start + 1 + wal.LSN(rnd.IntN(int(all[n+1].Length)-1))
		case 2: // inside the record or its alignment
			end = min(all[n+1].Start+wal.LSN(all[n+1].Length), all[n+1].End)
		}

		for _, zeros := range []int{0, 3 * wal.PageSize} {
			// A record that was cut off and padded is damage on one page, and an end over pages.
			src := append(bytes.Clone(log[:end-s.start]), make([]byte, zeros)...)

			got, r, err := try(bytes.NewReader(src), o)
			if zeros > 0 && fail.Is(err, fail.Corrupt) && i%3 != 0 {
				continue
			}

			// What was cut off may have been zeros itself.
			there := end
			for zeros > 0 && int(there-s.start) < len(log) && log[there-s.start] == 0 && there < end+wal.LSN(zeros) {
				there++
			}

			whole := 0
			for whole < len(all) && all[whole].Start+wal.LSN(all[whole].Length) <= there && all[whole].End <= there+7 {
				whole++
			}

			if !errors.Is(err, io.EOF) || len(got) > whole || len(got) < whole-1 {
				t.Fatalf("cut at %v with %d zeros: %d records of %d, %v", end, zeros, len(got), whole, err)
			}

			if r.End() != all[len(got)-1].End || r.NextStart() != all[len(got)].Start {
				t.Errorf("cut at %v: the log ends at %v and goes on at %v, want %v and %v", end, r.End(), r.NextStart(), all[len(got)-1].End, all[len(got)].Start)
			}
		}
	}
}

// misplaced puts bytes where they do not belong.
func misplaced(t *testing.T, s stretch, log []byte, all []wal.Record) {
	segment := int(s.segment)
	o := s.options()

	swapped := bytes.Clone(log)
	copy(swapped[segment:2*segment], log[2*segment:3*segment])
	mustBeCorrupt(t, "another segment", bytes.NewReader(swapped), o)

	hole := bytes.Clone(log)
	page := len(log) / 2 / wal.PageSize * wal.PageSize
	clear(hole[page : page+wal.PageSize])
	mustBeCorrupt(t, "a page of zeros", bytes.NewReader(hole), o)

	last := all[len(all)/2]

	clear(hole)
	copy(hole, log)
	clear(hole[last.Start-s.start : (last.Start-s.start)/wal.PageSize*wal.PageSize+wal.PageSize])
	mustBeCorrupt(t, "zeros to the end of a page", bytes.NewReader(hole), o)

	// An emptied segment at the start looks like the rest of one behind a switch.
	empty := bytes.Clone(log[segment:])
	for page := 0; page < segment; page += wal.PageSize {
		header := 24
		if page == 0 {
			header = 40
		}
		empty[page+2] &^= 1 // no record goes on here
		clear(empty[page+16 : page+20])
		clear(empty[page+header : page+wal.PageSize])
	}
	o.Start += wal.LSN(segment)
	mustBeCorrupt(t, "an emptied segment", bytes.NewReader(empty), o)

	for what, change := range map[string]func(*wal.Options){
		"another system":       func(o *wal.Options) { o.System = 1 },
		"another segment size": func(o *wal.Options) { o.SegmentSize = 16 << 20 },
		"another place":        func(o *wal.Options) { o.Start += wal.LSN(s.segment) },
		"another timeline":     func(o *wal.Options) { o.Timelines = []wal.Timeline{{ID: 7}} },
	} {
		wrong := s.options()
		change(&wrong)
		mustBeCorrupt(t, what, bytes.NewReader(log), wrong)
	}
}

// unwritten ends with a segment of zeros behind a switch: the log goes on there.
func unwritten(t *testing.T, s stretch, log []byte, all []wal.Record) {
	next := s.start + wal.LSN(len(log))

	for _, zeros := range []int{0, int(s.segment)} {
		_, r := read(t, bytes.NewReader(append(bytes.Clone(log), make([]byte, zeros)...)), s.options())
		if r.End() != next || r.NextStart() != next+40 {
			t.Errorf("with %d zeros the log ends at %v and goes on at %v, want %v and 40 bytes behind", zeros, r.End(), r.NextStart(), next)
		}
	}
	more := append(append(bytes.Clone(log), make([]byte, s.segment)...), log[:s.segment]...)
	mustBeCorrupt(t, "a segment not written inside the log", bytes.NewReader(more), s.options())
}

// A trickling source gives some bytes, and nothing for the time being after each.
type trickling struct {
	b   []byte
	n   int
	dry bool
}

func (s *trickling) Read(p []byte) (int, error) {
	if s.dry = !s.dry; s.dry || len(s.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.b[:min(s.n, len(s.b))])
	s.b = s.b[n:]

	return n, nil
}

// trickle reads a log while it grows: asking again goes on where it ended.
func trickle(t *testing.T, s stretch, log []byte, all []wal.Record) {
	o := s.options()
	o.All = true
	src := &trickling{b: log, n: 777}

	r, err := wal.NewReader(src, o)
	if err != nil {
		t.Fatal(err)
	}

	for i, want := range all {
		rec, err := r.Next()
		for errors.Is(err, io.EOF) && len(src.b) > 0 {
			rec, err = r.Next()
		}

		if err != nil || rec.Start != want.Start || rec.End != want.End {
			t.Fatalf("record %d: %v to %v, %v; want %v to %v", i, rec.Start, rec.End, err, want.Start, want.End)
		}
	}
}
