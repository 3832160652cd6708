package wal

import (
	"fmt"
	"hash/crc32"
	"io"

	"drctl/internal/fail"
)

// Timeline says that a timeline's bytes are read from a place on.
type Timeline struct {
	ID    uint32
	Begin LSN // where it left its parent; of no meaning for the first of a list
}

// Options say what a Reader reads.
type Options struct {
	// Start is the place of the source's first byte: the start of a page. The page
	// may begin in the middle of a record, which is passed over.
	Start LSN
	// From is where the first record wanted begins, or some place before it.
	From LSN
	// SegmentSize in bytes; 0: learned from the first segment that begins.
	SegmentSize uint64
	// System is the identifier of the cluster; 0: that of the first segment.
	System uint64
	// Timelines are those on the way, oldest first. None: that of the first
	// page, and no other.
	Timelines []Timeline
	// All returns every record, not only those that a proof needs.
	All bool
}

// Reader reads records in log order. It is not safe for concurrent use.
type Reader struct {
	src       io.Reader
	start     LSN
	from      LSN
	all       bool
	timelines []Timeline
	segment   uint64
	system    uint64
	major     int // 0 until the first page was read

	buf     []byte
	at, end int // buf[at:end] was read and not used yet
	pos     LSN // of buf[at]; at the start of a page its header is still to come

	rec     Record // the last whole one
	part    partial
	skip    uint32 // bytes of a record that began before Start, still to come
	padding bool   // behind a switch: nothing comes before the next segment
	blank   bool   // zeros were met: nothing may come any more
	begun   bool   // a page was read

	prev, last LSN // start and end of the last whole record; 0 before the first
	given      LSN // start of a record that was given up, until its notice
	err        error
}

// partial is a record of which not all pages were read.
type partial struct {
	start  LSN
	head   [recordHeader]byte
	got    uint32 // bytes read, header included
	length uint32 // 0: there is none
	crc    uint32
	kind   Kind
	keep   int
	body   []byte
}

// bufferSize is what is read at once: a page at least.
const bufferSize = 256 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// NewReader reads the log from a source. What cannot be an option is invalid.
func NewReader(src io.Reader, o Options) (*Reader, error) {
	const op = "read log"
	switch s := o.SegmentSize; {
	case o.Start%PageSize != 0:
		return nil, fail.New(fail.Invalid, op, o.Start.String(), "begin at the start of a page", nil)
	case s != 0 && (s < minSegment || s > maxSegment || s&(s-1) != 0):
		return nil, fail.Newf(fail.Invalid, op, o.Start.String(), "segments of %d bytes", s)
	}

	for i := 2; i < len(o.Timelines); i++ {
		if o.Timelines[i].Begin < o.Timelines[i-1].Begin {
			return nil, fail.Newf(fail.Invalid, op, o.Start.String(), "timeline %d begins before its parent", o.Timelines[i].ID)
		}
	}

	return &Reader{src: src, start: o.Start, from: o.From, all: o.All, timelines: o.Timelines, segment: o.SegmentSize, system: o.System,
		buf: make([]byte, bufferSize), pos: o.Start}, nil
}

// Major is the version that wrote the log; 0 before the first record.
func (r *Reader) Major() int { return r.major }

// SegmentSize in bytes; 0 while it is not known.
func (r *Reader) SegmentSize() uint64 { return r.segment }

// End is where the last whole record ends; 0 before the first.
func (r *Reader) End() LSN { return r.last }

// NextStart is where the next record begins, or would begin if there were one.
// It is exact once a record was read.
func (r *Reader) NextStart() LSN {
	next := r.pos.align()
	switch {
	case r.part.length != 0:
		return r.part.start
	case r.padding && r.segment != 0:
		next = (next + LSN(r.segment) - 1) &^ LSN(r.segment-1)
	}

	return next.RecordStart(r.segment)
}

// Next returns the next record that a proof needs, or the next of all.
//
// Where the source ends, or has nothing but zeros any more, the error wraps
// io.EOF and is of the code not-found; a source that grows may be asked again,
// and nothing is lost. Bytes that cannot be the log of this place are corrupt,
// for good. What the source itself fails with is handed on, and may be tried
// again.
func (r *Reader) Next() (Record, error) {
	for r.err == nil {
		whole, err := r.step()
		if err != nil {
			if fail.Is(err, fail.Corrupt) || fail.Is(err, fail.Unsupported) {
				r.err = err
			}

			return Record{}, err
		}

		if whole && (r.all || r.rec.Kind != Other) && r.rec.Start >= r.from {
			return r.rec, nil
		}
	}

	return Record{}, r.err
}

