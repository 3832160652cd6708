package traffic

import (
	"time"

	"drctl/targets"
)

// Kind is a kind of route.
type Kind string

// The kinds that drctl knows.
const (
	HAProxy   Kind = "haproxy"
	PgBouncer Kind = "pgbouncer"
	Route53   Kind = "route53"
	Exec      Kind = "exec"
	HTTP      Kind = "http"
)

// Route is a way by which clients reach a shard or a service.
type Route struct {
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	// Shard is what it leads to, or Service, what is no store of the platform.
	Shard   targets.ShardID `json:"shard,omitzero"`
	Service string          `json:"service,omitempty"`
	// In is the region in which all that routes stands, and with which it is lost;
	// "" when no region takes it away.
	In string `json:"in,omitempty"`
	// Regions are those that it can be pointed to.
	Regions []string `json:"regions"`
}

// To names what the route leads to.
func (r Route) To() string {
	if r.Service != "" {
		return r.Service
	}

	return r.Shard.String()
}

// String names the route in messages.
func (r Route) String() string { return string(r.Kind) + " route " + r.Name }

// Abilities are what a route can do. What it cannot is fail.Unsupported.
type Abilities struct {
	// Hold: new work waits, and nobody sees an error.
	Hold bool `json:"hold"`
	// Drain: once it is held, nobody is connected to a server through it.
	Drain bool `json:"drain"`
	// Isolate: clients can be kept from every server by force.
	Isolate bool `json:"isolate"`
	// Point: it can be pointed to another region.
	Point bool `json:"point"`
	// Lag is how long clients may go on to use the old place after Point returned.
	Lag time.Duration `json:"lag_ns,omitempty"`
}

// State is where a route points, as read. It is plain data and holds no secret:
// whoever changes a route writes its State down before, for Undo.
type State struct {
	Route string `json:"route"`
	// Region is where all of the route points; "" when its parts do not agree or
	// point to a place of no region.
	Region string `json:"region,omitempty"`
	// Held: new work waits at every part.
	Held bool `json:"held,omitempty"`
	// Isolated: no part leads anywhere.
	Isolated bool   `json:"isolated,omitempty"`
	Parts    []Part `json:"parts"`
	// Warnings are for people: what of this route could harm on the day.
	Warnings []string `json:"warnings,omitempty"`
}

// Part is one proxy, pooler or record of a route.
type Part struct {
	// Name is unique in the route: an address, a socket, a record's name.
	Name string `json:"name"`
	// Address is where it sends clients.
	Address  string `json:"address,omitempty"`
	Region   string `json:"region,omitempty"`
	Held     bool   `json:"held,omitempty"`
	Isolated bool   `json:"isolated,omitempty"`
	// Was is what the driver needs besides to undo a change.
	Was map[string]string `json:"was,omitempty"`
}

// NewState sums up what was read of the parts.
func NewState(route string, parts []Part, warnings ...string) State {
	s := State{Route: route, Parts: parts, Warnings: warnings, Held: len(parts) > 0, Isolated: len(parts) > 0}
	for i, p := range parts {
		s.Held, s.Isolated = s.Held && p.Held, s.Isolated && p.Isolated

		if i == 0 {
			s.Region = p.Region
		} else if s.Region != p.Region {
			s.Region = ""
		}
	}

	return s
}

// Part returns what was read of a part.
func (s State) Part(name string) (Part, bool) {
	for _, p := range s.Parts {
		if p.Name == name {
			return p, true
		}
	}

	return Part{}, false
}
