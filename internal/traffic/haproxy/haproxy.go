package haproxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"slices"

	"drctl/internal/fail"
	"drctl/internal/traffic"
)

// Spec is a route of HAProxy.
type Spec struct {
	Route traffic.Route
	// Sockets are the runtime APIs of all proxies of the route: an absolute path, or
	// host:port.
	Sockets []string
	// Backend holds the servers.
	Backend string
	// Servers are the backends by region.
	Servers map[string]Server
}

// Server is what HAProxy sends the clients of a region to.
type Server struct {
	Name string // of the server in the backend
	// Address is ip:port, which the server is given; "" leaves it what it has.
	Address string
}

var (
	word = regexp.MustCompile(`^[A-Za-z0-9_.:-]+$`)

	_ traffic.Driver = (*Driver)(nil)
)

// Driver moves one route of HAProxy.
type Driver struct{ spec Spec }

// New checks a route's configuration. It connects to nothing.
func New(s Spec) (*Driver, error) {
	wrong := func(hint, format string, args ...any) (*Driver, error) {
		return nil, fail.New(fail.Invalid, "traffic: haproxy", s.Route.String(), hint, fmt.Errorf(format, args...))
	}
	if len(s.Sockets) == 0 || len(s.Servers) == 0 || !word.MatchString(s.Backend) {
		return wrong("", "it needs a socket, servers, and the name of a backend")
	}

	where := map[Server]string{}
	for _, region := range slices.Sorted(maps.Keys(s.Servers)) {
		sv := s.Servers[region]
		if !word.MatchString(sv.Name) {
			return wrong("", "%q is not the name of a server", sv.Name)
		}

		if _, err := netip.ParseAddrPort(sv.Address); sv.Address != "" && err != nil {
			return wrong("the runtime API takes ip:port, and no host names", "region %s: %w", region, err)
		}

		if other, ok := where[sv]; ok {
			return wrong("give each region a server or an address of its own", "regions %s and %s have the same server", other, region)
		}
		where[sv] = region
	}

	return &Driver{s}, nil
}

// Can says that the route can be pointed and isolated, and not held.
func (d *Driver) Can() traffic.Abilities {
	return traffic.Abilities{Isolate: true, Point: true}
}

// Close does nothing: HAProxy ends a connection after each command.
func (d *Driver) Close() {}

// each does something with every proxy at the same time.
func (d *Driver) each(f func(s socket) error) error {
	return traffic.Each(len(d.spec.Sockets), func(i int) error { return f(socket(d.spec.Sockets[i])) })
}

// names are the servers of the route, each once.
func (d *Driver) names() []string {
	var out []string
	for _, sv := range d.spec.Servers {
		out = append(out, sv.Name)
	}

	slices.Sort(out)

	return slices.Compact(out)
}

// The keys of what undo needs of a part.
const (
	keyAddress = "address:" // of a server
	keyState   = "state:"   // of a server: ready, drain or maint
)

// Read asks every proxy.
func (d *Driver) Read(ctx context.Context) (traffic.State, error) {
	const op = "traffic: read"

	parts := make([]traffic.Part, len(d.spec.Sockets))

	err := traffic.Each(len(parts), func(i int) (err error) {
		parts[i], err = d.read(ctx, op, socket(d.spec.Sockets[i]))
		return err
	})
	if err != nil {
		return traffic.State{}, err
	}

	return traffic.NewState(d.spec.Route.Name, parts,
		"a reload of HAProxy forgets where it was pointed, unless it has server-state-file and load-server-state-from-file"), nil
}

func (d *Driver) read(ctx context.Context, op string, s socket) (traffic.Part, error) {
	part := traffic.Part{Name: string(s), Was: map[string]string{}}

	all, err := d.servers(ctx, op, s)
	if err != nil {
		return part, err
	}

	var open []string
	for _, name := range d.names() {
		sv := all[name]
		part.Was[keyAddress+name], part.Was[keyState+name] = sv.address, sv.state()

		if !sv.maint {
			open = append(open, name)
			part.Address = sv.address
		}
	}

	part.Isolated = len(open) == 0
	for region, sv := range d.spec.Servers {
		if len(open) == 1 && sv.Name == open[0] && (sv.Address == "" || same(sv.Address, part.Address)) {
			part.Region = region
		}
	}

	return part, nil
}

// servers reads those of the route, each of which must be there.
func (d *Driver) servers(ctx context.Context, op string, s socket) (map[string]server, error) {
	all, err := s.servers(ctx, op, d.spec.Backend)
	if err != nil {
		return nil, err
	}

	for _, name := range d.names() {
		if _, ok := all[name]; !ok {
			return nil, fail.New(fail.NotFound, op, string(s), "correct the name of the server",
				fmt.Errorf("backend %s has no server %s", d.spec.Backend, name))
		}
	}

	return all, nil
}

func (s server) state() string {
	switch {
	case s.maint:
		return "maint"
	case s.drain:
		return "drain"
	}

	return "ready"
}

// same compares addresses, however they are written.
func same(a, b string) bool {
	x, xerr := netip.ParseAddrPort(a)

	y, yerr := netip.ParseAddrPort(b)
	if xerr != nil || yerr != nil {
		return a == b
	}

	return x.Addr().Unmap() == y.Addr().Unmap() && x.Port() == y.Port()
}

// setAddress is the command that gives a server an address.
func (d *Driver) setAddress(name, address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fail.New(fail.Invalid, "traffic: point", d.spec.Route.String(), "", err)
	}

	return fmt.Sprintf("set server %s/%s addr %s port %s", d.spec.Backend, name, host, port), nil
}

func (d *Driver) setState(name, state string) string {
	return fmt.Sprintf("set server %s/%s state %s", d.spec.Backend, name, state)
}

// unverified is the error of a proxy that took a command and shows something else.
func (d *Driver) unverified(op string, s socket, said, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if said != "" {
		err = errors.Join(err, errors.New("HAProxy answered: "+said))
	}

	return fail.New(fail.Unverified, op, string(s), "look at it with: show servers state "+d.spec.Backend, err)
}