// step reads one page header, one record or one part of a record.
func (r *Reader) step() (whole bool, err error) {
	if r.blank {
		return false, r.checkBlank()
	}

	if r.pos%PageSize == 0 {
		return false, r.enterPage()
	}
	room := uint32(PageSize - r.pos%PageSize)

	switch {
	case r.padding:
		return false, r.pass(room)
	case r.skip > 0:
		n := min(room, r.skip)
		if err := r.pass(n); err != nil {
			return false, err
		}

		r.skip -= n

		return false, nil
	case r.part.length != 0:
		return r.goOn(room)
	case r.pos%8 != 0:
		return false, r.pass(uint32(r.pos.align() - r.pos))
	}

	return r.begin(room)
}

// begin reads a record that begins here, or the part of it on this page.
func (r *Reader) begin(room uint32) (whole bool, err error) {
	if err := r.fill(8); err != nil {
		return false, err
	}

	length := le.Uint32(r.buf[r.at:])
	switch {
	case length == 0:
		r.empty()
		return false, nil
	case length < recordHeader || length > longestRecord:
		return false, corrupt(r.pos, "a record of %d bytes", length)
	case length > room:
		r.part = partial{start: r.pos, length: length, body: r.part.body[:0]}
		return r.goOn(room)
	}

	if err := r.fill(int(length)); err != nil {
		return false, err
	}
	b, start := r.buf[r.at:r.at+int(length)], r.pos

	if err := r.checkHead(start, b); err != nil {
		return false, err
	}
	crc := crc32.Update(crc32.Update(0, castagnoli, b[recordHeader:]), castagnoli, b[:20])
	kind, _ := kindOf(b[17], b[16])

	r.use(int(length))

	return true, r.finish(start, b[:recordHeader], b[recordHeader:], crc, kind)
}

// goOn reads the part of a record on this page.
func (r *Reader) goOn(room uint32) (whole bool, err error) {
	p := &r.part

	n := min(room, p.length-p.got)
	if err := r.fill(int(n)); err != nil {
		return false, err
	}
	b := r.buf[r.at : r.at+int(n)]

	if p.got < recordHeader {
		k := copy(p.head[p.got:], b)
		b = b[k:]

		if p.got+uint32(k) == recordHeader {
			if err := r.checkHead(p.start, p.head[:]); err != nil {
				return false, err
			}
			p.kind, p.keep = kindOf(p.head[17], p.head[16])
		}
	}

	p.crc = crc32.Update(p.crc, castagnoli, b)
	if more := min(len(b), p.keep-len(p.body)); more > 0 {
		p.body = append(p.body, b[:more]...)
	}
	p.got += n
	r.use(int(n))

	if p.got < p.length {
		return false, nil
	}

	err = r.finish(p.start, p.head[:], p.body, crc32.Update(p.crc, castagnoli, p.head[:20]), p.kind)

	p.length = 0
	if cap(p.body) > 1<<20 { // a giant is rare; its memory is not kept
		p.body = nil
	}

	return true, err
}

// checkHead refuses a record that cannot stand here.
func (r *Reader) checkHead(start LSN, head []byte) error {
	prev, manager := LSN(le.Uint64(head[8:])), head[17]
	switch {
	case r.prev != 0 && prev != r.prev:
		return corrupt(start, "the record names %v as the one before it, which is %v", prev, r.prev)
	case r.prev == 0 && prev >= r.start:
		return corrupt(start, "the record names %v as the one before it, where nothing was found", prev)
	case manager > lastBuiltIn && manager < firstCustom:
		return corrupt(start, "a record of the unknown manager %d", manager)
	}

	return nil
}

// finish makes a record of bytes that were read to its end.
func (r *Reader) finish(start LSN, head, body []byte, crc uint32, kind Kind) error {
	if want := le.Uint32(head[20:]); crc != want {
		return corrupt(start, "the record has the checksum %08X instead of %08X", crc, want)
	}

	rec := &r.rec

	*rec = Record{Start: start, End: r.pos.align(), Previous: LSN(le.Uint64(head[8:])), Kind: kind, XID: le.Uint32(head[4:]),
		Manager: head[17], Info: head[16], Length: le.Uint32(head), major: r.major, body: body}
	if kind == SegmentSwitch {
		r.padding = true
		if r.segment != 0 { // as the server has it
			rec.End = (rec.End + LSN(r.segment) - 1) &^ LSN(r.segment-1)
		}
	}

	if r.given != 0 {
		if err := r.checkGiven(*rec); err != nil {
			return err
		}
	}
	r.prev, r.last = start, rec.End

	if pad := int(r.pos.align() - r.pos); r.end-r.at >= pad { // else the next step waits for it
		r.use(pad)
	}

	return nil
}

