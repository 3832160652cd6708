package wal

// Managers of changes to rows, and what is kept of their records where they go over
// pages.
const (
	managerHeap2 = 9
	managerHeap  = 10
	keepRows     = 24 << 10
)

// Operation is what happened to rows.
type Operation uint8

// The operations.
const (
	Inserted Operation = iota + 1
	Updated
	Deleted
)

// Change is a record that changed rows of a table of the usual kind, its TOAST table or
// a catalog. An aborted transaction has some, too.
type Change struct {
	Operation Operation
	Rows      int
	// Space, Database and File name the file of the table: pg_relation_filenode and
	// the identifiers of its tablespace and database. A rewrite (VACUUM FULL, TRUNCATE)
	// gives a table another file.
	Space, Database, File uint32
}

// keepOf is how many bytes of a record that is no proof's are kept for Change and Space.
func keepOf(manager, info uint8) int {
	switch {
	case manager == managerSpace:
		return keepSpace
	case manager == managerHeap:
		return keepShort
	case manager == managerHeap2 && info&0x70 == 0x50:
		return keepRows
	}

	return 0
}

// Change decodes a record that changed rows (src/include/access/heapam_xlog.h); ok is
// false for all others. A TRUNCATE is none.
func (r Record) Change() (c Change, ok bool) {
	switch {
	case r.Manager == managerHeap2 && r.Info&0x70 == 0x50: // several at once
		c.Operation = Inserted
	case r.Manager != managerHeap:
		return c, false
	default:
		c.Rows = 1

		switch r.Info & 0x70 {
		case 0x00:
			c.Operation = Inserted
		case 0x10:
			c.Operation = Deleted
		case 0x20, 0x40:
			c.Operation = Updated
		default:
			return c, false
		}
	}

	cur := cursor{b: r.body}
	if !r.table(&cur, &c) {
		return c, false
	}

	if c.Rows > 0 {
		return c, true
	}

	// What belongs to the record as a whole is its end, and says how many.
	if main := r.lastPart(cur); len(main) >= 4 {
		c.Rows = int(le.Uint16(main[2:]))
	}

	return c, c.Rows > 0
}

// table reads the first reference to a page (src/include/access/xlogrecord.h).
func (r Record) table(cur *cursor, c *Change) bool {
	head := cur.take(4) // id, flags, length of the data
	if head == nil || head[0] != 0 {
		return false
	}

	if head[1]&0x10 != 0 { // an image of the page
		image := cur.take(5)
		if image == nil {
			return false
		}

		packed := uint8(0x02)
		if r.major >= 15 {
			packed = 0x04 | 0x08 | 0x10
		}

		if image[4]&0x01 != 0 && image[4]&packed != 0 {
			cur.take(2)
		}
	}

	if head[1]&0x80 != 0 { // as the page before, of which there is none
		return false
	}
	c.Space, c.Database, c.File = cur.u32(), cur.u32(), cur.u32()
	cur.u32() // the page

	return !cur.short
}

// lastPart is the data of the record as a whole, with one reference to a page before it;
// nil where not all of the record was kept.
func (r Record) lastPart(cur cursor) []byte {
	if uint64(len(r.body))+recordHeader != uint64(r.Length) {
		return nil
	}

	for {
		part := cur.take(1)
		if part == nil {
			return nil
		}

		length := 0

		switch part[0] {
		case partOrigin:
			cur.u16()
			continue
		case partTop:
			cur.u32()
			continue
		case partMainShort:
			if b := cur.take(1); b != nil {
				length = int(b[0])
			}
		case partMainLong:
			length = int(cur.u32())
		}

		if cur.short || length <= 0 || length > len(r.body) {
			return nil
		}

		return r.body[len(r.body)-length:]
	}
}
