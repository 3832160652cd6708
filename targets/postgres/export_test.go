package postgres

import (
	"context"
	"time"

	"drctl/targets"
)

// StandStill sets how long the archive may stand still before a server that is
// stopped no longer waits for it.
func StandStill(d *Driver, limit time.Duration) { d.stand = limit }

// HostRoot sets the directory that is taken for the root of the host's.
func HostRoot(d *Driver, dir string) { d.root = dir }

// Within runs SQL in a member's own session, behind its back.
func Within(ctx context.Context, m targets.Member, sql string) error {
	return m.(*member).exec(ctx, sql)
}
