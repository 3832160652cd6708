package pgbouncer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"

	"drctl/internal/fail"
	"drctl/internal/traffic"
	"drctl/targets"
)

// What is done with the clients of a pool in session mode when it is held.
const (
	// Refuse does not hold such a pool.
	Refuse = "refuse"
	// Kill disconnects them; when they connect again they wait.
	Kill = "kill"
)

// Spec is a route of PgBouncer.
type Spec struct {
	Route traffic.Route
	// Poolers are all those that lead to the shard in the route's region.
	Poolers []Pooler
	// Database is its name in PgBouncer.
	Database string
	// User is one of admin_users.
	User     string
	Password targets.Secret
	// TLS is "disable", "require" or "verify-full" ("" is "disable"), of the console.
	TLS    string
	CAFile string
	// Backends are host:port by region.
	Backends map[string]string
	// Sessions is Refuse or Kill; "" is Refuse.
	Sessions string
}

// Pooler is one PgBouncer.
type Pooler struct {
	// Address is host:port.
	Address string
	// File has the line of the database; this process can write it. "" when the pooler
	// leads to a place that another route moves.
	File string
}

var (
	names = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

	_ traffic.Driver = (*Driver)(nil)
)

// Driver moves one database of PgBouncers.
type Driver struct {
	spec     Spec
	consoles []*console
}

// New checks a route's configuration. It connects to nothing.
func New(s Spec) (*Driver, error) {
	wrong := func(hint, format string, args ...any) (*Driver, error) {
		return nil, fail.New(fail.Invalid, "traffic: pgbouncer", s.Route.String(), hint, fmt.Errorf(format, args...))
	}

	if len(s.Poolers) == 0 || s.User == "" || !names.MatchString(s.Database) {
		return wrong("", "it needs poolers, a user of the console, and the name of a database")
	}

	if s.Sessions == "" {
		s.Sessions = Refuse
	}

	if s.Sessions != Refuse && s.Sessions != Kill {
		return wrong("use refuse or kill", "%q is not known", s.Sessions)
	}

	files := 0
	for _, p := range s.Poolers {
		if p.File != "" {
			files++
		}
	}

	if files != 0 && files != len(s.Poolers) {
		return wrong("give each pooler a file, or none", "some poolers have a file")
	}

	where := map[string]string{}
	for _, region := range slices.Sorted(maps.Keys(s.Backends)) {
		a := s.Backends[region]
		if _, _, err := net.SplitHostPort(a); err != nil || strings.ContainsAny(a, " \t\r\n'=,;#") {
			return wrong("write host:port", "region %s: %q is not an address", region, a)
		}

		if other, ok := where[a]; ok {
			return wrong("", "regions %s and %s have the same address", other, region)
		}
		where[a] = region
	}

	if files > 0 && len(where) == 0 {
		return wrong("name host:port of each region", "there are no backends")
	}

	d := &Driver{spec: s}
	for _, p := range s.Poolers {
		d.consoles = append(d.consoles, &console{spec: s, Pooler: p})
	}

	return d, nil
}

// Can says that the route is held, drained and isolated, and pointed where it has files.
func (d *Driver) Can() traffic.Abilities {
	return traffic.Abilities{Hold: true, Drain: true, Isolate: true, Point: d.spec.Poolers[0].File != ""}
}

// Close gives up the connections to the consoles.
func (d *Driver) Close() {
	for _, c := range d.consoles {
		c.close()
	}
}

func (d *Driver) each(f func(c *console) error) error {
	return traffic.Each(len(d.consoles), func(i int) error { return f(d.consoles[i]) })
}

// keyFile is where the line in a pooler's file leads: while a change is half done, to
// another place than the pooler.
const keyFile = "file"

// Read asks every console.
func (d *Driver) Read(ctx context.Context) (traffic.State, error) {
	const op = "traffic: read"
	parts, warnings := make([]traffic.Part, len(d.consoles)), make([][]string, len(d.consoles))

	err := traffic.Each(len(parts), func(i int) error {
		var err error
		if parts[i], err = d.read(ctx, op, d.consoles[i]); err != nil {
			return err
		}
		warnings[i], err = d.consoles[i].warnings(ctx, op)

		return err
	})
	if err != nil {
		return traffic.State{}, err
	}

	return traffic.NewState(d.spec.Route.Name, parts, slices.Concat(warnings...)...), nil
}

func (d *Driver) read(ctx context.Context, op string, c *console) (traffic.Part, error) {
	part := traffic.Part{Name: c.Address, Was: map[string]string{}}

	db, err := c.database(ctx, op)
	if err != nil {
		return part, err
	}

	part.Address, part.Held = db.address, db.paused
	part.Isolated = db.disabled || db.paused && db.connections == 0
	part.Region = d.region(db.address)

	if c.File == "" {
		return part, nil
	}

	part.Was[keyFile], err = fileAddress(op, c.File, d.spec.Database)

	return part, err
}

func (d *Driver) region(address string) string {
	for region, a := range d.spec.Backends {
		if a == address {
			return region
		}
	}

	return ""
}

// unverified is the error of a pooler that took a command and shows something else.
func (c *console) unverified(op, hint, format string, args ...any) error {
	if hint == "" {
		hint = "look at it with: SHOW DATABASES"
	}

	return fail.New(fail.Unverified, op, c.Address, hint, fmt.Errorf(format, args...))
}

var errSessions = errors.New("its pool is in session mode: a pause would wait until every client leaves")
