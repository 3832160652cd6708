package handover

import (
	"context"
	"io"
	"time"

	"drctl/targets"
)

// Ending is the part of a driver whose stores prepare transactions in two phases.
type Ending interface{ Ender() Ender }

// Ender ends what is prepared on a new primary.
type Ender interface {
	// Doubts lists what is prepared and not ended, the oldest first.
	Doubts(ctx context.Context, in targets.Instance) ([]Doubt, error)
	// End ends those that are to be ended, and tells of each what became of it.
	End(ctx context.Context, in targets.Instance, list []targets.InDoubt) ([]targets.Finding, error)
	// Now is how far a primary's log has come, on its own timeline.
	Now(ctx context.Context, in targets.Instance) (targets.Position, error)
	// Log reads a part of a timeline that the server keeps, also of one that it has left. What
	// it keeps no more is an error of the reader.
	Log(ctx context.Context, in targets.Instance, part targets.Span) (io.ReadCloser, error)
}

// Doubt is a transaction that is prepared.
type Doubt struct {
	GID   targets.GID
	Since time.Time // by the clock of the server that prepared it
	Text  string    // names it, safe to print
}
