package haproxy_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/internal/traffic"
	"drctl/internal/traffic/haproxy"
	"drctl/internal/traffic/traffictest"
	"drctl/targets"
)

// proxies are two of HAProxy, whose frontends pass on to the same servers.
type proxies struct {
	specs []*servers.HAProxySpec
	procs []servers.Server
	relay *traffictest.Relay // before the runtime API of the second
}

func start(t *testing.T, lines ...string) *proxies {
	t.Helper()

	p := &proxies{}
	for range 2 {
		s := &servers.HAProxySpec{Listens: []servers.HAProxyListen{{Name: "store", Servers: lines}}}
		p.procs, p.specs = append(p.procs, sandboxtest.HAProxy(t, s)), append(p.specs, s)
	}

	p.relay = traffictest.NewRelay(t, p.procs[1].Address)

	return p
}

// sockets are one of unix and one of TCP.
func (p *proxies) sockets() []string {
	return []string{filepath.Join(p.specs[0].Dir, "runtime.sock"), p.relay.Address}
}

func (p *proxies) cut(t *testing.T) func() {
	p.relay.Cut()
	mended := false

	return func() {
		if !mended {
			p.relay.Mend(t)
		}

		mended = true
	}
}

// ask asks through every frontend, and fails when they do not agree.
func (p *proxies) ask(ctx context.Context, one func(ctx context.Context, addr string) (string, error)) (string, error) {
	said := ""
	for i, s := range p.specs {
		got, err := one(ctx, "127.0.0.1:"+strconv.Itoa(s.Listens[0].Port))
		if err != nil {
			return "", err
		}

		if i > 0 && got != said {
			return "", fmt.Errorf("one proxy leads to %s, the other to %s", said, got)
		}
		said = got
	}

	return said, nil
}

func (p *proxies) spec(servers map[string]haproxy.Server) haproxy.Spec {
	return haproxy.Spec{Route: traffic.Route{Name: "store", Kind: traffic.HAProxy, Shard: targets.ShardID{Target: "orders", Shard: "0"}, Regions: []string{"east", "west"}},
		Sockets: p.sockets(), Backend: "store", Servers: servers}
}

func driver(t *testing.T, s haproxy.Spec) *haproxy.Driver {
	t.Helper()

	d, err := haproxy.New(s)
	if err != nil {
		t.Fatal(err)
	}

	return d
}

// region says which of two instances a port is of.
func region(east, west targets.Instance, port string) (string, error) {
	for name, in := range map[string]targets.Instance{"east": east, "west": west} {
		if _, p, _ := net.SplitHostPort(in.Address); p == port {
			return name, nil
		}
	}

	return "", errors.New("no server has port " + port)
}

// TestPostgres moves PostgreSQL through one server whose address changes.
func TestPostgres(t *testing.T) {
	east, west := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{}), sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	p := start(t, "primary "+east.Address)
	spec := p.spec(map[string]haproxy.Server{"east": {Name: "primary", Address: east.Address}, "west": {Name: "primary", Address: west.Address}})

	port := func(ctx context.Context, c *pgx.Conn) (string, error) {
		var n string
		if err := c.QueryRow(ctx, "SELECT current_setting('port')").Scan(&n); err != nil {
			return "", err
		}

		return region(east, west, n)
	}
	connect := func(ctx context.Context, addr string) (*pgx.Conn, error) {
		in := east
		in.Address = addr

		return pgx.Connect(ctx, sandboxtest.DSN(in, "shop"))
	}

	traffictest.Run(t, traffictest.Rig{Route: spec.Route, East: "east", West: "west", Rounds: sandboxtest.Size(8, 60), Cut: p.cut, Idle: p.relay.Idle,
		New: func(t *testing.T) traffic.Driver { return driver(t, spec) },
		Ask: func(ctx context.Context) (string, error) {
			return p.ask(ctx, func(ctx context.Context, addr string) (string, error) {
				c, err := connect(ctx, addr)
				if err != nil {
					return "", err
				}
				defer c.Close(context.WithoutCancel(ctx))

				return port(ctx, c)
			})
		},
		Session: func(t *testing.T) func(context.Context) (string, error) {
			c, err := connect(context.Background(), fmt.Sprintf("127.0.0.1:%d", p.specs[0].Listens[0].Port))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close(context.Background()) })

			return func(ctx context.Context) (string, error) { return port(ctx, c) }
		}})
}

