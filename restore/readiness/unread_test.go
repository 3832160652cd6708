package readiness

import (
	"net/http"
	"strings"
	"testing"

	"drctl/internal/platform"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/vault"
	"drctl/targets"
)

// A log that cannot be listed is said: nobody knows whether it is interrupted.
func TestALogThatCannotBeListedIsSaid(t *testing.T) {
	store := sandboxtest.S3(t, true)
	front := sandboxtest.NewFront(t, store, func(r *http.Request) int {
		if q := r.URL.Query(); q.Has("list-type") && strings.Contains(q.Get("prefix"), "streams/") {
			return http.StatusForbidden
		}

		return 0
	})

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err := vault.Init(t.Context(), vault.Options{Region: "east", Key: key,
		Location: vault.Location{URL: "s3://" + store.Database + "/vault", Endpoint: front.URL, AccessKey: store.User, SecretKey: store.Password}})
	if err != nil {
		t.Fatal(err)
	}

	g := platform.Group{Name: "shop", Shards: []platform.Shard{{Shard: targets.ShardID{Target: "carts", Shard: "0"}, Kind: targets.Redis}}}
	f := Facts{group: g, deep: true, vaults: []vaultFacts{{region: "east", policy: true, v: v}}}

	Sources{}.readVault(t.Context(), g, &f.vaults[0])

	for _, p := range f.judgeVaults() {
		if p.Severity == Critical && strings.Contains(p.Why, "AccessDenied") {
			return
		}
	}

	t.Errorf("said: %+v", f.judgeVaults())
}
