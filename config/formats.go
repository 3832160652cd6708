package config

import (
	"fmt"
	"math"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes, written as 16MiB, 1.5GB or plain 4096.
type Size int64

var sizeUnits = []struct {
	name string
	n    float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
}

// String renders the size in the largest binary unit that divides it.
func (s Size) String() string {
	for i := 3; i >= 0; i-- {
		if u := int64(sizeUnits[i].n); s != 0 && int64(s)%u == 0 {
			return strconv.FormatInt(int64(s)/u, 10) + sizeUnits[i].name
		}
	}

	return strconv.FormatInt(int64(s), 10)
}

func parseSize(s string) (Size, error) {
	m := sizePattern.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%q is not a size", s)
	}

	for _, u := range sizeUnits {
		if u.name == m[2] {
			f, err := strconv.ParseFloat(m[1], 64)
			if err != nil || f*u.n >= math.MaxInt64 {
				return 0, fmt.Errorf("%q is not a size", s)
			}

			return Size(f * u.n), nil
		}
	}

	return 0, fmt.Errorf("%q is not a size", s)
}

// parseDuration reads Go's durations and days ("7d", "1d12h").
func parseDuration(s string) (time.Duration, error) {
	if !durationPattern.MatchString(s) {
		return 0, fmt.Errorf("%q is not a duration", s)
	}

	if s == "0" {
		return 0, nil
	}

	var days time.Duration
	if d, rest, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseInt(d, 10, 32)
		if err != nil || n > 100*366 {
			return 0, fmt.Errorf("%q is not a duration of less than a century", s)
		}

		days = time.Duration(n) * 24 * time.Hour
		if rest == "" {
			return days, nil
		}
		s = rest
	}

	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > math.MaxInt64-days {
		return 0, fmt.Errorf("%q is not a duration", s)
	}

	return days + d, nil
}

// formatDuration drops the zero parts that Go prints: "1m", not "1m0s".
func formatDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}

	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}

	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}

	return s
}

// A format is a check of a string and its pattern for the JSON Schema, which
// may be weaker than the check but never stricter.
type format struct {
	pattern string
	check   func(string) (message, hint string)
}

const (
	durationText = `^(0|([0-9]+d)?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))*)$`
	sizeText     = `^([0-9]+(?:\.[0-9]+)?) ?(B|KiB|MiB|GiB|TiB|KB|MB|GB|TB)?$`
)

var (
	durationPattern = regexp.MustCompile(durationText)
	sizePattern     = regexp.MustCompile(sizeText)
)

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
	"envname":  byPattern(`^[A-Za-z_][A-Za-z0-9_]*$`, "the name of an environment variable", "give the name alone, without $"),
	"shardid":  byPattern(`^[a-z0-9][a-z0-9_-]{0,62}/[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`, "of the form target/shard", "for example orders/0"),
	"table":    byPattern(`^[^.]+\.[^.]+$`, "a schema-qualified table", "write schema.table, for example public.orders"),
	"bucket":   bucketFormat,
	"path":     {pattern: `^/`, check: checkPath},
	"addr":     {pattern: `^.+:[0-9]{1,5}$`, check: checkAddr},
	"httpurl":  {pattern: `^https?://[^/]+/?$`, check: checkHTTP},
	"address":  {pattern: `^(https?://[^/]+/?|.+:[0-9]{1,5})$`, check: checkAddress},
	"vaulturl": {pattern: `^(file:///|s3://[a-z0-9])`, check: checkVaultURL},
	"fraction": {pattern: `^([1-9][0-9]*/[1-9][0-9]*)?$`, check: checkFraction},
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

func checkVaultURL(s string) (string, string) {
	const hint = "write file:///absolute/path or s3://bucket/prefix"

	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "this is not a URL", hint
	case u.User != nil:
		return "the URL contains a user or password", "secrets are given by reference: use access_key and secret_key"
	case u.RawQuery != "" || u.Fragment != "":
		return "a vault's URL has no query and no fragment", hint
	case u.Scheme == "file" && u.Host == "" && filepath.IsAbs(u.Path) && filepath.Clean(u.Path) != "/":
		return "", ""
	case u.Scheme == "file":
		return fmt.Sprintf("%q does not name an absolute directory", s), "three slashes: file:///srv/vault"
	case u.Scheme == "s3" && u.Host == "":
		return "the URL does not name a bucket", "two slashes: s3://bucket/prefix"
	case u.Scheme == "s3":
		return bucketFormat.check(u.Host)
	}

	return fmt.Sprintf("%q is not a vault", s), hint
}

func checkFraction(s string) (string, string) {
	if s == "" {
		return "", ""
	}
	n, t, _ := strings.Cut(s, "/")
	a, errA := strconv.Atoi(n)

	b, errB := strconv.Atoi(t)
	if errA != nil || errB != nil || a < 1 || b < a || b > 256 { // restic knows no more
		return fmt.Sprintf("%q is not a part", s), "write n/t with n from 1 to t and t up to 256, for example 1/20"
	}

	return "", ""
}
