package failover

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/restore/plan"
	"drctl/targets"
)

const op = "recovery plan"

// Topology is what a plan is derived from.
type Topology struct {
	Group string
	// Witness says that there are voters enough for epochs: see plan.OpClaim.
	Witness bool
	// Regions are those that have workers.
	Regions []string
	Shards  []Shard
	// Services stand on the stores and on each other.
	Services []Service
	Routes   []Route
}

// Shard is one part of a store, and where it has instances.
type Shard struct {
	ID      targets.ShardID
	Kind    targets.Kind
	Regions []string
	// Hosts are those of its instances whose directories a worker there reads, by region.
	Hosts map[string]string
	// Places are its instances whose directories a worker reaches, by region: where a
	// recovery from the vault lays the shard down when the policy names nothing else.
	Places map[string]plan.Destination
}

// into is where the shard is laid down; zero when nobody says where. A destination at which
// neither clients nor archivers look is for restores by hand.
func (s Shard) into(p Policy) plan.Destination {
	d, named := p.Destinations[s.ID.String()]

	own, ok := s.Places[p.To]
	if named && (!ok || !s.log() || d.Address == own.Address) {
		return d
	}

	return own
}

// log reports whether the shard has a log and so a primary and standbys. A bucket
// has none: both sides take writes.
func (s Shard) log() bool { return s.Kind.Traits().Log }

// bothSides reports whether it takes writes in both regions, each in a store of its own.
func (s Shard) bothSides(a, b string) bool {
	return !s.log() && slices.Contains(s.Regions, a) && slices.Contains(s.Regions, b)
}

// The tiers of services, in the order in which they come up.
const (
	Cache       = "cache"
	Application = "application"
	Edge        = "edge"
)

var tiers = []string{Cache, Application, Edge}

// Service is what stands on the stores: it is started, warmed or told, and checked.
type Service struct {
	Name string `json:"name"`
	Tier string `json:"tier"`
	// Needs are targets and other services.
	Needs []string `json:"needs,omitempty"`
	// Up brings it up on the other side; one action at most.
	Up plan.Args `json:"up,omitzero"`
	// Check says that it works; none checks nothing.
	Check *plan.HTTP `json:"check,omitempty"`
}

// Route is a way by which clients reach stores or services.
type Route struct {
	Name string `json:"name"`
	// For are the targets or the services behind it.
	For []string `json:"for"`
	// Holds says that it can keep clients waiting without an error.
	Holds bool `json:"holds,omitempty"`
}

// Policy is how a group may change its region.
type Policy struct {
	From   string      `json:"from,omitempty"`
	To     string      `json:"to,omitempty"`
	Choice plan.Choice `json:"choice,omitempty"` // of a failover; "" means newest
	// People is how many different ones have to approve; 0 decides by itself.
	People        int           `json:"people,omitempty"`
	Roles         []string      `json:"roles,omitempty"`
	ApproveWithin time.Duration `json:"approve_within_ns,omitempty"` // 0 means an hour
	// Fence are the proofs of silence that a failover may use, in the order in
	// which they are tried; empty means the guard, then a person's statement.
	Fence []string   `json:"fence,omitempty"`
	Hook  *plan.Exec `json:"hook,omitempty"`
	// Lag is the most that a standby may be behind when a switchover begins; 0 means 5 s.
	Lag time.Duration `json:"lag_ns,omitempty"`
	// Resolve is what becomes of prepared transactions; "" means plan.ResolveByGroup.
	Resolve string `json:"resolve,omitempty"`
	// Rejoin are the ways back of an old primary; empty means all, the cheapest first.
	Rejoin []string `json:"rejoin,omitempty"`
	// Destinations are where the shards of a proven recovery are laid down.
	Destinations map[string]plan.Destination `json:"destinations,omitempty"`
	// Tell are those who are told, besides everybody who always is.
	Tell []string `json:"tell,omitempty"`
}

// filled is the policy with its defaults.
func (p Policy) filled() Policy {
	if p.Choice == "" {
		p.Choice = plan.Newest
	}

	if p.ApproveWithin == 0 {
		p.ApproveWithin = time.Hour
	}

	if len(p.Fence) == 0 {
		p.Fence = []string{plan.ByGuard, plan.ByStatement}
	}

	if p.Lag == 0 {
		p.Lag = 5 * time.Second
	}

	if p.Resolve == "" {
		p.Resolve = plan.ResolveByGroup
	}

	if len(p.Rejoin) == 0 {
		p.Rejoin = []string{plan.RejoinAsIs, plan.RejoinRewind, plan.RejoinRebuild}
	}

	return p
}