// TestRedis moves Redis through a server for each region, of which one is open.
func TestRedis(t *testing.T) {
	east, west := sandboxtest.Redis(t, sandboxtest.RedisOptions{}), sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	p := start(t, "east "+east.Address+" check inter 100ms fall 3000", "west "+west.Address+" check inter 100ms fall 3000 disabled") // no check that is late takes one away
	spec := p.spec(map[string]haproxy.Server{"east": {Name: "east"}, "west": {Name: "west"}})

	client := func(addr string) *redis.Client {
		return redis.NewClient(&redis.Options{Addr: addr, Password: sandboxtest.Password, PoolSize: 1, DisableIndentity: true, ContextTimeoutEnabled: true})
	}
	port := func(ctx context.Context, c *redis.Client) (string, error) {
		got, err := c.ConfigGet(ctx, "port").Result()
		if err != nil {
			return "", err
		}

		return region(east, west, got["port"])
	}

	traffictest.Run(t, traffictest.Rig{Route: spec.Route, East: "east", West: "west", Rounds: sandboxtest.Size(8, 60), Cut: p.cut, Idle: p.relay.Idle,
		New: func(t *testing.T) traffic.Driver { return driver(t, spec) },
		Ask: func(ctx context.Context) (string, error) {
			return p.ask(ctx, func(ctx context.Context, addr string) (string, error) {
				c := client(addr)
				defer c.Close()

				return port(ctx, c)
			})
		}})

	t.Run("a client that stays is on the new side when Point returns", func(t *testing.T) {
		c, d := client(fmt.Sprintf("127.0.0.1:%d", p.specs[0].Listens[0].Port)), driver(t, spec)
		defer c.Close()

		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()

		for _, want := range []string{"east", "west", "east"} {
			if err := d.Point(ctx, want); err != nil {
				t.Fatal(err)
			}

			// Its pool connects again by itself.
			if got, err := port(ctx, c); err != nil || got != want {
				t.Errorf("the client was answered by %q (%v), want %s", got, err, want)
			}
		}
	})
}

func TestAReloadIsSeen(t *testing.T) {
	east, west := sandboxtest.Redis(t, sandboxtest.RedisOptions{}), sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	p := start(t, "primary "+east.Address)
	spec := p.spec(map[string]haproxy.Server{"east": {Name: "primary", Address: east.Address}, "west": {Name: "primary", Address: west.Address}})
	d := driver(t, spec)

	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()

	if err := d.Point(ctx, "west"); err != nil {
		t.Fatal(err)
	}

	// What the runtime API changed is gone with the process.
	if err := p.procs[1].Kill(); err != nil {
		t.Fatal(err)
	}

	_, port, _ := strings.Cut(p.procs[1].Address, ":")
	p.specs[1].Port, _ = strconv.Atoi(port)
	sandboxtest.HAProxy(t, p.specs[1])

	s, err := d.Read(ctx)
	if err != nil || s.Region != "" || s.Parts[0].Region != "west" || s.Parts[1].Region != "east" {
		t.Errorf("read: %+v, %v", s, err)
	}

	if len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "reload") {
		t.Errorf("warnings: %q", s.Warnings)
	}
}

func TestMistakes(t *testing.T) {
	east := sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	p := start(t, "primary "+east.Address)
	servers := map[string]haproxy.Server{"east": {Name: "primary", Address: east.Address}}

	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()

	for name, change := range map[string]func(*haproxy.Spec){
		"backend": func(s *haproxy.Spec) { s.Backend = "other" },
		"server":  func(s *haproxy.Spec) { s.Servers = map[string]haproxy.Server{"east": {Name: "other"}} },
	} {
		s := p.spec(servers)
		change(&s)

		if _, err := driver(t, s).Read(ctx); !fail.Is(err, fail.NotFound) {
			t.Errorf("%s that is not there: %v", name, err)
		}
	}

	for name, change := range map[string]func(*haproxy.Spec){
		"a host name": func(s *haproxy.Spec) {
			s.Servers = map[string]haproxy.Server{"east": {Name: "primary", Address: "db:5432"}}
		},
		"another command":  func(s *haproxy.Spec) { s.Backend = "store; shutdown frontend store" },
		"no socket":        func(s *haproxy.Spec) { s.Sockets = nil },
		"one for two":      func(s *haproxy.Spec) { s.Servers = map[string]haproxy.Server{"east": {Name: "a"}, "west": {Name: "a"}} },
		"a server's words": func(s *haproxy.Spec) { s.Servers = map[string]haproxy.Server{"east": {Name: "a b"}} },
	} {
		s := p.spec(servers)
		change(&s)

		if _, err := haproxy.New(s); !fail.Is(err, fail.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestALimitedSocket asks a runtime API that may not change anything.
func TestALimitedSocket(t *testing.T) {
	east := sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	p := start(t, "primary "+east.Address)
	spec := p.spec(map[string]haproxy.Server{"east": {Name: "primary", Address: east.Address}})

	// A level is given by the API itself: this front takes rights away from whoever asks.
	spec.Sockets = []string{limited(t, p.procs[0].Address)}

	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()

	if err := driver(t, spec).Isolate(ctx); !fail.Is(err, fail.Denied) {
		t.Errorf("isolate: %v", err)
	}
}

// limited passes on what is asked, as a user.
func limited(t *testing.T, to string) string {
	t.Helper()

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = ln.Close() })

	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}

			go func() {
				defer c.Close()
				b := make([]byte, 64<<10)

				n, err := c.Read(b)
				if err != nil {
					return
				}

				s, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer s.Close()

				_, _ = fmt.Fprintf(s, "user; %s", b[:n])
				for {
					n, err := s.Read(b)
					if err != nil {
						return
					}
					_, _ = c.Write(b[:n])
				}
			}()
		}
	}()

	return ln.Addr().String()
}
