package postgres

import (
	"log/slog"
	"time"

	"drctl/internal/servers"
	"drctl/targets"
	"drctl/targets/postgres/lockorder"
)

// Options configure the driver.
type Options struct {
	// Tools finds the PostgreSQL programs for restores, verification and bases
	// over the wire. Zero: looked for when first needed.
	Tools servers.Binaries
	Log   *slog.Logger
	// SlotName is the physical replication slot of the stream. Default "drctl".
	SlotName string
	// Detached lets the servers of sandboxes outlive this process.
	Detached bool
}

// Driver implements targets.Driver, targets.Quiescer and targets.Follower. It
// holds no connection between calls and is safe for concurrent use.
type Driver struct {
	tools servers.Binaries
	log   *slog.Logger
	slot  string
	order lockorder.Order

	detached bool
	stand    time.Duration // see sender
	root     string        // of the host's directories; tests have one of their own
}

// standStill is how long the archive may stand still before a server that is
// being stopped no longer waits for it.
const standStill = 30 * time.Second

var (
	_ targets.Driver   = (*Driver)(nil)
	_ targets.Quiescer = (*Driver)(nil)
	_ targets.Follower = (*Driver)(nil)
	_ targets.Spacer   = (*Driver)(nil)
	_ targets.Adviser  = (*Driver)(nil)
)

// New makes a driver.
func New(opt Options) *Driver {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}

	if opt.SlotName == "" {
		opt.SlotName = "drctl"
	}

	return &Driver{tools: opt.Tools, log: opt.Log, slot: opt.SlotName, detached: opt.Detached, stand: standStill, root: "/"}
}

// Kind returns targets.Postgres.
func (d *Driver) Kind() targets.Kind { return targets.Postgres }

// findTools returns the programs, looking for them when none were given.
func (d *Driver) findTools() (servers.Binaries, error) {
	if d.tools.PostgresBin != "" {
		return d.tools, nil
	}

	return servers.Find(d.tools)
}