// check finds what keeps a plan from being derived.
func (t Topology) check(p Policy, m plan.Mode) error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}

	need(p.From != p.To, "the group leaves %q for itself", p.From)
	need(slices.Contains(t.Regions, p.To), "region %q, which takes over, has no workers", p.To)
	need(m == plan.ModeFailover || slices.Contains(t.Regions, p.From), "region %q, which is left, has no workers", p.From)
	need(len(t.Shards) > 0, "the group has no shard")

	for _, r := range t.Routes {
		for _, name := range r.For {
			need(t.target(name) || t.service(name) >= 0, "route %s leads to %q, which is neither a target nor a service", r.Name, name)
		}
	}

	for _, s := range t.Shards {
		if t.anew(s, p, m) {
			need(s.into(p) != plan.Destination{}, "%s has to be laid down anew in %s: name its data_dir there, or its destination", s.ID, p.To)
		} else {
			need(slices.Contains(s.Regions, p.To), "%s has no instance in %s", s.ID, p.To)
		}
	}

	for _, s := range t.Services {
		need(slices.Contains(tiers, s.Tier), "service %s has the tier %q, which is none of %v", s.Name, s.Tier, tiers)

		for _, n := range s.Needs {
			i := t.service(n)
			need(t.target(n) || i >= 0, "service %s needs %q, which is neither a target nor a service", s.Name, n)
			need(i < 0 || slices.Index(tiers, t.Services[i].Tier) <= slices.Index(tiers, s.Tier), "service %s needs %s, which comes up later", s.Name, n)
		}
	}

	_, circle := t.inOrder()
	need(circle == "", "services stand on each other: %s", circle)

	if len(errs) == 0 {
		return nil
	}

	return fail.New(fail.Invalid, op, t.Group, "mend the topology or the policy of the group", errors.Join(errs...))
}

// anew reports whether a shard is laid down from the vault: in a failover, all that
// have a log when the recovery is a proven one, and buckets that have no other side.
func (t Topology) anew(s Shard, p Policy, m plan.Mode) bool {
	if m != plan.ModeFailover {
		return false
	}

	return s.log() && p.Choice == plan.Proven || !s.log() && !slices.Contains(s.Regions, p.To)
}

func (t Topology) target(name string) bool {
	return slices.ContainsFunc(t.Shards, func(s Shard) bool { return s.ID.Target == name })
}

func (t Topology) service(name string) int {
	return slices.IndexFunc(t.Services, func(s Service) bool { return s.Name == name })
}

// stores are the routes behind which a target is, but for one that leads to
// services as well: that one moves with them.
func (t Topology) stores() (out []Route) {
	for _, r := range t.Routes {
		if !slices.ContainsFunc(r.For, func(n string) bool { return t.service(n) >= 0 }) {
			out = append(out, r)
		}
	}

	return out
}

// faces are the routes that lead to services.
func (t Topology) faces() (out []Route) {
	for _, r := range t.Routes {
		if slices.ContainsFunc(r.For, func(n string) bool { return t.service(n) >= 0 }) {
			out = append(out, r)
		}
	}

	return out
}

// inOrder are the services in an order in which they can come up: tier by tier,
// each after those that it needs. It names one of a circle.
func (t Topology) inOrder() (out []Service, circle string) {
	left := slices.Clone(t.Services)
	slices.SortFunc(left, func(a, b Service) int {
		return cmp.Or(slices.Index(tiers, a.Tier)-slices.Index(tiers, b.Tier), strings.Compare(a.Name, b.Name))
	})

	for len(left) > 0 {
		i := slices.IndexFunc(left, func(s Service) bool {
			return !slices.ContainsFunc(left, func(o Service) bool { return slices.Contains(s.Needs, o.Name) })
		})
		if i < 0 {
			return nil, left[0].Name
		}

		out = append(out, left[i])
		left = slices.Delete(left, i, i+1)
	}

	return out, ""
}
