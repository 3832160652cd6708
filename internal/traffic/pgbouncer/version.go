package pgbouncer

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
)

// hole is what is known to be wrong with PgBouncer before a version.
type hole struct {
	fixed [3]int
	text  string
}

var holes = []hole{
	{[3]int{1, 25, 2}, "CVE-2026-6667: every user of the console, and not admins alone, can disconnect clients"},
	{[3]int{1, 25, 2}, "CVE-2026-6664: who can reach its port can crash it without a password"},
}

var versions = regexp.MustCompile(`(\d+)\.(\d+)\.(\d+)`)

// known are the holes of a version as SHOW VERSION tells it.
func known(address, version string) []string {
	m := versions.FindStringSubmatch(version)
	if m == nil {
		return []string{fmt.Sprintf("%s: its version is not known: %q", address, version)}
	}

	var have [3]int
	for i := range have {
		have[i], _ = strconv.Atoi(m[i+1])
	}

	var out []string
	for _, h := range holes {
		if before(have, h.fixed) {
			out = append(out, fmt.Sprintf("%s: PgBouncer %s has the hole %s; update to %d.%d.%d", address, m[0], h.text, h.fixed[0], h.fixed[1], h.fixed[2]))
		}
	}

	return out
}

func before(a, b [3]int) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}

	return false
}

// longRetry is in seconds: more is felt by clients.
const longRetry = 1

// warnings are what a person should know of a pooler before the day.
func (c *console) warnings(ctx context.Context, op string) ([]string, error) {
	rows, err := c.run(ctx, op, "SHOW VERSION")
	if err != nil {
		return nil, err
	}

	version := ""
	if len(rows) > 0 { // before 1.12 it is a notice
		version = rows[0]["version"]
	}

	out := known(c.Address, version)

	retry, err := c.setting(ctx, op, "server_login_retry")
	if err != nil {
		return nil, err
	}

	// A pause that meets a login ends it, and PgBouncer takes that for a server that is away.
	if s, err := strconv.ParseFloat(retry, 64); err == nil && s > longRetry {
		out = append(out, fmt.Sprintf("%s: server_login_retry is %s s: after a pause clients may wait or fail for as long; set it to 1 or less", c.Address, retry))
	}

	return out, nil
}
