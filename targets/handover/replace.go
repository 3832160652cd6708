package handover

import (
	"context"

	"drctl/targets"
)

// Replacing is the part of a driver that lets what a restore lays down take the place of an
// instance's standby. All of it is done on the instance's host.
type Replacing interface{ Replacer() Replacer }

// Replacer does it, one instance at a time. Every call may be repeated, also by another
// process after one that died in the middle.
type Replacer interface {
	// Standing says what is there, and how its server would be started again. It touches
	// nothing. Conflict: it takes writes. Unsupported: nobody could start it again.
	Standing(ctx context.Context, in targets.Instance, host HostCommands) (Standing, error)
	// Halt stops the standby, with all that it has on its disk. One that does not run is no error.
	Halt(ctx context.Context, in targets.Instance, st Standing, host HostCommands) error
	// Settle gives what a restore of a base left in a place the configuration of the server that
	// was there, as that of a primary. Its directory lies in kept meanwhile.
	Settle(ctx context.Context, in targets.Instance, st Standing, at Place, base targets.Artifact) error
	// Unsettle takes back what Settle has changed outside of the place.
	Unsettle(st Standing, at Place) error
	// Return starts the standby of a directory again, as it was.
	Return(ctx context.Context, in targets.Instance, st Standing, host HostCommands) error
	// Wake starts the server of a place and waits until it answers. One that runs is waited for.
	Wake(ctx context.Context, in targets.Instance, st Standing, at Place, host HostCommands) error
}

// Standing is a standby whose place is to be taken.
type Standing struct {
	// Dir is its directory, without links.
	Dir string `json:"dir"`
	// At is where it stands; zero when it does not run.
	At targets.Position `json:"at,omitzero"`
	// Program and Args start its server; none where a command of the platform's does it.
	Program string   `json:"program,omitempty"`
	Args    []string `json:"args,omitempty"`
	// Config is its configuration file (Redis).
	Config string `json:"config,omitempty"`
	// UID and GID are the owner of its files.
	UID int `json:"uid"`
	GID int `json:"gid"`
	// Durable says that the server keeps what it has on its disk by itself (Redis).
	Durable bool `json:"durable,omitempty"`
}

// Place is where a shard is laid down.
type Place struct {
	// Dir is the directory, without links, and Kept where that of the standby is meanwhile.
	Dir  string `json:"dir"`
	Kept string `json:"kept"`
}
