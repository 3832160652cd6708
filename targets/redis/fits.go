package redis

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"drctl/internal/fail"
	"drctl/targets"
)

var _ targets.Fitter = (*Driver)(nil)

// Fits compares this host's server program with the server that the base is
// of. An older program may not know the newer one's image format, and Redis and
// Valkey have gone apart since Redis 7.2.
func (d *Driver) Fits(ctx context.Context, base targets.Artifact) error {
	const op = "redis: compare versions"

	src := sourceOf(base)
	if src.version == "" {
		return nil // the record does not say
	}

	if d.tools.RedisServer == "" {
		return fail.New(fail.NotFound, op, base.Shard.String(), "install "+src.server+"-server, or name it under sandbox.tools.redis_server", errors.New("no server program is installed here"))
	}

	out, err := exec.CommandContext(ctx, d.tools.RedisServer, "--version").Output()
	if err != nil {
		return fail.New(fail.Unavailable, op, d.tools.RedisServer, "", err)
	}

	server, version, ok := programVersion(string(out))
	if !ok {
		return fail.Newf(fail.Internal, op, d.tools.RedisServer, "unknown version %q", strings.TrimSpace(string(out)))
	}

	if server == src.server && !older(version, src.version) {
		return nil
	}

	return fail.New(fail.Unsupported, op, base.Shard.String(), fmt.Sprintf("install %s-server %s or later and name it under sandbox.tools.redis_server", src.server, src.version),
		fmt.Errorf("the base is of %s %s, the program here (%s) is %s %s and may not be able to read it", src.server, src.version, d.tools.RedisServer, server, version))
}

var versionLine = regexp.MustCompile(`(?i)\b(redis|valkey) server v=([0-9]+(?:\.[0-9]+)*)`)

// programVersion reads what a server program says of itself.
func programVersion(text string) (server, version string, ok bool) {
	m := versionLine.FindStringSubmatch(text)
	if m == nil {
		return "", "", false
	}

	return strings.ToLower(m[1]), m[2], true
}

// older compares major and minor; the third number changes no format.
func older(have, want string) bool {
	h, w := strings.Split(have, "."), strings.Split(want, ".")
	for i := range 2 {
		a, b := 0, 0
		if i < len(h) {
			a, _ = strconv.Atoi(h[i])
		}

		if i < len(w) {
			b, _ = strconv.Atoi(w[i])
		}

		if a != b {
			return a < b
		}
	}

	return false
}

// checkTool is the program that checks append-only files, of the same make as
// the server: the one of Redis does not know what Valkey writes.
func (d *Driver) checkTool() (path, name string, ok bool) {
	name = "redis-check-aof"
	if strings.HasPrefix(filepath.Base(d.tools.RedisServer), "valkey") {
		name = "valkey-check-aof"
	}

	if d.tools.RedisServer != "" {
		if path = filepath.Join(filepath.Dir(d.tools.RedisServer), name); executable(path) {
			return path, name, true
		}
	}
	path, err := exec.LookPath(name)

	return path, name, err == nil
}
