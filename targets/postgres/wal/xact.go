package wal

import (
	"bytes"
	"time"
)

// Decision is what a record says of the transaction that it decides.
type Decision struct {
	XID      uint32    // the transaction's, also where another session decides it
	Stamp    time.Time // the server's clock, UTC, in microseconds; at PREPARE for a prepared one
	Database uint32    // 0: the record does not say
	// Subtransactions that share the fate.
	Subtransactions []uint32
	// GID is the identifier of a prepared transaction. COMMIT PREPARED and ROLLBACK
	// PREPARED record it at wal_level logical alone.
	GID    string
	Origin Origin
}

// Origin is where a transaction that was replicated comes from. Its time is of
// another server's clock.
type Origin struct {
	LSN  LSN
	Time time.Time
}

// Flags of the parts of a decision (XACT_XINFO_HAS_* in src/include/access/xact.h).
const (
	hasDatabase = 1 << iota
	hasSubtransactions
	hasFiles
	hasInvalidations
	hasTwoPhase
	hasOrigin
	_
	hasGID
	hasStatistics // from 15 on
)

const (
	hasInfo  = 0x80       // of the info byte: flags follow the time
	gidSize  = 200        // with the zero at its end
	twoPhase = 0x57F94534 // the mark of prepared state
)

// Decision decodes a record that decides a transaction or prepares it.
func (r Record) Decision() (Decision, error) {
	data, length, err := r.main()
	if err != nil {
		return Decision{}, err
	}

	if uint64(len(data)) < uint64(length) {
		return Decision{}, unsupported(r.Start, "the record of a transaction has %d bytes, more than %d are not read", length, keepXact)
	}

	c := &cursor{b: data}
	var d Decision

	var ok bool
	switch r.Kind {
	case Prepare:
		d, ok = r.prepare(c)
	case Commit, Abort, CommitPrepared, AbortPrepared:
		d, ok = r.decide(c)
	default:
		return Decision{}, r.bad("it decides nothing")
	}

	if !ok || c.short {
		return Decision{}, r.bad("its fields do not fit into %d bytes", length)
	}

	if d.XID == 0 {
		return Decision{}, r.bad("it names no transaction")
	}

	return d, nil
}

// decide reads xl_xact_commit or xl_xact_abort (ParseCommitRecord and
// ParseAbortRecord in src/backend/access/rmgrdesc/xactdesc.c).
func (r Record) decide(c *cursor) (d Decision, ok bool) {
	d.XID = r.XID
	if d.Stamp, ok = stamp(int64(c.u64())); !ok {
		return d, false
	}

	var info uint32
	if r.Info&hasInfo != 0 {
		info = c.u32()
	}

	prepared := r.Kind == CommitPrepared || r.Kind == AbortPrepared
	if prepared != (info&hasTwoPhase != 0) {
		return d, false
	}

	if info&hasDatabase != 0 {
		d.Database = c.u32()
		c.u32() // its tablespace
	}

	if info&hasSubtransactions != 0 {
		d.Subtransactions = xids(c.list(4))
	}

	if info&hasFiles != 0 {
		c.list(12)
	}

	if info&hasStatistics != 0 {
		c.list(r.statisticsSize())
	}

	if info&hasInvalidations != 0 {
		c.list(16)
	}

	if prepared {
		d.XID = c.u32()
	}

	if info&hasGID != 0 {
		end := bytes.IndexByte(c.b, 0)
		if end < 0 || end >= gidSize {
			return d, false
		}
		d.GID = string(c.take(uint64(end) + 1)[:end])
	}

	if info&hasOrigin != 0 {
		return d, c.origin(&d.Origin)
	}

	return d, true
}

// statisticsSize is the size of a dropped statistics entry (xl_xact_stats_item),
// which got a wider identifier in 18.
func (r Record) statisticsSize() uint64 {
	if r.major >= 18 {
		return 16
	}

	return 12
}

// prepare reads xl_xact_prepare, whose fields are followed by the identifier
// and the subtransactions, each aligned.
func (r Record) prepare(c *cursor) (d Decision, ok bool) {
	mark := c.u32()
	c.u32() // length of the state
	d.XID, d.Database = c.u32(), c.u32()
	prepared := int64(c.u64())
	c.u32() // owner
	subtransactions := c.u32()
	c.take(8) // files of a commit, of an abort

	if r.major >= 15 {
		c.take(8) // statistics of a commit, of an abort
	}

	c.take(6) // invalidations, and whether of a start file
	gid := uint64(c.u16())
	origin := c.origin(&d.Origin)

	if d.Stamp, ok = stamp(prepared); !ok || !origin || mark != twoPhase || gid == 0 || gid > gidSize {
		return d, false
	}

	name := c.take((gid + 7) &^ 7)
	if c.short || bytes.IndexByte(name[:gid], 0) != int(gid)-1 {
		return d, false
	}
	d.GID = string(name[:gid-1])
	d.Subtransactions = xids(c.take(uint64(subtransactions) * 4))

	return d, true
}

// origin reads a place and a time of another server; false when it is no time.
func (c *cursor) origin(o *Origin) (ok bool) {
	lsn, micros := LSN(c.u64()), int64(c.u64())
	if lsn == 0 && micros == 0 {
		return true
	}
	o.LSN = lsn
	o.Time, ok = stamp(micros)

	return ok
}

func xids(b []byte) []uint32 {
	if len(b) == 0 {
		return nil
	}

	out := make([]uint32, 0, len(b)/4)
	for ; len(b) >= 4; b = b[4:] {
		out = append(out, le.Uint32(b))
	}

	return out
}
