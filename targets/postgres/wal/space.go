package wal

import "bytes"

// managerSpace is that of tablespaces, and keepSpace what is kept of its records: a path has 1,023 bytes at most.
const managerSpace, keepSpace = 5, 2 << 10

// Space is a record that makes or removes a tablespace. It counts when it is replayed, whatever
// became of its transaction.
type Space struct {
	OID  uint32
	Made bool // else it was removed
	// Location is where one that was made lies; "" is inside the data directory.
	Location string
}

// Space decodes a record about a tablespace (src/include/commands/tablespace.h, the same in 13 to 18);
// ok is false for all others. One that cannot be decoded is corrupt.
func (r Record) Space() (s Space, ok bool, err error) {
	if r.Manager != managerSpace {
		return Space{}, false, nil
	}

	data, length, err := r.main()
	if err != nil {
		return Space{}, false, err
	}

	c := cursor{b: data}
	s.OID = c.u32()

	switch r.Info & 0xF0 {
	case 0x00:
		s.Made = true

		end := bytes.IndexByte(c.b, 0)
		if end < 0 || uint64(length) != 4+uint64(end)+1 {
			return Space{}, false, r.bad("a location of %d bytes has no end", len(c.b))
		}
		s.Location = string(c.b[:end])
	case 0x10:
		if length != 4 {
			return Space{}, false, r.bad("%d bytes instead of an identifier", length)
		}
	default:
		return Space{}, false, r.bad("neither makes nor removes a tablespace")
	}

	if c.short || s.OID == 0 {
		return Space{}, false, r.bad("it names no tablespace")
	}

	return s, true, nil
}
