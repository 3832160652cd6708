package wal

import "fmt"

// Kind says what a record is to a proof.
type Kind uint8

// The kinds. Other records are passed over unless the reader is told to
// return all.
const (
	Other Kind = iota
	Commit
	Abort // of a transaction or of a subtransaction
	Prepare
	CommitPrepared
	AbortPrepared
	LogicalMessage
	Checkpoint
	Shutdown // the checkpoint of a stopped server, or of one that ended crash recovery
	EndOfRecovery
	SegmentSwitch // the rest of the segment is empty
	Overwrite     // a record that a crash cut off was given up
	Running       // which transactions are open
)

// Managers of records (src/include/access/rmgrlist.h, the same in 13 to 18).
const (
	managerLog     = 0
	managerXact    = 1
	managerStandby = 8
	managerMessage = 21
	lastBuiltIn    = managerMessage
	firstCustom    = 128
)

// What is kept of a record at most. A transaction with more subtransactions
// and dropped files than fit is refused, not shortened.
const (
	keepXact    = 64 << 20
	keepMessage = 8 << 10
	keepShort   = 256
)

// kindOf classifies a record by its manager and its info byte, and says how
// many bytes behind the header a proof needs of it.
func kindOf(manager, info uint8) (Kind, int) {
	switch manager {
	case managerXact:
		return kindOfXact(info)
	case managerMessage:
		if info&0xF0 == 0 {
			return LogicalMessage, keepMessage
		}
	case managerStandby:
		if info&0xF0 == 0x10 {
			return Running, keepShort
		}
	case managerLog:
		return kindOfLog(info)
	}

	return Other, keepOf(manager, info)
}

func kindOfXact(info uint8) (Kind, int) {
	switch info & 0x70 {
	case 0x00:
		return Commit, keepXact
	case 0x10:
		return Prepare, keepXact
	case 0x20:
		return Abort, keepXact
	case 0x30:
		return CommitPrepared, keepXact
	case 0x40:
		return AbortPrepared, keepXact
	}

	return Other, 0
}

func kindOfLog(info uint8) (Kind, int) {
	switch info & 0xF0 {
	case 0x00:
		return Shutdown, keepShort
	case 0x10:
		return Checkpoint, keepShort
	case 0x40:
		return SegmentSwitch, keepShort
	case 0x90:
		return EndOfRecovery, keepShort
	case 0xD0:
		return Overwrite, keepShort
	}

	return Other, 0
}

// Record is one record of the log. It is valid until the reader's next step:
// what is decoded from it is not bound to it.
type Record struct {
	Start    LSN // of its header
	End      LSN // behind its last byte, aligned: what the server calls its end
	Previous LSN // the start of the record before it
	Kind     Kind
	XID      uint32 // of the transaction or subtransaction that wrote it, or 0
	Manager  uint8
	Info     uint8
	Length   uint32 // in bytes, header included, page headers not

	major int
	body  []byte // what was kept behind the header
}

const recordHeader = 24

// The longest record that any version writes or reads.
const longestRecord = 1 << 30

// Marks of the parts of a record (src/include/access/xlogrecord.h).
const (
	partTop       = 252
	partOrigin    = 253
	partMainLong  = 254
	partMainShort = 255
)

// main finds the main data of a record: what was kept of it, and its whole
// length. The kinds that a proof needs refer to no page of a table.
func (r Record) main() (data []byte, length uint32, err error) {
	b := r.body
	for len(b) > 0 {
		var head int
		switch b[0] {
		case partTop:
			head = 5
		case partOrigin:
			head = 3
		case partMainShort:
			head = 2
		case partMainLong:
			head = 5
		default:
			return nil, 0, r.bad("a part of kind %d", b[0])
		}

		if len(b) < head {
			break
		}

		kind, part := b[0], b[:head]
		b = b[head:]

		if kind != partMainLong && kind != partMainShort {
			continue
		}

		length = uint32(part[1])
		if kind == partMainLong {
			length = le.Uint32(part[1:])
		}
		before := uint64(recordHeader + len(r.body) - len(b))

		if before+uint64(length) != uint64(r.Length) {
			return nil, 0, r.bad("%d bytes of data in a record of %d", length, r.Length)
		}

		return b, length, nil
	}

	return nil, 0, r.bad("no data")
}

func (r Record) bad(format string, args ...any) error {
	return corrupt(r.Start, "the record (manager %d, info %02X): %w", r.Manager, r.Info, fmt.Errorf(format, args...))
}

// cursor reads fields one after the other. What is not there is zero and
// remembered.
type cursor struct {
	b     []byte
	short bool
}

func (c *cursor) take(n uint64) []byte {
	if uint64(len(c.b)) < n {
		c.b, c.short = nil, true
		return nil
	}
	out := c.b[:n]
	c.b = c.b[n:]

	return out
}

func (c *cursor) u16() uint16 {
	if b := c.take(2); b != nil {
		return le.Uint16(b)
	}

	return 0
}

func (c *cursor) u32() uint32 {
	if b := c.take(4); b != nil {
		return le.Uint32(b)
	}

	return 0
}

func (c *cursor) u64() uint64 {
	if b := c.take(8); b != nil {
		return le.Uint64(b)
	}

	return 0
}

// list skips or returns a counted list of items of a size in bytes.
func (c *cursor) list(size uint64) []byte { return c.take(uint64(c.u32()) * size) }
