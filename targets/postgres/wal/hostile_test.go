package wal_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"testing"

	"drctl/internal/fail"
	"drctl/targets/postgres/wal"
)

var order = binary.LittleEndian

// A forged log holds records that no server writes, with checksums that fit.
type forged struct {
	major int
	b     []byte
	prev  uint64
}

const (
	forgedStart   = 1 << 30
	forgedSegment = 1 << 20
)

// write adds a byte stream, with page headers in between.
func (f *forged) write(b []byte, record int) {
	for i := 0; i < len(b); {
		if len(f.b)%wal.PageSize == 0 {
			f.header(record - i)
		}
		n := min(len(b)-i, wal.PageSize-len(f.b)%wal.PageSize)
		f.b = append(f.b, b[i:i+n]...)
		i += n
	}
}

// header begins a page on which a record goes on with rest bytes.
func (f *forged) header(rest int) {
	h := make([]byte, 24)
	magic := map[int]uint16{13: 0xD106, 14: 0xD10D, 15: 0xD110, 16: 0xD113, 17: 0xD116, 18: 0xD118}[f.major]
	order.PutUint16(h, magic)
	order.PutUint32(h[4:], 1)
	order.PutUint64(h[8:], forgedStart+uint64(len(f.b)))

	if f.prev != 0 && rest > 0 {
		h[2] |= 1
		order.PutUint32(h[16:], uint32(rest))
	}

	if len(f.b)%forgedSegment == 0 {
		h = append(h, make([]byte, 16)...)
		h[2] |= 2
		order.PutUint32(h[32:], forgedSegment)
		order.PutUint32(h[36:], wal.PageSize)
	}
	f.b = append(f.b, h...)
}

// add adds a record with main data.
func (f *forged) add(manager, info byte, xid uint32, data []byte) {
	if len(f.b)%wal.PageSize == 0 {
		first := f.prev
		f.prev = 0
		f.header(0)
		f.prev = first
	}

	rec := make([]byte, 24, 29+len(data))
	order.PutUint32(rec[4:], xid)
	order.PutUint64(rec[8:], f.prev)

	rec[16], rec[17] = info, manager
	if data != nil {
		rec = order.AppendUint32(append(rec, 254), uint32(len(data)))
		rec = append(rec, data...)
	}

	order.PutUint32(rec, uint32(len(rec)))
	table := crc32.MakeTable(crc32.Castagnoli)
	order.PutUint32(rec[20:], crc32.Update(crc32.Checksum(rec[24:], table), table, rec[:20]))

	f.b = slices.Grow(f.b, len(rec)+len(rec)/300+wal.PageSize)
	f.prev = forgedStart + uint64(len(f.b))
	f.write(rec, len(rec))

	for len(f.b)%8 != 0 {
		f.b = append(f.b, 0)
	}
}

// switchSegment leaves the rest of the segment empty.
func (f *forged) switchSegment() {
	f.add(0, 0x40, 0, nil)
	f.b = append(f.b, make([]byte, forgedSegment-len(f.b)%forgedSegment)...)
}

// run returns the first error of the reader or of what stands on it.
func (f *forged) run(t *testing.T) (out []wal.Transaction, err error) {
	t.Helper()
	return f.runFrom(t, 0, &wal.Transactions{})
}

// runFrom begins at a page.
func (f *forged) runFrom(t *testing.T, page int, x *wal.Transactions) (out []wal.Transaction, err error) {
	t.Helper()
	skipped := page * wal.PageSize

	r, err := wal.NewReader(bytes.NewReader(f.b[skipped:]), wal.Options{Start: forgedStart + wal.LSN(skipped)})
	if err != nil {
		t.Fatal(err)
	}

	for {
		rec, err := r.Next()
		if err != nil {
			return out, err
		}

		step, err := x.Add(rec)
		if err != nil {
			return out, err
		}

		if step.Transaction != nil {
			out = append(out, *step.Transaction)
		}
	}
}

