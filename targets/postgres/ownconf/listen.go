package ownconf

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"drctl/internal/fail"
	"drctl/internal/servers"
)

// defaultSockets is PostgreSQL's own default, and is everywhere.
const defaultSockets = "/tmp"

// Listen makes the server of a directory come up at an address, host:port, when it
// is started as it stands: what the lost server had, and does not lead there, is
// overridden in postgresql.auto.conf. The note says what was written, and what
// has to be changed by hand. It is "" when all is as it should be.
func Listen(ctx context.Context, tools servers.Binaries, dir, address string) (note string, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", nil // a socket, or no address at all
	}

	have := map[string]string{}
	for _, name := range []string{"port", "listen_addresses", "unix_socket_directories"} {
		out, err := tools.Run(ctx, nil, "postgres", "-D", dir, "-C", name)
		if ctx.Err() != nil {
			return "", ctx.Err()
		}

		if err != nil {
			return "the configuration that came with the base cannot be read, so it is not known where the server would listen: " + err.Error(), nil
		}
		// Warnings come first.
		lines := strings.Split(strings.TrimRight(string(out), "\n"), "\n")
		have[name] = lines[len(lines)-1]
	}

	set, byHand := changes(ctx, dir, host, port, have)
	if len(set) == 0 && byHand == "" {
		return "", nil
	}

	var said []string
	if len(set) > 0 {
		var text string
		for _, s := range set {
			text += s.name + " = " + quote(s.value) + "\n"
			said = append(said, s.name+" = "+quote(s.value)+" (the source had "+quote(have[s.name])+")")
		}

		path := filepath.Join(dir, auto)

		b, err := os.ReadFile(path)
		if err == nil {
			err = write(tools, path, append(b, "\n"+text...))
		}

		if err != nil {
			return "", fail.FromOS(op, path, err)
		}

		note = path + " now has " + strings.Join(said, ", ") + ", so that the server comes up at " + address +
			"; options on its command line come before that, ALTER SYSTEM RESET takes it back"
	}

	if byHand != "" && note != "" {
		note += ". "
	}

	return note + byHand, nil
}

type setting struct{ name, value string }

// changes are the settings that do not lead to the address, with the values that do.
func changes(ctx context.Context, dir, host, port string, have map[string]string) (set []setting, byHand string) {
	if have["port"] != port {
		set = append(set, setting{"port", port})
	}

	hosts := list(have["listen_addresses"])
	if !covered(ctx, hosts, host) {
		if ofThisHost(ctx, host) {
			// What reached the server locally goes on; the lost server's own addresses are not here.
			hosts = append(slices.DeleteFunc(hosts, func(h string) bool { return !ofThisHost(ctx, h) }), host)
			set = append(set, setting{"listen_addresses", strings.Join(hosts, ",")})
		} else {
			byHand = "listen_addresses is " + quote(have["listen_addresses"]) + ", which does not have " + host + ", and that is no address of this host: set it before the server is started"
		}
	}

	sockets := list(have["unix_socket_directories"])
	there := slices.DeleteFunc(slices.Clone(sockets), func(s string) bool { return !isDir(dir, s) })

	if len(there) < len(sockets) {
		if len(there) == 0 {
			there = []string{defaultSockets}
		}
		set = append(set, setting{"unix_socket_directories", strings.Join(there, ",")})
	}

	return set, byHand
}

// covered reports whether a server that listens on hosts is reached by one of them.
func covered(ctx context.Context, hosts []string, want string) bool {
	wanted := addresses(ctx, want)
	for _, h := range hosts {
		if h == "*" || h == want {
			return true
		}

		for _, a := range addresses(ctx, h) {
			if slices.ContainsFunc(wanted, func(w net.IP) bool {
				return w.Equal(a) || a.IsUnspecified() && (a.To4() == nil) == (w.To4() == nil)
			}) {
				return true
			}
		}
	}

	return false
}

// ofThisHost reports whether a server can listen on the host: a name of which
// one address is here, or such an address.
func ofThisHost(ctx context.Context, host string) bool {
	here, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}

	return slices.ContainsFunc(addresses(ctx, host), func(a net.IP) bool {
		return a.IsLoopback() || a.IsUnspecified() || slices.ContainsFunc(here, func(n net.Addr) bool {
			ip, ok := n.(*net.IPNet)
			return ok && ip.IP.Equal(a)
		})
	})
}

func addresses(ctx context.Context, host string) []net.IP {
	if ip := net.ParseIP(host); ip != nil {
		return []net.IP{ip}
	}

	ips, _ := net.DefaultResolver.LookupIP(ctx, "ip", host) // a name that leads nowhere is not here

	return ips
}

// isDir reports whether a server of the directory finds its place for sockets. One that
// begins with @ is no file.
func isDir(dir, path string) bool {
	if strings.HasPrefix(path, "@") {
		return true
	}

	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	info, err := os.Stat(path)

	return err == nil && info.IsDir()
}

// list takes a setting apart that holds several names.
func list(s string) []string {
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.Trim(strings.TrimSpace(part), `"`); part != "" {
			out = append(out, part)
		}
	}

	return out
}

// quote writes a value of a configuration file.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", "''").Replace(s) + "'"
}
