package journal

import "strconv"

// Step is one local transaction of an operation, or one write outside SQL. Times are
// as in Record.
type Step struct {
	Shard int `json:"shard"` // index of the PostgreSQL shard, or of the master
	// Redis: the shard is a master, and places are replication offsets.
	Redis bool `json:"redis,omitempty"`
	// Database is the other one of the shard's cluster; empty for the shop's own.
	Database string `json:"database,omitempty"`
	Tag      string `json:"tag,omitempty"` // what the log has, "<id>/<n>"
	GID      string `json:"gid,omitempty"`
	XID      uint32 `json:"xid,omitempty"`

	BeginNS int64 `json:"begin_ns,omitempty"`
	SentNS  int64 `json:"sent_ns,omitempty"` // just before COMMIT or COMMIT PREPARED was sent
	AckNS   int64 `json:"ack_ns,omitempty"`  // after it was answered
	// Prepared and Committed are where the records lie.
	Prepared  *Bounds `json:"prepared,omitempty"`
	Committed *Bounds `json:"committed,omitempty"`

	// Saw are steps, as StepID, that its client had been told of, or had read,
	// before it sent the commit.
	Saw []string `json:"saw,omitempty"`
}

// Bounds are two places of a server's log: a record begins at or behind Low and
// before High. Low 0 and High 0 are not known.
type Bounds struct {
	Low  uint64 `json:"low"`
	High uint64 `json:"high,omitempty"`
}

// StepID names a step of an operation over all journals.
func StepID(operation string, n int) string { return operation + "/" + strconv.Itoa(n) }