func u32(vs ...uint32) (b []byte) {
	for _, v := range vs {
		b = order.AppendUint32(b, v)
	}

	return b
}

// tag is a transactional message of drctl.
func tag(content string) []byte {
	b := u32(5, 1)
	b = order.AppendUint64(b, uint64(len("drctl/global")+1))
	b = order.AppendUint64(b, uint64(len(content)))

	return append(append(b, "drctl/global\x00"...), content...)
}

// prepare15 is the state of a prepared transaction, from 15 on.
func prepare15(xid uint32, gid string) []byte {
	b := u32(0x57F94534, 0, xid, 5, 0, 0, 10, 0, 0, 0, 0, 0, 0)
	b = append(b, 0, 0)
	b = order.AppendUint16(b, uint16(len(gid)+1))
	b = append(b, make([]byte, 16)...)
	b = append(append(b, gid...), 0)

	return append(b, make([]byte, 7)...)
}

const (
	commit, abort, commitPrepared = 0x80, 0xA0, 0xB0 // with flags behind the time
	xact, message                 = 1, 21
)

// Records whose fields do not fit together are refused, whatever they claim, and
// those that do fit are read.
func TestForgedRecords(t *testing.T) {
	time := u32(0, 0)
	with := func(parts ...[]byte) []byte { return append(bytes.Clone(time), bytes.Join(parts, nil)...) }

	for name, c := range map[string]struct {
		info byte
		xid  uint32
		data []byte
		want fail.Code
	}{
		"a commit":                                 {commit, 7, with(u32(0)), fail.NotFound},
		"subtransactions":                          {commit, 7, with(u32(2, 2, 8, 9)), fail.NotFound},
		"every part":                               {commit, 7, with(u32(1|2|4|8|1<<5|1<<8, 5, 1663, 1, 8, 1, 1, 2, 3, 1, 1, 2, 3, 4, 1, 1, 2, 3, 4, 1, 2, 3, 4)), fail.NotFound},
		"more subtransactions than bytes":          {commit, 7, with(u32(2, 1<<31, 8, 9)), fail.Corrupt},
		"a count that wraps around":                {commit, 7, with(u32(2, 1<<30, 8, 9)), fail.Corrupt},
		"more files than bytes":                    {abort, 7, with(u32(4, 1<<32-1)), fail.Corrupt},
		"more invalidations than bytes":            {commit, 7, with(u32(8, 1<<28)), fail.Corrupt},
		"no flags":                                 {commit, 7, with(), fail.Corrupt},
		"no transaction":                           {commit, 0, with(u32(0)), fail.Corrupt},
		"no time":                                  {commit, 7, u32(0, 1<<30, 0), fail.Corrupt},
		"the end of a prepared one":                {commitPrepared, 0, with(u32(16|128, 7), []byte("gid\x00")), fail.NotFound},
		"the end of none":                          {commitPrepared, 0, with(u32(0)), fail.Corrupt},
		"a plain commit of a prepared one":         {commit, 7, with(u32(16, 7)), fail.Corrupt},
		"an identifier without an end":             {commitPrepared, 0, with(u32(16|128, 7), []byte("gid")), fail.Corrupt},
		"an identifier that is too long":           {commitPrepared, 0, with(u32(16|128, 7), bytes.Repeat([]byte("g"), 300), []byte{0}), fail.Corrupt},
		"prepared":                                 {0x10, 7, prepare15(7, "gid"), fail.NotFound},
		"prepared with an identifier cut in two":   {0x10, 7, prepare15(7, "g\x00d"), fail.Corrupt},
		"prepared with an identifier too long":     {0x10, 7, prepare15(7, string(bytes.Repeat([]byte("g"), 250))), fail.Corrupt},
		"prepared with another mark":               {0x10, 7, append([]byte{1}, prepare15(7, "gid")[1:]...), fail.Corrupt},
		"prepared with subtransactions not there":  {0x10, 7, append(append(prepare15(7, "gid")[:28:28], u32(1<<30)...), prepare15(7, "gid")[32:]...), fail.Corrupt},
		"prepared and cut off":                     {0x10, 7, prepare15(7, "gid")[:60], fail.Corrupt},
		"a commit with more than a proof may need": {commit, 7, with(u32(2, 20<<20), make([]byte, 80<<20)), fail.Unsupported},
	} {
		t.Run(name, func(t *testing.T) {
			f := &forged{major: 18}
			f.add(xact, c.info, c.xid, c.data)
			got, err := f.run(t)

			if !fail.Is(err, c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}

			if c.want == fail.NotFound && (len(got) != 1 || got[0].XID != 7) {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestForgedMessages(t *testing.T) {
	cut := tag("abc")
	order.PutUint64(cut[16:], 1<<40)
	endless := tag("abc")
	order.PutUint64(endless[8:], 1<<63)
	joined := bytes.ReplaceAll(tag("abc"), []byte{'l', 0}, []byte("la"))

	for name, data := range map[string][]byte{"a content that is not there": cut, "a prefix of half the world": endless,
		"a prefix without an end": joined, "nothing": {}, "half a head": tag("")[:10]} {
		f := &forged{major: 15}
		f.add(message, 0, 7, data)

		if _, err := f.run(t); !fail.Is(err, fail.Corrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}

	f := &forged{major: 15}
	f.add(message, 0, 7, tag(string(make([]byte, 100_000))))
	f.add(xact, commit, 7, append(u32(0, 0), u32(0)...))

	got, err := f.run(t)
	if len(got) != 1 || len(got[0].Tags) != 1 || len(got[0].Tags[0].Content) != wal.MaxContent || got[0].Tags[0].Size != 100_000 {
		t.Errorf("%d transactions, %v", len(got), err)
	}
}

// Open transactions cost bounded memory, and what ends gives it back.
func TestForgedMemory(t *testing.T) {
	big := tag(string(make([]byte, wal.MaxContent)))

	f := &forged{major: 16}
	for xid := range uint32(20_000) {
		f.add(message, 0, xid+3, big)
	}

	if _, err := f.run(t); !fail.Is(err, fail.Exhausted) {
		t.Errorf("%d open transactions with tags: %v", 20_000, err)
	}

	f = &forged{major: 16}
	for xid := uint32(3); xid < 20_003; xid++ {
		f.add(message, 0, xid, big)

		if xid%3 == 0 {
			f.add(xact, abort, xid, append(u32(0, 0), u32(0)...))
			continue
		}
		gid := fmt.Sprint("gid", xid)
		f.add(xact, 0x10, xid, prepare15(xid, gid))
		f.add(xact, commitPrepared, 0, append(append(u32(0, 0), u32(16|128, xid)...), gid+"\x00"...))
	}

	got, err := f.run(t)
	if !fail.Is(err, fail.NotFound) || len(got) != 33_333 {
		t.Errorf("%d outcomes, %v", len(got), err)
	}
}

// A transaction that ends under another identifier than it was prepared under,
// or is prepared twice, is damage.
func TestForgedOutcomes(t *testing.T) {
	f := &forged{major: 17}
	f.add(xact, 0x10, 7, prepare15(7, "one"))
	f.add(xact, commitPrepared, 0, append(append(u32(0, 0), u32(16|128, 7)...), "two\x00"...))

	if _, err := f.run(t); !fail.Is(err, fail.Corrupt) {
		t.Error(err)
	}

	f = &forged{major: 17}
	f.add(xact, 0x10, 7, prepare15(7, "one"))
	f.add(xact, 0x10, 7, prepare15(7, "one"))

	if _, err := f.run(t); !fail.Is(err, fail.Corrupt) {
		t.Error(err)
	}
}
