package servers

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"drctl/targets"
)

// The kinds of what stands before servers; no store of a platform is of these.
const (
	HAProxy   targets.Kind = "haproxy"
	PgBouncer targets.Kind = "pgbouncer"
)

// HAProxySpec describes a HAProxy that passes TCP connections on.
type HAProxySpec struct {
	Name     string
	Dir      string
	Port     int // of the runtime API; 0: a free one
	Listens  []HAProxyListen
	Defaults []string // lines behind those that every frontend and backend has
	LogFile  string   // "": Dir + ".log"
	Detached bool
}

// HAProxyListen is a frontend and a backend of one name.
type HAProxyListen struct {
	Name string
	Port int // where clients connect
	// Servers are lines of servers: "name host:port options".
	Servers []string
}

// StartHAProxy starts a HAProxy and waits until it answers. Its runtime API, of level
// admin, listens on Address and on Dir/runtime.sock.
func (b Binaries) StartHAProxy(ctx context.Context, s HAProxySpec) (Server, error) {
	program := find("haproxy")
	if program == "" {
		return Server{}, missing("haproxy", "haproxy")
	}

	if err := b.RunAs.Mkdir(s.Dir, 0o700); err != nil {
		return Server{}, err
	}

	return b.onPort(s.Port, func(port int) (Server, error) {
		conf := filepath.Join(s.Dir, "haproxy.cfg")
		addr := fmt.Sprintf("127.0.0.1:%d", port)

		if err := b.RunAs.WriteFile(conf, s.config(addr)); err != nil {
			return Server{}, err
		}

		return b.start(ctx, launch{name: named(s.Name, "haproxy ", s.Dir), kind: HAProxy, path: program, args: []string{"-db", "-f", conf},
			dir: s.Dir, address: addr, logFile: logOf(s.LogFile, s.Dir), detached: s.Detached, ready: func() error { return answers(addr) }})
	})
}

func (s HAProxySpec) config(addr string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "global\n  maxconn 2000\n  nbthread 1\n  stats socket %s level admin\n  stats socket %s level admin mode 600\n", addr, filepath.Join(s.Dir, "runtime.sock"))
	b.WriteString("defaults\n  mode tcp\n  maxconn 1000\n  timeout connect 5s\n  timeout client 10m\n  timeout server 10m\n")

	for _, line := range s.Defaults {
		fmt.Fprintf(&b, "  %s\n", line)
	}

	for _, l := range s.Listens {
		fmt.Fprintf(&b, "listen %s\n  bind 127.0.0.1:%d\n", l.Name, l.Port)

		for _, sv := range l.Servers {
			fmt.Fprintf(&b, "  server %s\n", sv)
		}
	}

	return b.String()
}

// answers reports whether somebody listens.
func answers(addr string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return errNotYet
	}

	return c.Close()
}
