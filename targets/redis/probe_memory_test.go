package redis

import (
	"slices"
	"strings"
	"testing"

	"drctl/internal/sandbox/sandboxtest"
)

// A backlog that is large beside maxmemory is told, with what to set, as the
// server would evict every key to make room for it. drctl changes no setting.
func TestProbeWarnsOfABacklogThatEatsMaxmemory(t *testing.T) {
	in := sandboxtest.Redis(t, sandboxtest.RedisOptions{Settings: map[string]string{"repl-backlog-size": "64mb", "maxmemory": "40mb", "maxmemory-policy": "allkeys-lru"}})
	d := driver(t)
	c := dbClient(t, in, 0)

	warned := func(words ...string) bool {
		t.Helper()
		st, err := d.Probe(ctx, in)
		must(t, err)

		return slices.ContainsFunc(st.Warnings, func(w string) bool {
			return !slices.ContainsFunc(words, func(x string) bool { return !strings.Contains(w, x) })
		})
	}
	if !warned("comes out of maxmemory", "160%", "allkeys-lru", "raise maxmemory to 268435456", "repl-backlog-size to 10485760") {
		t.Error("a backlog of 64 MiB in a maxmemory of 40 MiB is not told")
	}

	must(t, c.ConfigSet(ctx, "maxmemory-policy", "noeviction").Err())

	if !warned("comes out of maxmemory", "refuses writes") {
		t.Error("noeviction is not told")
	}

	for _, most := range []string{"256mb", "0"} {
		must(t, c.ConfigSet(ctx, "maxmemory", most).Err())

		if warned("comes out of maxmemory") {
			t.Errorf("it warns at maxmemory %s", most)
		}
	}

	before, err := c.ConfigGet(ctx, "*").Result()
	must(t, err)
	m := newMemory(t)
	stop := follow(t, d, in, m)
	must(t, c.Set(ctx, "k", "v", 0).Err())
	caughtUp(t, in, m)
	_ = stop()
	after, err := c.ConfigGet(ctx, "*").Result()
	must(t, err)

	for k, v := range before {
		if after[k] != v {
			t.Errorf("%s was %q and is %q", k, v, after[k])
		}
	}
}
