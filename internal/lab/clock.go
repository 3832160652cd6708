package lab

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"drctl/internal/fail"
	"drctl/internal/lab/clocks"
	"drctl/targets"
)

// clock is the fault of a clock that is off.
const clock = "clock"

// clockFile is where the clock of a server is set.
func (l *Lab) clockFile(s Server) string {
	return filepath.Join(l.dir, "clocks", strings.ReplaceAll(s.Name, "/", "-"))
}

// clockOf is the environment of a server in a lab with clocks.
func (l *Lab) clockOf(s Server) ([]string, error) {
	if !l.st.Clocks {
		return nil, nil
	}

	return clocks.Environment(l.clockFile(s))
}

// stepClock steps the clock of a server, or sets it right, and looks whether it did.
func (l *Lab) stepClock(ctx context.Context, f Fault, undo bool) error {
	if !l.st.Clocks {
		return fail.New(fail.Unsupported, opFault, clock+" "+f.What, "make a lab with: drlab up --clocks", errors.New("the servers of this lab have the host's clock"))
	}

	for _, s := range l.Servers() {
		if s.Name != f.What || s.Kind != targets.Postgres && s.Kind != targets.Redis {
			continue
		}

		if undo {
			return clocks.Set(l.clockFile(s), 0)
		}

		if f.By == 0 {
			return fail.New(fail.Invalid, opFault, clock+" "+f.What, "say by how much, such as --by 90s or --by -90s", errors.New("it is not off"))
		}

		if err := clocks.Set(l.clockFile(s), f.By); err != nil {
			return err
		}

		if err := l.sees(ctx, s, f.By); err != nil {
			return errors.Join(err, clocks.Set(l.clockFile(s), 0))
		}

		return nil
	}

	return fail.Newf(fail.NotFound, opFault, f.What, "the lab has no such server of PostgreSQL or Redis; see: drlab status")
}

// sees asks a server for its time, which is to be off by so much.
func (l *Lab) sees(ctx context.Context, s Server, off time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, asked)
	defer cancel()

	in, err := l.Instance(s.Region, s.Shard)
	if err != nil {
		return err
	}

	before := time.Now()

	at, err := timeOf(ctx, in)
	if err != nil {
		return err
	}

	// Redis looks at the clock some times a second, and answers with what it has seen.
	const stale = 2 * time.Second
	if real := at.Add(-off); real.Before(before.Add(-stale)) || real.After(time.Now().Add(stale)) {
		return fail.New(fail.Unsupported, opFault, clock+" "+s.Name, "drctl has started it, with the host's clock: stop it, and start it with drlab up", errors.New("its clock does not step"))
	}

	return nil
}

// timeOf asks a server what time it is.
func timeOf(ctx context.Context, in targets.Instance) (at time.Time, err error) {
	if in.Kind == targets.Postgres {
		c, err := connect(ctx, in, "postgres")
		if err != nil {
			return at, err
		}
		defer c.Close(context.WithoutCancel(ctx))

		if err := c.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&at); err != nil {
			return at, fail.New(fail.Unavailable, opFault, in.String(), "", err)
		}

		return at, nil
	}

	c := redis.NewClient(&redis.Options{Addr: in.Address, Password: in.Password.Reveal(), MaxRetries: -1, DisableIdentity: true})
	defer c.Close()

	if at, err = c.Time(ctx).Result(); err != nil {
		return at, fail.New(fail.Unavailable, opFault, in.String(), "", err)
	}

	return at, nil
}
