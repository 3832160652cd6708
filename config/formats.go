package config

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"drctl/config/storage"
	"drctl/config/unit"
)

// A format is a check of a string and its pattern for the JSON Schema, which
// may be weaker than the check but never stricter.
type format struct {
	pattern string
	check   func(string) (message, hint string)
}

// byPattern makes a format that is its pattern.
func byPattern(pattern, what, hint string) format {
	re := regexp.MustCompile(pattern)

	return format{pattern: pattern, check: func(s string) (string, string) {
		if re.MatchString(s) {
			return "", ""
		}
		return fmt.Sprintf("%q is not %s", s, what), hint
	}}
}

var bucketFormat = byPattern(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`, "a bucket name", "3 to 63 of a-z, 0-9, dot and -")

var formats = map[string]format{
	"name":     byPattern(`^[a-z0-9][a-z0-9_-]{0,62}$`, "a name", "names are a-z, 0-9, - and _, at most 63, and begin with a letter or digit: they become parts of vault keys"),
	"shard":    byPattern(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`, "a shard name", "shard names are letters, digits, - and _, at most 63: they become parts of vault keys"),
	"word":     byPattern(`^[A-Za-z0-9][A-Za-z0-9._-]*$`, "a plain word", "use letters, digits, dot, - and _"),
	"queue":    byPattern(`^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$`, "a task queue", "use letters, digits, dot, - and _"),
	"host":     byPattern(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`, "the name of a host", "use letters, digits, dot, - and _; it is what drctl worker --host is given"),
	"envname":  byPattern(`^[A-Za-z_][A-Za-z0-9_]*$`, "the name of an environment variable", "give the name alone, without $"),
	"shardid":  byPattern(`^[a-z0-9][a-z0-9_-]{0,62}/[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`, "of the form target/shard", "for example orders/0"),
	"table":    byPattern(`^[^.]+\.[^.]+$`, "a schema-qualified table", "write schema.table, for example public.orders"),
	"bucket":   bucketFormat,
	"path":     {pattern: `^/`, check: checkPath},
	"addr":     {pattern: `^.+:[0-9]{1,5}$`, check: checkAddr},
	"httpurl":  {pattern: `^https?://[^/]+/?$`, check: checkHTTP},
	"address":  {pattern: `^(https?://[^/]+/?|.+:[0-9]{1,5})$`, check: checkAddress},
	"vaulturl": {pattern: `^(file:///|s3://[a-z0-9])`, check: func(s string) (string, string) { return storage.CheckURL(s, bucketFormat.check) }},
	"cutmode":  byPattern(`^(auto|share|(tagged|two-phase|gate|locks)(\+(tagged|two-phase|gate|locks))*)$`, "a mode of cuts", "auto, or some of tagged, two-phase, gate and locks, joined by +"),
	"gids":     {check: checkGIDs},
	"fraction": {pattern: `^([1-9][0-9]*/[1-9][0-9]*)?$`, check: unit.CheckFraction},
}

func checkGIDs(s string) (string, string) {
	if _, err := regexp.Compile(s); err != nil {
		return fmt.Sprintf("%q is not a regular expression", s), "for example ^shop-([0-9]+)-"
	}

	return "", ""
}

func checkPath(s string) (string, string) {
	switch {
	case strings.ContainsRune(s, 0):
		return "the path contains a zero byte", ""
	case strings.HasPrefix(s, "~"):
		return fmt.Sprintf("%q is not an absolute path", s), "~ is not expanded; write the whole path"
	case !filepath.IsAbs(s):
		return fmt.Sprintf("%q is not an absolute path", s), "workers run in directories of their own; begin with /"
	}

	return "", ""
}

func checkAddr(s string) (string, string) {
	const hint = "write host:port, for example 10.0.0.5:5432 or [::1]:5432"

	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || strings.ContainsAny(host, "/@ ") {
		return fmt.Sprintf("%q is not an address", s), hint
	}

	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Sprintf("%q is not an address: the port is a number from 1 to 65535", s), hint
	}

	return "", ""
}

func checkHTTP(s string) (string, string) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return "this is not an http or https URL", "for example https://s3.example.com:9000"
	case u.User != nil:
		return "the URL contains a user or password", "secrets are given by reference: use access_key and secret_key"
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Sprintf("the URL %q has more than a host and a port", s), "buckets and prefixes have keys of their own"
	}

	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return fmt.Sprintf("%q has a bad port", s), ""
		}
	}

	return "", ""
}

func checkAddress(s string) (string, string) {
	if strings.Contains(s, "://") {
		return checkHTTP(s)
	}

	return checkAddr(s)
}
