package platform

import (
	"fmt"
	"strings"

	"drctl/internal/fail"
)

// Role is a kind of work that a worker takes.
type Role string

// The roles.
const (
	Archive Role = "archive" // archivers and observers, which run for ever
	Base    Role = "base"    // everything that no other role has: cuts, bases, checks, restores, recovery plans
	Sandbox Role = "sandbox" // opens sandboxes
	Guard   Role = "guard"   // stands beside the host's servers
)

// Roles are all, in the order in which people are told of them.
var Roles = []Role{Archive, Base, Sandbox, Guard}

// The marks in the name of a task queue. No configured queue has them.
const (
	atHost = "@"
	asRole = "/"
)

// Queue names the task queue of a region's workers for a host and a role. Without a host
// any worker of the region serves it. The role base has no mark: what is older than
// roles asks that queue.
func Queue(region, host string, role Role) string {
	q := region
	if host != "" {
		q += atHost + host
	}

	if role != "" && role != Base {
		q += asRole + string(role)
	}

	return q
}

// QueueOf takes the name of a task queue apart.
func QueueOf(queue string) (region, host string, role Role) {
	region, as, named := strings.Cut(queue, asRole)
	region, host, _ = strings.Cut(region, atHost)

	role = Base
	if named {
		role = Role(as)
	}

	return region, host, role
}

// Place is a host of a region.
type Place struct {
	Region string `json:"region"`
	Host   string `json:"host"`
}

// ServeWith is the command that serves a region's queue for a host and a role.
func ServeWith(region, host string, role Role) string {
	s := "drctl worker"
	if region != "" {
		s += " --region " + region
	}

	if host != "" {
		s += " --host " + host
	}

	if role != "" && role != Base {
		s += " --role " + string(role)
	}

	return s
}

// Placed is a conflict when a worker on one host was given what has to be done on another.
// Where no host is named any worker may.
func Placed(here, want, what string) error {
	if want == "" || want == here {
		return nil
	}

	return fail.New(fail.Conflict, "worker: right host", what, "see which queues the workers of both hosts serve: drctl status",
		fmt.Errorf("it is host %s's to do, and this worker is on host %s", want, here))
}
