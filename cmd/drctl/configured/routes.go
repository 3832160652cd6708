package configured

import (
	"context"
	"maps"
	"slices"

	"drctl/config/route"
	"drctl/config/secret"
	"drctl/internal/fail"
	"drctl/internal/traffic"
	"drctl/internal/traffic/command"
	"drctl/internal/traffic/haproxy"
	"drctl/internal/traffic/pgbouncer"
	"drctl/internal/traffic/route53"
	"drctl/targets"
)

// Routes are the ways by which clients reach a group, with what moves them. Secrets are
// read anew each time. It connects to nothing; the caller closes them.
func (p *Platform) Routes(ctx context.Context, group string) (traffic.Set, error) {
	g := p.Config.Groups[group]
	if g == nil {
		return nil, fail.Newf(fail.NotFound, "configuration", group, "there is no group of this name")
	}

	var out traffic.Set
	for _, name := range slices.Sorted(maps.Keys(g.Routes)) {
		b, err := p.route(ctx, name, g.Routes[name])
		if err != nil {
			out.Close()
			return nil, err
		}
		out = append(out, b)
	}

	return out, nil
}

// route is one route of the configuration with its driver.
func (p *Platform) route(ctx context.Context, name string, r *route.Route) (b traffic.Bound, err error) {
	b.Route = traffic.Route{Name: name, Kind: traffic.Kind(r.Kind), Service: r.Service, In: r.In, Regions: r.Leads()}
	if r.Shard != "" {
		if b.Route.Shard, err = targets.ParseShardID(r.Shard); err != nil {
			return b, fail.New(fail.Invalid, "configuration", name, "", err)
		}
	}

	switch b.Route.Kind {
	case traffic.HAProxy:
		s := haproxy.Spec{Route: b.Route, Sockets: r.Sockets, Backend: r.Backend, Servers: map[string]haproxy.Server{}}
		for region, x := range r.Backends {
			s.Servers[region] = haproxy.Server{Name: x.Server, Address: x.Address}
		}
		b.Driver, err = driver(haproxy.New(s))
	case traffic.PgBouncer:
		b.Driver, err = p.pooler(ctx, b.Route, r)
	case traffic.Route53:
		b.Driver, err = p.records(ctx, b.Route, r)
	case traffic.Exec, traffic.HTTP:
		b.Driver, err = p.hooks(ctx, b.Route, r)
	default:
		err = fail.Newf(fail.Unsupported, "configuration", name, "there is no driver for routes of kind %q", r.Kind)
	}

	return b, err
}

func (p *Platform) pooler(ctx context.Context, as traffic.Route, r *route.Route) (traffic.Driver, error) {
	password, err := p.optional(ctx, r.Password)
	if err != nil {
		return nil, err
	}

	s := pgbouncer.Spec{Route: as, Database: r.Database, User: r.User, Password: password, TLS: r.TLS, CAFile: r.CAFile, Sessions: r.Sessions, Backends: map[string]string{}}
	for _, x := range r.Poolers {
		s.Poolers = append(s.Poolers, pgbouncer.Pooler{Address: x.Address, File: x.File})
	}

	for region, x := range r.Backends {
		s.Backends[region] = x.Address
	}

	return driver(pgbouncer.New(s))
}

func (p *Platform) records(ctx context.Context, as traffic.Route, r *route.Route) (traffic.Driver, error) {
	key, err := p.optional(ctx, r.SecretKey)
	if err != nil {
		return nil, err
	}

	s := route53.Spec{Route: as, Zone: r.Zone, AccessKey: r.AccessKey, SecretKey: key}
	for _, x := range r.Records {
		s.Records = append(s.Records, route53.Record{Name: x.Name, Type: x.Type, TTL: x.TTL, Values: x.Values})
	}

	return driver(route53.New(ctx, s))
}

func (p *Platform) hooks(ctx context.Context, as traffic.Route, r *route.Route) (traffic.Driver, error) {
	s := command.Spec{Route: as, Limit: r.Limit, Lag: r.Lag}

	if as.Kind == traffic.Exec {
		env, err := p.secrets(ctx, r.Env)
		if err != nil {
			return nil, err
		}

		x := command.ExecSpec{Spec: s, Commands: map[string][]string{}, Env: env}
		for hook, c := range r.Commands {
			x.Commands[hook] = c.Run
		}

		return driver(command.NewExec(x))
	}

	headers, err := p.secrets(ctx, r.Headers)
	if err != nil {
		return nil, err
	}

	x := command.HTTPSpec{Spec: s, Requests: map[string]command.Request{}, Headers: headers, CAFile: r.CAFile}
	for hook, c := range r.Requests {
		x.Requests[hook] = command.Request{Method: c.Method, URL: c.URL, Body: c.Body}
	}

	return driver(command.NewHTTP(x))
}

// driver keeps a nil driver from looking like one.
func driver[D traffic.Driver](d D, err error) (traffic.Driver, error) {
	if err != nil {
		return nil, err
	}

	return d, nil
}

func (p *Platform) secrets(ctx context.Context, refs map[string]secret.Ref) (map[string]targets.Secret, error) {
	out := map[string]targets.Secret{}
	for name, ref := range refs {
		s, err := p.Config.Secret(ctx, ref)
		if err != nil {
			return nil, err
		}
		out[name] = s
	}

	return out, nil
}

// optional is the secret, or none where none is named.
func (p *Platform) optional(ctx context.Context, ref secret.Ref) (targets.Secret, error) {
	if ref.IsZero() {
		return targets.Secret{}, nil
	}

	return p.Config.Secret(ctx, ref)
}

// Host is how the server of an instance is stopped and started; nil is by hand.
func (p *Platform) Host(shard targets.ShardID, region string) (stop, start []string) {
	if t := p.Config.Targets[shard.Target]; t != nil && t.Shards[shard.Shard][region] != nil {
		in := t.Shards[shard.Shard][region]
		return in.Stop, in.Start
	}

	return nil, nil
}
