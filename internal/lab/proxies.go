package lab

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"drctl/internal/fail"
	"drctl/internal/lab/lines"
	"drctl/internal/servers"
	"drctl/targets"
)

// Proxy is the role of what stands between the customers and the servers.
const Proxy targets.Role = "proxy"

// serverName is the one server of a HAProxy's backend, whose address is changed.
const serverName = "store"

// Proxied reports whether the lab has proxies.
func (l *Lab) Proxied() bool { return len(l.Proxies()) > 0 }

// Proxies are the lab's proxies: one before each shard of PostgreSQL and Redis.
func (l *Lab) Proxies() (out []Server) {
	for _, s := range l.Servers() {
		if s.Role == Proxy {
			out = append(out, s)
		}
	}

	return out
}

// addProxies records a proxy for every shard that can have one.
func (l *Lab) addProxies() error {
	for _, s := range l.Servers() {
		kind := map[targets.Kind]targets.Kind{targets.Postgres: servers.PgBouncer, targets.Redis: servers.HAProxy}[s.Kind]
		if s.Region != East || kind == "" {
			continue
		}

		p := Server{Name: "proxy/" + s.Shard.String(), Shard: s.Shard, Kind: kind, Role: Proxy, Dir: filepath.Join(l.dir, "proxies", proxyName(s.Shard))}

		var err error
		if p.Port, err = servers.FreePort(); err != nil {
			return err
		}

		if kind == servers.HAProxy {
			if p.Runtime, err = servers.FreePort(); err != nil {
				return err
			}
		}

		l.st.Servers = append(l.st.Servers, p)
	}

	return l.save()
}

// proxyName names a shard's route, and the backend of its HAProxy.
func proxyName(id targets.ShardID) string { return id.Target + "-" + id.Shard }

// databases is the file that says where a PgBouncer leads.
func databases(p Server) string { return servers.PgBouncerSpec{Dir: p.Dir}.DatabasesFile() }

// Through returns how customers reach a shard: by its proxy. What can have none is
// reached itself, in East.
func (l *Lab) Through(id targets.ShardID) (targets.Instance, error) {
	in, err := l.Instance(East, id)
	if err != nil || in.Kind == targets.S3 {
		return in, err
	}

	for _, p := range l.Proxies() {
		if p.Shard == id {
			in.Address = p.Address()
			return in, nil
		}
	}

	return in, fail.Newf(fail.NotFound, "lab", "the proxy of "+id.String(), "the lab has none; give it proxies with: drlab up --proxies")
}

func (l *Lab) startProxy(ctx context.Context, p Server) (servers.Server, error) {
	to, err := l.leader(ctx, p.Shard)
	if err != nil {
		return servers.Server{}, err
	}
	to = l.seen(lines.Outside, to)

	if p.Kind == servers.HAProxy {
		// It checks nothing: what takes writes, others decide.
		return l.tools.StartHAProxy(ctx, servers.HAProxySpec{Name: p.Name, Dir: p.Dir, Port: p.Runtime, Detached: true,
			Defaults: []string{"timeout connect 200ms", "retries 1"},
			Listens:  []servers.HAProxyListen{{Name: proxyName(p.Shard), Port: p.Port, Servers: []string{serverName + " " + to.Address + " on-marked-down shutdown-sessions"}}}})
	}

	// Every session of the shop gives up a lock after two seconds; a pooler takes no
	// such wish from a client.
	return l.tools.StartPgBouncer(ctx, servers.PgBouncerSpec{Name: p.Name, Dir: p.Dir, Port: p.Port, Detached: true,
		Databases: map[string]string{to.Database: to.Address}, ConnectQuery: "SET lock_timeout = 2000",
		Users: map[string]targets.Secret{to.User: to.Password}, Admins: []string{to.User},
		Settings: map[string]string{"ignore_startup_parameters": "extra_float_digits,lock_timeout"}})
}

// keepEvery is how often a dead proxy is looked for.
const keepEvery = 200 * time.Millisecond

// Keep starts the proxies and the lines of the lab in a directory again when they die, as the service
// manager of a host does, until ctx ends. It says each that it started. What was
// stopped on purpose, and what else is down, it leaves alone.
func Keep(ctx context.Context, dir string, tools servers.Binaries, say func(string)) error {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()

	for {
		// Others write the lab's record, too.
		l, err := Open(dir, tools)
		if err != nil {
			return err
		}

		for i, s := range l.Servers() {
			if s.Role != Proxy && s.Role != linesName || !s.Made || s.Proc.Pid == 0 || s.Proc.Alive() {
				continue
			}

			say(fmt.Sprintf("%s (process %d) is gone; starting it again", s.Name, s.Proc.Pid))

			if err := l.start(ctx, i); err != nil && ctx.Err() == nil {
				say(fmt.Sprintf("%s: %v", s.Name, err))
			}
		}

		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// leader is where a proxy leads that has forgotten where it was pointed, or was never: whoever
// takes writes in West, else the server in East.
func (l *Lab) leader(ctx context.Context, id targets.ShardID) (targets.Instance, error) {
	west, err := l.Instance(West, id)
	if err != nil {
		return west, err
	}

	if leads, err := takesWrites(ctx, west); err == nil && leads {
		return west, nil
	}

	return l.Instance(East, id)
}
