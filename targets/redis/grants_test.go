package redis

import (
	"strings"
	"testing"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
	"drctl/targets/redis/reply"
)

// Every right that the documentation asks for is missed when it is not there,
// and nothing is when all are; asking changes nothing on the server.
func TestPreflightNamesEveryLack(t *testing.T) {
	d := driver(t)
	in := sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	admin := dbClient(t, in, 0)
	set := func(rules ...string) {
		t.Helper()

		args := []any{"ACL", "SETUSER", "drctl"}
		for _, r := range rules {
			args = append(args, r)
		}

		must(t, admin.Do(ctx, args...).Err())
	}
	set(append([]string{"reset", "on", ">dr-secret"}, strings.Fields(reply.NeededACL)[5:]...)...)
	user := in
	user.User, user.Password = "drctl", targets.NewSecret("dr-secret")

	lacks := func() string {
		t.Helper()
		ls, err := d.Preflight(ctx, user, targets.Needs{Group: "shop", Pause: true})
		must(t, err)

		var out []string
		for _, l := range ls {
			out = append(out, l.Fix)
		}

		return strings.Join(out, "\n")
	}
	if got := lacks(); got != "" {
		t.Fatalf("with the documented rights it lacks:\n%s", got)
	}

	for _, right := range []string{"ping", "info", "select", "dbsize", "psync", "replconf", "set", "config|get", "client|pause", "client|unpause", "eval"} {
		set("-" + right)

		if got := lacks(); !strings.Contains(got, "ACL SETUSER drctl") || !strings.Contains(got, "+"+right) {
			t.Errorf("without %s: %q", right, got)
		}

		set("+" + right)
	}

	set("resetkeys", "~other:*")

	if got := lacks(); !strings.Contains(got, "~drctl:cut:*") {
		t.Errorf("without the key: %q", got)
	}

	set("-@all", "+eval")

	if got := lacks(); strings.Count(got, "\n") != 9 {
		t.Errorf("with nothing but scripts, all ten are listed:\n%s", got)
	}

	n, err := admin.DBSize(ctx).Result()
	if must(t, err); n != 0 {
		t.Errorf("the preflight wrote %d keys", n)
	}

	if m, err := info(ctx, admin, "replication"); err != nil || m["connected_slaves"] != "0" || m["repl_backlog_active"] != "0" {
		t.Errorf("the preflight began a replication: %v %v", m, err)
	}
}
