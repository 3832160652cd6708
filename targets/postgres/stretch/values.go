package stretch

import (
	"io"

	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/targets"
	"drctl/targets/postgres/wal"
)

// TagPrefix is the prefix of the logical messages by which a platform tags the
// transactions that belong to a global one.
const TagPrefix = wal.Prefix + "global"

// Observation is what a server said, in one answer, of its clock and of its log.
type Observation struct {
	clock.Sample
	// Timeline that the server wrote.
	Timeline uint32
	// Flush is up to where its log was on disk, Insert up to where it had places.
	Flush, Insert wal.LSN
}

// Source is a shard's log with what was observed of its server.
type Source struct {
	Shard targets.ShardID
	// Timeline is the name that the cut gives to the timeline.
	Timeline string
	// Log is read as Options say, which have to name the timelines. The last of
	// them is that of the stretch; the log of those before it may be read to know what was
	// tagged and prepared.
	Log     io.Reader
	Options wal.Options
	// The stretch is wanted from From to To. Log should begin well before From.
	From, To wal.LSN
	// Observations are of one observer, in any order.
	Observations []Observation
}

// Missing says what was missing, for a stretch of which less can be proven
// than was wanted.
type Missing string

// What can be missing.
const (
	// NoLog: there is no record between From and To, nor the place where one would begin.
	NoLog Missing = "no-log"
	// NotWhole: no place is known from which on all transactions were seen from their
	// beginning, or none before To. Read from further back; or a transaction has been
	// prepared, or open, since before that. Nothing can be proven of the stretch.
	NotWhole Missing = "not-whole"
	// LateWhole: that place lies behind From, and the stretch begins there.
	LateWhole Missing = "late-whole"
	// NotReached: nobody saw the server flush what lies before the stretch. Nothing can be proven of it.
	NotReached Missing = "not-reached"
	// EndsEarly: the log ends before To, and so does the stretch.
	EndsEarly Missing = "ends-early"
)

// Result is a stretch with what was missing for more.
type Result struct {
	proof.Stretch
	Missing []Missing
}
