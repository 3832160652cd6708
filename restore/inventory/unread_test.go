package inventory_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/vault"
	"drctl/restore/inventory"
	"drctl/restore/plan"
	"drctl/restore/recovery"
	"drctl/targets"
)

const someLog = "8371b4fb1155b71f4a04d3e1bc3e18c4a990aeeb"

// refusing is a vault in a bucket with a Redis shard, a base of it, the damaged
// record of another base, and 40 cuts. It refuses the requests that are asked for.
func refusing(t *testing.T, refuse func(r *http.Request) bool) (v *vault.Vault, cuts []targets.Cut) {
	t.Helper()
	store := sandboxtest.S3(t, true)
	front := sandboxtest.NewFront(t, store, func(r *http.Request) int {
		if refuse(r) {
			return http.StatusForbidden
		}

		return 0
	})

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err = vault.Init(t.Context(), vault.Options{Region: "east", Key: key,
		Location: vault.Location{URL: "s3://" + store.Database + "/vault", Endpoint: front.URL, AccessKey: store.User, SecretKey: store.Password}})
	if err != nil {
		t.Fatal(err)
	}
	shard, now := targets.ShardID{Target: "carts", Shard: "0"}, time.Now().UTC()
	at := func(n uint64) targets.Position {
		return targets.Position{Kind: targets.Redis, Timeline: someLog, Offset: n}
	}

	record, err := json.Marshal(targets.Artifact{ID: "b1", Shard: shard, Kind: targets.Redis, Region: "east", From: at(10), Until: at(10),
		Started: now.Add(-time.Hour), Finished: now.Add(-time.Hour), Snapshot: strings.Repeat("0", 64), Path: "/dump.rdb", Method: "resync"})
	if err != nil {
		t.Fatal(err)
	}

	for key, content := range map[string][]byte{
		vault.OriginKey(shard, someLog):               []byte(`{"lineage":"` + someLog + `","kind":"redis","offset":0}`),
		vault.ChunkKey(shard, someLog, 0, 100, now):   bytes.Repeat([]byte("x"), 100),
		vault.ChunkKey(shard, someLog, 100, 200, now): bytes.Repeat([]byte("x"), 100),
		vault.BaseRecordKey(shard, "b1"):              record,
	} {
		if err := v.PutEncrypted(t.Context(), key, nil, content); err != nil {
			t.Fatal(err)
		}
	}

	if err := v.Store().Put(t.Context(), vault.BaseRecordKey(shard, "b2"), []byte("damaged")); err != nil {
		t.Fatal(err)
	}

	for i := range 40 { // more than are read at once
		taken := now.Add(time.Duration(i-50) * time.Second)
		c := targets.Cut{ID: targets.NewID(taken), Group: "shop", QuiescedAt: taken, SealedAt: taken,
			Shards: []targets.ShardPoint{{Shard: shard, Kind: targets.Redis, Region: "east", Position: at(150)}}}

		if _, err := (vault.Set{Vaults: []*vault.Vault{v}}).SaveCut(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		cuts = append(cuts, c)
	}

	return v, cuts
}

// A cut that cannot be read now may decide on which branch an instant lies: it is
// not passed over as a damaged one is.
func TestACutOutOfReachIsNotPassedOver(t *testing.T) {
	var hidden atomic.Value
	hidden.Store("")

	v, cuts := refusing(t, func(r *http.Request) bool {
		id := hidden.Load().(string)

		return id != "" && r.Method == http.MethodGet && strings.Contains(r.URL.Path, id)
	})
	hidden.Store(cuts[len(cuts)-1].ID)

	inv, err := inventory.Read(t.Context(), v, plan.Goal{Group: "shop", At: time.Now(), Vault: "east", Into: plan.Sandbox}, nil)
	if !fail.Is(err, fail.Denied) {
		t.Errorf("%d of 40 cuts are known, and the error is %v", len(inv.Cuts), err)
	}
}

// A log that cannot be listed is not taken for one that is not there, also when
// the record of a base is damaged besides.
func TestALogOutOfReachIsNotDamage(t *testing.T) {
	var lists, refuseFrom atomic.Int64

	refuseFrom.Store(1 << 30)

	v, _ := refusing(t, func(r *http.Request) bool {
		q := r.URL.Query()

		return q.Has("list-type") && strings.Contains(q.Get("prefix"), someLog) && lists.Add(1) >= refuseFrom.Load()
	})
	goal := plan.Goal{Group: "shop", Cut: plan.Latest, Vault: "east", Into: plan.Sandbox}

	inv, err := inventory.Read(t.Context(), v, goal, nil)
	if err != nil || len(inv.Damaged) != 1 || len(inv.Shards[0].Bases) != 1 || lists.Load() < 2 {
		t.Fatalf("%+v %v after %d listings", inv, err, lists.Load())
	}

	refuseFrom.Store(lists.Swap(0)) // the last of them

	if inv, err := inventory.Read(t.Context(), v, goal, nil); !fail.Is(err, fail.Denied) {
		t.Errorf("the log is refused, and the error is %v: %v", err, inv.Damaged)
	}
}

// What a cut holds can be recovered, whether the configuration still has it or not.
func TestACutOfAShardThatTheGroupHasNoLonger(t *testing.T) {
	v, cuts := refusing(t, func(*http.Request) bool { return false })
	orders := targets.ShardID{Target: "orders", Shard: "0"}
	g := &platform.Group{Name: "shop", Shards: []platform.Shard{{Shard: orders, Kind: targets.Postgres}}}

	for _, cut := range []string{plan.Latest, cuts[0].ID} {
		goal := plan.Goal{Group: "shop", Cut: cut, Vault: "east", Into: plan.Sandbox}

		inv, err := inventory.Read(t.Context(), v, goal, g)
		if err != nil {
			t.Fatal(err)
		}

		if run, err := recovery.Build(goal, plan.ModeRestore, inv, time.Now()); err != nil || len(run.Steps) != 2 {
			t.Errorf("cut %s: %v", cut, err)
		}
	}
}
