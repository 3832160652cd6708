package stretch

import (
	"io"

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
