package haproxy

import (
	"context"
	"fmt"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/retry"
	"drctl/internal/traffic"
)

// Hold cannot be done: HAProxy has nothing that lets new connections wait.
func (d *Driver) Hold(context.Context) error {
	return traffic.CannotDo("traffic: hold", d.spec.Route, "put a pooler before it that can, or hold the writers at the servers")
}

// Isolate takes every server of the route out of use and ends all sessions with them. New
// connections are closed at once.
func (d *Driver) Isolate(ctx context.Context) error {
	const op = "traffic: isolate"

	return d.each(func(s socket) error {
		if _, err := d.servers(ctx, op, s); err != nil {
			return err
		}

		return d.shut(ctx, op, s, d.names())
	})
}

// shut takes servers out of use and returns when no session with them is left.
func (d *Driver) shut(ctx context.Context, op string, s socket, names []string) error {
	var commands []string
	for _, name := range names {
		commands = append(commands, d.setState(name, "maint"), fmt.Sprintf("shutdown sessions server %s/%s", d.spec.Backend, name))
	}

	// A session that was just being opened may come after the command.
	wait := retry.Policy{First: 2 * time.Millisecond, Max: 50 * time.Millisecond, For: 30 * time.Second, If: retry.On(fail.Unverified)}

	return retry.Do(ctx, wait, func() error {
		said, err := s.change(ctx, op, commands...)
		if err != nil {
			return err
		}

		all, err := d.servers(ctx, op, s)
		if err != nil {
			return err
		}

		sessions, err := s.sessions(ctx, op, d.spec.Backend)
		if err != nil {
			return err
		}

		for _, name := range names {
			if !all[name].maint {
				return d.unverified(op, s, said, "server %s is still in use", name)
			}

			if n := sessions[name]; n != "0" {
				return d.unverified(op, s, said, "server %s still has %s sessions", name, n)
			}
		}

		return nil
	})
}

// Point gives every proxy the region's server. One that has it already is not touched.
func (d *Driver) Point(ctx context.Context, region string) error {
	const op = "traffic: point"

	to, ok := d.spec.Servers[region]
	if !ok {
		return traffic.UnknownRegion(op, d.spec.Route, region)
	}

	return d.each(func(s socket) error {
		part, err := d.read(ctx, op, s)
		if err != nil || part.Region == region && part.Was[keyState+to.Name] == "ready" {
			return err
		}

		if err := d.shut(ctx, op, s, d.names()); err != nil {
			return err
		}

		if err := d.open(ctx, op, s, to.Name, to.Address, "ready"); err != nil {
			return err
		}

		part, err = d.read(ctx, op, s)
		if err == nil && part.Region != region {
			return d.unverified(op, s, "", "it leads to %q and not to %s", part.Address, region)
		}

		return err
	})
}

// open gives a server that is shut its address and its state. With health checks it is up at
// once, until a check says otherwise.
func (d *Driver) open(ctx context.Context, op string, s socket, name, address, state string) error {
	var commands []string
	if address != "" {
		c, err := d.setAddress(name, address)
		if err != nil {
			return err
		}
		commands = append(commands, c)
	}

	said, err := s.change(ctx, op, append(commands, d.setState(name, state))...)
	if err != nil {
		return err
	}

	all, err := d.servers(ctx, op, s)
	if err != nil {
		return err
	}

	if sv := all[name]; sv.checked && !sv.running && state == "ready" {
		if _, err := s.change(ctx, op, fmt.Sprintf("set server %s/%s health up", d.spec.Backend, name)); err != nil {
			return err
		}
	}

	if sv := all[name]; sv.state() != state || address != "" && !same(sv.address, address) {
		return d.unverified(op, s, said, "server %s is %s at %s, and not %s at %s", name, sv.state(), sv.address, state, address)
	}

	return nil
}

// Release has nothing to end that Point has not: it sees that the route leads to the
// region.
func (d *Driver) Release(ctx context.Context, region string, _ traffic.State) error {
	const op = "traffic: release"
	if _, ok := d.spec.Servers[region]; !ok {
		return traffic.UnknownRegion(op, d.spec.Route, region)
	}

	return d.each(func(s socket) error {
		part, err := d.read(ctx, op, s)
		if err == nil && part.Region != region {
			return traffic.Elsewhere(op, d.spec.Route, part, region)
		}

		return err
	})
}

// Undo gives every server the address and the state that were read.
func (d *Driver) Undo(ctx context.Context, was traffic.State) error {
	const op = "traffic: undo"

	return d.each(func(s socket) error {
		old, ok := was.Part(string(s))
		if !ok {
			return traffic.OtherState(op, d.spec.Route, string(s))
		}

		return d.back(ctx, op, s, old)
	})
}

// back gives every server what it had. One that still has it keeps its sessions; the
// others are all shut before the first is opened.
func (d *Driver) back(ctx context.Context, op string, s socket, old traffic.Part) error {
	all, err := d.servers(ctx, op, s)
	if err != nil {
		return err
	}

	var changed []string
	for _, name := range d.names() {
		address, state := old.Was[keyAddress+name], old.Was[keyState+name]
		if state == "" {
			return traffic.OtherState(op, d.spec.Route, "server "+name+" at "+string(s))
		}

		if !same(all[name].address, address) || all[name].state() != state {
			changed = append(changed, name)
		}
	}

	if len(changed) == 0 {
		return nil
	}

	if err := d.shut(ctx, op, s, changed); err != nil {
		return err
	}

	for _, name := range changed {
		address := old.Was[keyAddress+name]
		if strings.HasPrefix(address, "-:") { // a name that could not be resolved has none
			address = ""
		}

		if err := d.open(ctx, op, s, name, address, old.Was[keyState+name]); err != nil {
			return err
		}
	}

	return nil
}
