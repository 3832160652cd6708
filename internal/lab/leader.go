package lab

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"drctl/internal/fail"
	"drctl/internal/proc"
	"drctl/internal/servers"
	"drctl/targets"
)

// asked is how long a server has to say what it is.
const asked = 5 * time.Second

// Leads asks every shard of PostgreSQL and Redis whether it takes writes in a region
// and in no other. Conflict when one does not.
func (l *Lab) Leads(ctx context.Context, region string) error {
	for _, s := range l.Servers() {
		if s.Region == "" || s.Kind == targets.S3 {
			continue
		}

		in, err := l.Instance(s.Region, s.Shard)
		if err != nil {
			return err
		}

		writable, err := takesWrites(ctx, in)

		switch {
		case s.Region == region && err != nil:
			return err
		case s.Region == region && !writable:
			return fail.New(fail.Conflict, "lab: who leads", s.Name, "name the region in which the primaries are", errors.New("it follows another server"))
		case s.Region != region && writable && err == nil: // one that does not answer takes nothing
			return fail.New(fail.Conflict, "lab: who leads", s.Name, "fence it, or name its region", errors.New("it takes writes too"))
		}
	}

	return nil
}

// takesWrites asks a server whether it follows nobody.
func takesWrites(ctx context.Context, in targets.Instance) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, asked)
	defer cancel()

	if in.Kind == targets.Postgres {
		c, err := connect(ctx, in, "postgres")
		if err != nil {
			return false, err
		}
		defer c.Close(context.WithoutCancel(ctx))

		follows := true
		if err := c.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&follows); err != nil {
			return false, fail.New(fail.Unavailable, "lab: who leads", in.String(), "", err)
		}

		return !follows, nil
	}

	c := redis.NewClient(&redis.Options{Addr: in.Address, Password: in.Password.Reveal(), MaxRetries: -1, DisableIdentity: true})
	defer c.Close()

	text, err := c.Info(ctx, "replication").Result()
	if err != nil {
		return false, fail.New(fail.Unavailable, "lab: who leads", in.String(), "", err)
	}

	return strings.Contains(text, "role:master"), nil
}

// upstream is whom a server follows that is made now: whoever leads in the other
// region, or, while nobody does, what its own role says; as its region sees it. Nobody is the zero instance.
func (l *Lab) upstream(ctx context.Context, s Server) (targets.Instance, error) {
	other := map[string]string{East: West, West: East}[s.Region]

	in, err := l.Instance(other, s.Shard)
	if err != nil || s.Role == targets.Standby {
		return l.seen(s.Region, in), err
	}

	for _, o := range l.Servers() {
		if o.Region != other || o.Shard != s.Shard || !o.Proc.Alive() {
			continue
		}

		if leads, err := takesWrites(ctx, in); leads || err != nil {
			return l.seen(s.Region, in), err
		}
	}

	return targets.Instance{}, nil
}

// replicaOf reads out of a Redis server's configuration whom it follows: "" for nobody.
func replicaOf(dir string) (address string, known bool) {
	f, err := os.Open(filepath.Join(dir, "redis.conf"))
	if err != nil {
		return "", false
	}
	defer f.Close()

	for in := bufio.NewScanner(f); in.Scan(); {
		if words := strings.Fields(in.Text()); len(words) == 3 && words[0] == "replicaof" {
			return words[1] + ":" + words[2], true
		}
	}

	return "", true
}

// adopt finds the servers that somebody has started again in their directories, as a switchover does
// with one of PostgreSQL, and a failover to a proven moment with one of Redis.
func (l *Lab) adopt() {
	for i, s := range l.st.Servers {
		if s.Role == Proxy || s.Proc.Alive() {
			continue
		}

		dir, err := filepath.EvalSymlinks(s.Dir)
		if err != nil {
			continue // it was never made, or its disk is lost
		}

		all := proc.In(dir, "postgres", "redis-server")
		first := slices.IndexFunc(all, func(p proc.Resident) bool {
			return !slices.ContainsFunc(all, func(x proc.Resident) bool { return x.Pid == proc.ParentOf(p.Pid) })
		})

		if first >= 0 {
			id := all[first].ID
			l.st.Servers[i].Proc = servers.Server{Name: s.Name, Kind: s.Kind, ID: id, Dir: s.Dir, Address: s.Address(), LogFile: s.Dir + ".log"}
		}
	}
}
