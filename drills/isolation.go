package drills

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"drctl/internal/report/evidence"
	"drctl/targets"
)

// ProveIsolation compares what a drill ran on with what production is. It is
// pure: it sees addresses and directories, not packets. A restored instance is
// listed, and fails the second result (a finding for Judge), when it is no
// sandbox, listens beyond this host, has its data outside the sandbox or shares
// an address with production. Nothing is proven, and the finding warns, without a
// production to compare with, or when the checks do not show of every restored
// PostgreSQL server that it takes no part in logical replication. The network is
// never proven: a sandbox has its host's.
func ProveIsolation(id, dir string, restored, production []targets.Instance, findings []targets.Finding) (evidence.Isolation, targets.Finding) {
	iso := evidence.Isolation{SandboxID: id, Directory: dir, Network: evidence.NetworkNotIsolated}

	var bad []string
	for _, in := range restored {
		iso.Addresses = append(iso.Addresses, in.Address)

		name := in.Shard.String() + " (" + in.Address + ")"
		if in.Role != targets.Sandbox {
			bad = append(bad, name+" has the role "+string(in.Role))
		}

		if !loopback(in.Address) {
			bad = append(bad, name+" does not listen on this host only")
		}

		if in.DataDir != "" && !inside(dir, in.DataDir) {
			bad = append(bad, name+" has its data in "+in.DataDir+", outside the sandbox")
		}

		for _, p := range production {
			same := p.DataDir != "" && in.DataDir != "" && filepath.Clean(p.DataDir) == filepath.Clean(in.DataDir)
			if endpoint(p.Address) == endpoint(in.Address) || same {
				bad = append(bad, name+" is the production instance "+p.String())
				iso.ProductionTouched = append(iso.ProductionTouched, p.String())
			}
		}
	}

	slices.Sort(iso.Addresses)
	iso.Addresses = slices.Compact(iso.Addresses)

	f := targets.Finding{Check: "isolation from production", Subject: "sandbox " + id, Severity: targets.Passed,
		Expected: "no address or directory of production", Got: "none of those of " + fmt.Sprint(len(production)) + " known production instances"}
	if len(restored) == 0 {
		bad = append(bad, "nothing was restored")
	}

	if len(bad) > 0 {
		f.Severity, f.Got = targets.Failed, strings.Join(bad, "; ")
		iso.Basis = bad

		return iso, f
	}

	known := fmt.Sprintf("no address or data directory of the %d production instances in the configuration is among them", len(production))
	if len(production) == 0 {
		known = "no production instance is known here, so there was none to compare with"
		f.Severity, f.Got = targets.Warned, known
	}
	off, quiet := replicationOff(restored, findings)
	iso.Proven = len(production) > 0 && quiet
	iso.Basis = []string{
		"every restored instance has the role sandbox, and the checks refuse any other role before they connect",
		"every restored instance listens on a loopback address or a socket of the drill's host",
		"the data directory of every restored instance that has one lies inside the sandbox's directory",
		known,
		off,
	}

	return iso, f
}

// replicationOff says what the checks showed of the logical replication of the
// restored PostgreSQL servers, and whether that is that it is off on all.
func replicationOff(restored []targets.Instance, findings []targets.Finding) (string, bool) {
	servers, unknown := 0, []string(nil)
	for _, in := range restored {
		if !in.Kind.Traits().Subscribes {
			continue
		}

		servers++

		if !slices.ContainsFunc(findings, func(f targets.Finding) bool {
			return f.Check == targets.CheckReplicationOff && f.Subject == in.String() && f.Severity == targets.Passed
		}) {
			unknown = append(unknown, in.Shard.String())
		}
	}

	switch {
	case servers == 0:
		return "no PostgreSQL server was restored, which could take part in logical replication", true
	case len(unknown) > 0:
		return "not shown that logical replication is off on " + strings.Join(unknown, ", "), false
	}

	return "logical replication is off on every restored PostgreSQL server, as the checks saw there", true
}

// endpoint is host:port whatever the form of the address.
func endpoint(address string) string {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		address = u.Host
	}

	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return strings.ToLower(address)
	}

	if host == "localhost" || host == "::1" {
		host = "127.0.0.1"
	}

	return strings.ToLower(net.JoinHostPort(host, port))
}

func loopback(address string) bool {
	if strings.HasPrefix(address, "/") {
		return true // a socket
	}

	host, _, err := net.SplitHostPort(endpoint(address))
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)

	return ip != nil && ip.IsLoopback()
}

func inside(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}
