package upkeep

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/vault"
	"drctl/targets"
)

const holeLog = "8371b4fb1155b71f4a04d3e1bc3e18c4a990aeeb"

// holeVault has a log with the bytes [0,100) and [300,400), a hole between them
// as it is declared, a base at 10 and a cut at 350.
func holeVault(t *testing.T, declared vault.ChunkName) (v *vault.Vault, shard targets.ShardID, base func(id string, at uint64), cuts []targets.Cut) {
	t.Helper()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err = vault.Init(t.Context(), vault.Options{Region: "east", Key: key, Location: vault.Location{URL: "file://" + filepath.Join(t.TempDir(), "vault")}})
	if err != nil {
		t.Fatal(err)
	}
	shard = targets.ShardID{Target: "carts", Shard: "0"}
	put := func(key string, content []byte) {
		t.Helper()

		if err := v.PutEncrypted(t.Context(), key, nil, content); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now().UTC()

	put(vault.OriginKey(shard, holeLog), []byte(`{"lineage":"`+holeLog+`","kind":"redis","offset":0}`))
	put(vault.ChunkKey(shard, holeLog, 0, 100, now), bytes.Repeat([]byte("x"), 100))
	put(vault.ChunkKey(shard, holeLog, 300, 400, now), bytes.Repeat([]byte("x"), 100))

	if declared.To > 0 {
		put(vault.HoleKey(shard, holeLog, declared.From, declared.To), []byte("{}"))
	}
	at := func(n uint64) targets.Position {
		return targets.Position{Kind: targets.Redis, Timeline: holeLog, Offset: n}
	}
	started := now.Add(-time.Hour)
	base = func(id string, n uint64) {
		t.Helper()
		started = started.Add(time.Minute)

		b, err := json.Marshal(targets.Artifact{ID: id, Shard: shard, Kind: targets.Redis, Region: "east", From: at(n), Until: at(n),
			Started: started, Finished: started, Snapshot: strings.Repeat("0", 64), Path: "/dump.rdb", Method: "resync"})
		if err != nil {
			t.Fatal(err)
		}

		put(vault.BaseRecordKey(shard, id), b)
	}
	base("b1", 10)

	return v, shard, base, []targets.Cut{{ID: "c", Group: "shop", QuiescedAt: now, SealedAt: now,
		Shards: []targets.ShardPoint{{Shard: shard, Kind: targets.Redis, Region: "east", Position: at(350)}}}}
}

// TestDeclaredHole: bytes that the server had lost before they were archived are
// told once and are no damage, when a base behind them leads on. Bytes that are
// gone without that are.
func TestDeclaredHole(t *testing.T) {
	for name, c := range map[string]struct {
		declared vault.ChunkName
		behind   bool
		hole     int // findings that tell of it
		failed   string
	}{
		"declared, and a base behind": {vault.ChunkName{From: 100, To: 300}, true, 1, ""},
		"declared, no base behind":    {vault.ChunkName{From: 100, To: 300}, false, 1, "base-for-cut"},
		"in part":                     {vault.ChunkName{From: 150, To: 300}, true, 1, "[100,150)"},
		"not declared":                {vault.ChunkName{}, true, 0, "[100,300)"},
	} {
		t.Run(name, func(t *testing.T) {
			v, shard, base, cuts := holeVault(t, c.declared)
			if c.behind {
				base("b2", 300)
			}

			fs, err := verifyStream(t.Context(), v, shard, cuts)
			if err != nil {
				t.Fatal(err)
			}

			holes, failed := 0, ""
			for _, f := range fs {
				switch f.Severity {
				case targets.Warned:
					holes++
				case targets.Failed:
					failed += f.Check + " " + f.Expected + "\n"
				}
			}

			if holes != c.hole || (failed == "") != (c.failed == "") || !strings.Contains(failed, c.failed) {
				t.Errorf("%d holes, failed: %q, all: %+v", holes, failed, fs)
			}
		})
	}
}