// checkGiven wants the notice of the record that the last page gave up.
func (r *Reader) checkGiven(rec Record) error {
	given := r.given
	r.given = 0

	data, _, err := rec.main()
	if rec.Kind != Overwrite || err != nil || len(data) < 8 || LSN(le.Uint64(data)) != given {
		return corrupt(rec.Start, "no notice of the record at %v, which a crash cut off", given)
	}

	return nil
}

// enterPage reads the header of the page that begins here.
func (r *Reader) enterPage() error {
	if err := r.fill(shortHeader); err != nil {
		return err
	}

	b := r.buf[r.at:r.end]
	if zero(b[:shortHeader]) {
		switch {
		case r.padding && r.segment != 0 && uint64(r.pos)%r.segment == 0: // made, not written
			r.padding, r.blank = false, true
			return nil
		case !r.padding && !r.empty():
			return nil
		}
		r.begun = true

		return r.pass(shortHeader)
	}

	p := parsePage(b[:shortHeader])
	if p.has(pageLong) {
		if err := r.fill(longHeader); err != nil {
			return err
		}
		p = parsePage(r.buf[r.at : r.at+longHeader])
	}

	if err := r.checkPage(p); err != nil {
		return err
	}

	if err := r.join(p); err != nil {
		return err
	}
	r.begun = true
	r.use(p.size())

	return nil
}

// empty takes in that there is nothing here, which is the end of the log. Before
// the first record it may be the rest of a segment behind a switch: that the
// record behind it names one from before the start shows later that it was.
func (r *Reader) empty() (padding bool) {
	r.padding = r.last == 0 && r.skip == 0 && r.part.length == 0
	r.blank = !r.padding

	return r.padding
}

// join connects a page with what came before it.
func (r *Reader) join(p page) error {
	if r.padding = r.padding && !p.has(pageLong); r.padding {
		if p.rest != 0 || p.has(pageOverwritten) {
			return corrupt(r.pos, "a page with records behind the last of its segment")
		}

		return nil
	}

	left := r.skip
	if r.part.length != 0 {
		left = r.part.length - r.part.got
	}

	switch {
	case p.has(pageOverwritten):
		if r.part.length != 0 {
			r.given = r.part.start
		}
		r.part.length, r.skip = 0, 0
	case !r.begun:
		r.skip = p.rest
	case p.rest != left:
		return corrupt(r.pos, "the page begins with %d bytes of a record of which %d are to come", p.rest, left)
	}

	return nil
}

// checkBlank reads on behind the end of the log, where nothing but zeros may
// be: a hole is damage, not the end.
func (r *Reader) checkBlank() error {
	for {
		if err := r.fill(1); err != nil {
			return err
		}

		b := r.buf[r.at:r.end]
		if !zero(b) {
			return corrupt(r.NextStart(), "zeros instead of a record, and more log behind them")
		}
		r.at = r.end
	}
}

// pass uses up n bytes that say nothing.
func (r *Reader) pass(n uint32) error {
	if err := r.fill(int(n)); err != nil {
		return err
	}

	r.use(int(n))

	return nil
}

func (r *Reader) use(n int) {
	r.at += n
	r.pos += LSN(n)
}

// fill waits until n bytes, a page at most, lie in the buffer, and reads no
// more often than that needs.
func (r *Reader) fill(n int) error {
	for idle := 0; r.end-r.at < n; {
		if r.at == r.end || len(r.buf)-r.at < n {
			r.end = copy(r.buf, r.buf[r.at:r.end])
			r.at = 0
		}

		k, err := r.src.Read(r.buf[r.end:])

		r.end += k
		switch {
		case k > 0:
			idle = 0
		case err == io.EOF:
			return r.ended()
		case err != nil:
			return fail.From(fail.Unavailable, "read log", r.pos.String(), err)
		default:
			if idle++; idle > 100 {
				return fail.From(fail.Internal, "read log", r.pos.String(), io.ErrNoProgress)
			}
		}
	}

	return nil
}

// ended says where the log ends.
func (r *Reader) ended() error {
	return fail.New(fail.NotFound, "read log", r.NextStart().String(), "", fmt.Errorf("the log ends here: %w", io.EOF))
}

func zero(b []byte) bool {
	for len(b) >= 8 {
		if le.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}

	for _, c := range b {
		if c != 0 {
			return false
		}
	}

	return true
}
