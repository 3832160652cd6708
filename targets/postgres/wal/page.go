package wal

// PageSize is the size of a page of the log in bytes: what every packaged
// server is built with.
const PageSize = 8192

// The sizes of segments that initdb allows.
const (
	minSegment = 1 << 20
	maxSegment = 1 << 30
)

const (
	shortHeader = 24
	longHeader  = 40
)

// Flags of a page (xlp_info).
const (
	pageContinues   = 1 << iota // it begins with the rest of a record
	pageLong                    // it is the first of a segment
	pageRemovable               // of no interest to a reader
	pageOverwritten             // the record that should go on here was given up after a crash
	pageFlags       = iota
)

// major returns the version that writes pages with this mark
// (XLOG_PAGE_MAGIC in src/include/access/xlog_internal.h); 0 for others.
func major(magic uint16) int {
	switch magic {
	case 0xD106:
		return 13
	case 0xD10D:
		return 14
	case 0xD110:
		return 15
	case 0xD113:
		return 16
	case 0xD116:
		return 17
	case 0xD118:
		return 18
	}

	return 0
}

// page is the header of a page (XLogLongPageHeaderData).
type page struct {
	magic    uint16
	info     uint16
	timeline uint32
	address  LSN
	rest     uint32 // bytes of the record that goes on here

	// Of long headers alone.
	system      uint64
	segmentSize uint32
	pageSize    uint32
}

func (p page) has(flag uint16) bool { return p.info&flag != 0 }

func (p page) size() int {
	if p.has(pageLong) {
		return longHeader
	}

	return shortHeader
}

// parsePage reads a header; b holds the whole of it.
func parsePage(b []byte) page {
	p := page{magic: le.Uint16(b), info: le.Uint16(b[2:]), timeline: le.Uint32(b[4:]), address: LSN(le.Uint64(b[8:])), rest: le.Uint32(b[16:])}
	if p.has(pageLong) && len(b) >= longHeader {
		p.system, p.segmentSize, p.pageSize = le.Uint64(b[24:]), le.Uint32(b[32:]), le.Uint32(b[36:])
	}

	return p
}

// checkPage refuses a page that does not belong at the reader's place.
func (r *Reader) checkPage(p page) error {
	version := major(p.magic)
	switch {
	case version == 0:
		return unsupported(r.pos, "a page with the mark %04X, of no known version", p.magic)
	case r.major != 0 && r.major != version:
		return corrupt(r.pos, "a page of PostgreSQL %d in a log of %d", version, r.major)
	case p.info>>pageFlags != 0:
		return corrupt(r.pos, "a page with unknown flags %04X", p.info)
	case p.address != r.pos:
		return corrupt(r.pos, "the page says that it lies at %v", p.address)
	case p.has(pageContinues) != (p.rest != 0), p.has(pageContinues) && p.has(pageOverwritten):
		return corrupt(r.pos, "a page with flags %04X and %d bytes of a record begun before it", p.info, p.rest)
	case p.has(pageLong):
		if err := r.checkLong(p); err != nil {
			return err
		}
	case r.segment != 0 && uint64(r.pos)%r.segment == 0:
		return corrupt(r.pos, "the first page of a segment has a short header")
	}

	if len(r.timelines) == 0 {
		r.timelines = []Timeline{{ID: p.timeline}}
	}

	if want := r.timelineAt(r.pos); p.timeline != want {
		return corrupt(r.pos, "a page of timeline %d where %d is wanted", p.timeline, want)
	}
	r.major = version

	return nil
}

func (r *Reader) checkLong(p page) error {
	size := uint64(p.segmentSize)
	switch {
	case p.pageSize != PageSize:
		return unsupported(r.pos, "pages of %d bytes", p.pageSize)
	case size < minSegment || size > maxSegment || size&(size-1) != 0:
		return corrupt(r.pos, "segments of %d bytes", size)
	case r.segment != 0 && r.segment != size:
		return corrupt(r.pos, "segments of %d bytes where %d are wanted", size, r.segment)
	case uint64(r.pos)%size != 0:
		return corrupt(r.pos, "the header of a segment inside a segment")
	case r.system != 0 && r.system != p.system:
		return corrupt(r.pos, "a segment of system %d where %d is wanted", p.system, r.system)
	}
	r.segment, r.system = size, p.system

	return nil
}

// timelineAt returns the timeline whose bytes lie at a place.
func (r *Reader) timelineAt(at LSN) uint32 {
	id := r.timelines[0].ID
	for _, t := range r.timelines[1:] {
		if t.Begin <= at {
			id = t.ID
		}
	}

	return id
}
