package handover

import (
	"context"
	"io"
	"time"

	"drctl/targets"
)

// LossTeller is the part of a driver that says what a failover lost.
type LossTeller interface {
	// Lost reads the old side's disks, where they are in reach. Conflict: its server
	// runs. Not-found: what is there ends before the fork.
	Lost(ctx context.Context, req LossRequest) (Loss, error)
}

// Heard is how far a standby knows that its primary had come.
type Heard struct {
	At targets.Position `json:"at"`
	// Seen is when it was told, by its own clock.
	Seen time.Time `json:"seen"`
}

// Tail keeps log that would be lost otherwise.
type Tail interface {
	// Lacks returns from where on something of a part is not kept yet; part.To when
	// all of it is.
	Lacks(ctx context.Context, part targets.Span) (uint64, error)
	// Keep keeps a part, durably, which is read to its end.
	Keep(ctx context.Context, part targets.Span, log io.Reader) error
}

// LossRequest asks what the old primary had that the new one has not.
type LossRequest struct {
	Old targets.Instance
	// New is the new primary; it is asked for the names of tables. It may be zero.
	New targets.Instance
	// Fork is where the new side's timeline left the old one's.
	Fork targets.Position
	// Flushed is the farthest place of the old log that anybody saw. With Old.DataDir
	// the log itself is read instead.
	Flushed targets.Position
	// Tail takes what is lost of the log, where it is not kept yet. It may be nil.
	Tail Tail
	// Most bounds how many transactions are listed; 0: 1,000.
	Most int
}

// Loss is what a failover lost of a shard.
type Loss struct {
	Part  targets.Span `json:"part"`
	Bytes uint64       `json:"bytes"`
	// Read says that the old log was read to its end: Part is exact, and what
	// follows is known.
	Read bool `json:"read"`
	// Count is how many transactions were lost; Lost has the first of them.
	Count int               `json:"count,omitempty"`
	Lost  []LostTransaction `json:"lost,omitempty"`
	// Rows are what all of them did to rows.
	Rows []LostRows `json:"rows,omitempty"`
	// First and Last are the stamps of the first and the last, by the old server's clock.
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
	// Kept are the parts of the log that were given to Tail.
	Kept []targets.Span `json:"kept,omitempty"`
	// Notes say what could not be found out.
	Notes []string `json:"notes,omitempty"`
}

// LostTransaction is a transaction that the old primary had decided.
type LostTransaction struct {
	At      uint64     `json:"at"` // of its record
	XID     uint32     `json:"xid"`
	Stamp   time.Time  `json:"stamp"`
	Outcome string     `json:"outcome"`
	GID     string     `json:"gid,omitempty"`
	Tags    []string   `json:"tags,omitempty"`
	Rows    []LostRows `json:"rows,omitempty"`
}

// LostRows is how many rows of a table were changed.
type LostRows struct {
	// Table is its name with its database, where the new primary knows it; else its file.
	Table    string `json:"table"`
	Inserted int    `json:"inserted,omitempty"`
	Updated  int    `json:"updated,omitempty"`
	Deleted  int    `json:"deleted,omitempty"`
}
