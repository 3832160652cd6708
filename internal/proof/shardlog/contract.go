package shardlog

import (
	"io"

	"drctl/internal/observation"
	"drctl/internal/proof"
	"drctl/targets"
)

// Timeline says that the bytes of a timeline are read from an offset on.
type Timeline struct {
	Name  string `json:"lineage"`
	Begin uint64 `json:"begin"` // where it left the one before; of no meaning for the first
}

// Options say which log is read.
type Options struct {
	Shard targets.ShardID
	// Start is the offset of the first byte: what Opener.LogStart returned.
	Start uint64
	// Timelines are those on the way, oldest first. The last is that of the stretches.
	Timelines []Timeline
}

// Opener is the part of a driver whose log can be cut by a proof.
type Opener interface {
	// LogStart is the first offset, not before the given one, at which reading can begin.
	LogStart(offset uint64) uint64
	// OpenLog begins to read a log. What cannot be an option is invalid.
	OpenLog(o Options) (Log, error)
}

// Log is a shard's log that is being read. It is for one goroutine at a time.
type Log interface {
	// Feed reads the bytes that follow those that were fed before, to their end. What
	// cannot be the log of its place is corrupt, and the log of no more use;
	// what the source fails with is handed on, and ends its use as well.
	Feed(src io.Reader) error
	// Stretch is the log from the first place at or behind an offset at which a
	// stretch can begin, to the end of what was fed. The observations are of one run of one server by
	// one observer; those of another timeline are left out.
	Stretch(from uint64, seen []observation.Observation) (*Result, error)
	// Forget lets go of what only a stretch needs that begins before an offset.
	Forget(before uint64)
}

// Missing says what was missing, for a stretch of which less can be proven
// than was wanted.
type Missing string

// What can be missing.
const (
	// NoLog: there is no record behind the beginning, nor the place where one would begin.
	NoLog Missing = "no-log"
	// NotWhole: no place is known from which on all transactions were seen from their
	// beginning. Read from further back; or a transaction has been
	// prepared, or open, since before that. Nothing can be proven of global transactions.
	NotWhole Missing = "not-whole"
	// LateWhole: that place lies behind the beginning of the stretch.
	LateWhole Missing = "late-whole"
	// NotReached: nobody saw the server flush what lies before the stretch. Nothing can be proven of it.
	NotReached Missing = "not-reached"
	// EndsEarly: the log ends before the end that was wanted, and so does the stretch.
	EndsEarly Missing = "ends-early"
)

// Result is a stretch with what was missing for more.
type Result struct {
	proof.Stretch
	Missing []Missing
}
