package handover

import (
	"context"
	"time"
)

// Linked is a Switch whose new side can be asked whether it still gets log of its primary.
type Linked interface {
	// Link asks the standby. An error means that it could not be asked.
	Link(ctx context.Context) (Link, error)
}

// Link is what a standby says of its primary.
type Link struct {
	// Up says that a connection to the primary stands, as far as the standby knows: one
	// that was cut without a word looks like that for long.
	Up bool
	// Silent is how long ago the last bytes came, by the standby's clock; 0 when it does not
	// say, or when the link is down.
	Silent time.Duration
}
