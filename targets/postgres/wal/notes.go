package wal

import (
	"bytes"
	"time"
)

// Prefix begins the prefixes of logical messages that are drctl's: tags.
const Prefix = "drctl/"

// MaxContent is how many bytes of a message are kept.
const MaxContent = 4096

// Message is a logical message (pg_logical_emit_message).
type Message struct {
	Start         LSN // of its record
	XID           uint32
	Database      uint32
	Transactional bool // it counts only if its transaction commits
	Prefix        string
	// Content is there for drctl's prefixes alone, and not more than MaxContent
	// bytes of it; Size is the whole of it.
	Content string
	Size    uint64
}

// Ours reports whether the message is drctl's.
func (m Message) Ours() bool { return len(m.Prefix) > len(Prefix) && m.Prefix[:len(Prefix)] == Prefix }

// The longest prefix that is read; drctl's own are short.
const maxPrefix = 1024

// Message decodes a logical message (xl_logical_message in
// src/include/replication/message.h). A prefix longer than any of drctl's comes
// back shortened.
func (r Record) Message() (Message, error) {
	data, length, err := r.main()
	if err != nil {
		return Message{}, err
	}

	if r.Kind != LogicalMessage {
		return Message{}, r.bad("it is no message")
	}

	c := &cursor{b: data}
	m := Message{Start: r.Start, XID: r.XID, Database: c.u32(), Transactional: c.u32()&0xFF != 0}
	prefix, size := c.u64(), c.u64()

	if c.short || prefix == 0 || prefix > longestRecord || size > longestRecord || 24+prefix+size != uint64(length) {
		return Message{}, r.bad("a prefix of %d and a content of %d bytes do not fit into %d", prefix, size, length)
	}
	m.Size = size
	name := c.take(min(prefix, maxPrefix))

	end := bytes.IndexByte(name, 0)
	if c.short || prefix <= maxPrefix && end != len(name)-1 {
		return Message{}, r.bad("its prefix has no end")
	}

	if end < 0 {
		end = len(name)
	}

	m.Prefix = string(name[:end])
	if prefix > maxPrefix || !m.Ours() {
		return m, nil
	}

	if m.Transactional && m.XID == 0 {
		return Message{}, r.bad("a message of a transaction that it does not name")
	}

	content := c.take(min(size, MaxContent))
	if c.short {
		return Message{}, r.bad("its content is cut off")
	}
	m.Content = string(content)

	return m, nil
}

// Snapshot is what the log says of the state of the server at a place.
type Snapshot struct {
	// NextXID is the first transaction identifier not given out: by the place of the
	// record for Shutdown and Running, by Redo for Checkpoint; 0 for EndOfRecovery.
	NextXID uint32
	// OldestXID is the oldest transaction that is open or prepared, NextXID if there
	// is none; of Running alone.
	OldestXID uint32
	// Redo is where recovery from a checkpoint begins.
	Redo LSN
	// Timeline from here on, and the one before; 0 for Running.
	Timeline, PreviousTimeline uint32
	// Time of the server, in seconds; zero for Running.
	Time time.Time
}

// Snapshot decodes a checkpoint, the end of a recovery or the list of open
// transactions (src/include/catalog/pg_control.h, src/include/access/xlog_internal.h,
// src/include/storage/standbydefs.h).
func (r Record) Snapshot() (Snapshot, error) {
	data, length, err := r.main()
	if err != nil {
		return Snapshot{}, err
	}

	c := &cursor{b: data}
	var s Snapshot

	var seconds int64
	switch r.Kind {
	case Checkpoint, Shutdown:
		s.Redo = LSN(c.u64())
		s.Timeline, s.PreviousTimeline = c.u32(), c.u32()
		c.take(8) // full-page writes, wal_level
		s.NextXID = uint32(c.u64())
		c.take(32)
		seconds = int64(c.u64())
	case EndOfRecovery:
		micros := int64(c.u64())
		s.Timeline, s.PreviousTimeline = c.u32(), c.u32()
		t, ok := stamp(micros)

		if !ok || c.short {
			return Snapshot{}, r.bad("its time is none")
		}
		s.Time = t

		return s, nil
	case Running:
		c.take(12) // numbers of transactions, whether some are left out
		s.NextXID, s.OldestXID = c.u32(), c.u32()
	default:
		return Snapshot{}, r.bad("it says nothing of the server")
	}

	if c.short {
		return Snapshot{}, r.bad("its fields do not fit into %d bytes", length)
	}

	if r.Kind != Running {
		s.Time = time.Unix(seconds, 0).UTC()
	}

	return s, nil
}
