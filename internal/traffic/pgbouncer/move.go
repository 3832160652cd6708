package pgbouncer

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"drctl/internal/fail"
	"drctl/internal/traffic"
)

// Hold pauses the database at every pooler: transactions end, connections to servers
// are closed, new work waits. The first that fails ends the wait for the others, and
// those that this call has paused are resumed.
func (d *Driver) Hold(ctx context.Context) error {
	const op = "traffic: hold"
	group, all := errgroup.WithContext(ctx)

	mine := make([]atomic.Bool, len(d.consoles))
	for i, c := range d.consoles {
		group.Go(func() error { return d.pause(all, op, c, &mine[i]) })
	}

	err := group.Wait()
	if err == nil {
		return nil
	}

	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), traffic.UndoLimit)
	defer cancel()

	uerr := traffic.Each(len(mine), func(i int) error {
		if !mine[i].Load() {
			return nil
		}

		return d.resume(back, op, d.consoles[i])
	})
	if uerr != nil {
		return fail.New(fail.CodeOf(err), op, d.spec.Route.String(), "resume it by hand: clients wait there",
			fmt.Errorf("%w; and not all poolers could be resumed: %w", err, uerr))
	}

	return err
}

// pause sets mine before the pooler may have been paused by it.
func (d *Driver) pause(ctx context.Context, op string, c *console, mine *atomic.Bool) error {
	db, err := c.database(ctx, op)
	if err != nil || db.paused && db.connections == 0 {
		return err
	}

	session, err := c.session(ctx, op, db)
	if err != nil {
		return err
	}

	command := "PAUSE"

	if session && d.spec.Sessions == Refuse {
		return fail.New(fail.Conflict, op, c.Address, "use pool_mode transaction, or say sessions: kill to disconnect them", errSessions)
	}

	if session {
		command = "KILL"
	}

	mine.Store(!db.paused)

	return d.stop(ctx, op, c, command)
}

// stop pauses the database and waits until nobody is connected to a server. That
// PgBouncer has answered says little: it closes idle connections a little later, and it
// answers a PAUSE early when somebody's WAIT_CLOSE has ended before.
func (d *Driver) stop(ctx context.Context, op string, c *console, command string) error {
	if _, err := c.run(ctx, op, command+` "`+d.spec.Database+`"`); err != nil {
		return err
	}

	return c.until(ctx, op, func() error {
		db, err := c.database(ctx, op)
		if err == nil && (!db.paused || db.connections > 0) {
			return c.unverified(op, "", "after %s its database %s has %d connections to servers, paused: %t", command, d.spec.Database, db.connections, db.paused)
		}

		return err
	})
}

// resume lets the clients of a pooler go on.
func (d *Driver) resume(ctx context.Context, op string, c *console) error {
	db, err := c.database(ctx, op)
	if err != nil || !db.paused {
		return err
	}

	if _, err := c.run(ctx, op, `RESUME "`+d.spec.Database+`"`); err != nil {
		return err
	}

	db, err = c.database(ctx, op)
	if err == nil && db.paused {
		return c.unverified(op, "", "database %s is still paused", d.spec.Database)
	}

	return err
}

// Isolate disconnects clients and servers at once and keeps the database paused. Where
// it is paused and nobody is connected, clients go on waiting.
func (d *Driver) Isolate(ctx context.Context) error {
	const op = "traffic: isolate"

	return d.each(func(c *console) error {
		db, err := c.database(ctx, op)
		if err != nil || db.paused && db.connections == 0 {
			return err
		}

		return d.stop(ctx, op, c, "KILL")
	})
}

// Point writes the region's address into every pooler's file and lets it read that. A
// pooler that is not held closes its connections to the old server as transactions end;
// Point waits for that.
func (d *Driver) Point(ctx context.Context, region string) error {
	const op = "traffic: point"

	address, ok := d.spec.Backends[region]
	if !ok {
		return traffic.UnknownRegion(op, d.spec.Route, region)
	}

	if !d.Can().Point {
		return traffic.CannotDo(op, d.spec.Route, "give its poolers a file")
	}

	return d.each(func(c *console) error { return d.lead(ctx, op, c, address, address) })
}

// lead makes a pooler lead to an address, and its file say file: something else only
// where that was so before.
func (d *Driver) lead(ctx context.Context, op string, c *console, address, file string) error {
	db, err := c.database(ctx, op)
	if err != nil {
		return err
	}

	if db.address != address {
		if err := d.reload(ctx, op, c, address); err != nil {
			return err
		}
	}

	if err := writeAddress(op, c.File, d.spec.Database, file); err != nil {
		return err
	}

	return c.until(ctx, op, func() error {
		rows, err := c.run(ctx, op, "SHOW SERVERS")
		if err != nil {
			return err
		}

		for _, r := range rows {
			if r["database"] == d.spec.Database && r["close_needed"] == "1" {
				return c.unverified(op, "", "a connection to %s is still in use", net.JoinHostPort(r["addr"], r["port"]))
			}
		}

		return nil
	})
}

// reload lets a pooler read an address from its file.
func (d *Driver) reload(ctx context.Context, op string, c *console, address string) error {
	if err := writeAddress(op, c.File, d.spec.Database, address); err != nil {
		return err
	}

	if _, err := c.run(ctx, op, "RELOAD"); err != nil {
		return err
	}

	db, err := c.database(ctx, op)
	if err == nil && db.address != address {
		return c.unverified(op, "PgBouncer's log says why; is the file included under [databases]?",
			"after RELOAD its database %s leads to %s and not to %s, as %s says", d.spec.Database, db.address, address, c.File)
	}

	return err
}

// Release resumes every pooler that leads to the region. Without files another route
// moves what is behind the poolers, and they are resumed wherever they lead.
func (d *Driver) Release(ctx context.Context, region string, _ traffic.State) error {
	const op = "traffic: release"
	if _, ok := d.spec.Backends[region]; !ok && d.Can().Point {
		return traffic.UnknownRegion(op, d.spec.Route, region)
	}

	return d.each(func(c *console) error {
		part, err := d.read(ctx, op, c)
		if err != nil {
			return err
		}

		if d.Can().Point && part.Region != region {
			return traffic.Elsewhere(op, d.spec.Route, part, region)
		}

		return d.resume(ctx, op, c)
	})
}

// Undo makes every pooler lead to where it did, and then pauses or resumes it.
func (d *Driver) Undo(ctx context.Context, was traffic.State) error {
	const op = "traffic: undo"

	return d.each(func(c *console) error {
		old, ok := was.Part(c.Address)
		if !ok {
			return traffic.OtherState(op, d.spec.Route, c.Address)
		}

		if c.File != "" {
			if err := d.lead(ctx, op, c, old.Address, old.Was[keyFile]); err != nil {
				return err
			}
		}

		if old.Held {
			return d.stop(ctx, op, c, "PAUSE")
		}

		return d.resume(ctx, op, c)
	})
}
