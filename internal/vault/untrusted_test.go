package vault

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// plant writes a record as somebody does who can write to the vault and knows
// its public recipient: sealed for its key, whatever it says.
func plant(t testing.TB, v *Vault, key string, record any) {
	t.Helper()
	body, err := json.Marshal(record)
	if err == nil {
		err = v.PutSealed(context.Background(), key, nil, body)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestPlantedBase: what a record in a vault says does not become an option of
// a program. The record is named as damage, by the listing and by the check,
// and the bases beside it stay in use.
func TestPlantedBase(t *testing.T) {
	ctx := context.Background()
	v := fileVault(t, "east", testKey(t))
	good := saveBase(t, Set{Vaults: []*Vault{v}}, "b1", tree(t, someFiles))
	ran := filepath.Join(t.TempDir(), "ran")
	option := "--password-command=touch " + ran

	forged := good
	forged.ID, forged.Snapshot, forged.Path = "b2", option, ""
	key := BaseRecordKey(shardA, forged.ID)
	plant(t, v, key, forged)

	// Whoever passes it on all the same gets no further than the program's door.
	door := v.Shard(shardA)
	for path, p := range map[string]string{"as a snapshot": option, "as a path": "--help"} {
		a := forged
		a.Path = p
		wantCode(t, door.RestoreTree(ctx, a, filepath.Join(t.TempDir(), "out"), false, nil), fail.Corrupt, "password-command")
		if r, err := door.OpenStream(ctx, a); !fail.Is(err, fail.Corrupt) {
			t.Errorf("%s: %v, %v", path, r, err)
		}
	}

	bases, err := v.Bases(ctx, shardA)
	wantCode(t, err, fail.Corrupt, key, "snapshot")
	if len(bases) != 1 || bases[0].ID != good.ID {
		t.Errorf("the bases are %+v", bases)
	}
	findings, err := v.Verify(ctx, VerifyOptions{Shards: []targets.ShardID{shardA}})
	if err != nil {
		t.Errorf("the check ended: %v", err)
	}
	named := false
	for _, f := range findings {
		named = named || f.Severity == targets.Failed && f.Check == CheckBases && strings.Contains(f.Subject, key)
	}
	if !named {
		t.Errorf("the check does not name the record: %+v", findings)
	}
	if made, _ := filepath.Glob(ran + "*"); len(made) > 0 {
		t.Errorf("the command in the record was run: %v", made)
	}
}

// TestRecordsAreChecked: every value of a record has a form.
func TestRecordsAreChecked(t *testing.T) {
	ctx := context.Background()
	v := fileVault(t, "east", testKey(t))
	saved := targets.Saved{Snapshot: strings.Repeat("a", 64), Path: "/data"}
	for name, spoil := range map[string]func(a *targets.Artifact){
		"short snapshot":     func(a *targets.Artifact) { a.Snapshot = "aaaa" },
		"relative path":      func(a *targets.Artifact) { a.Path = "data" },
		"unclean path":       func(a *targets.Artifact) { a.Path = "/data/../etc" },
		"region":             func(a *targets.Artifact) { a.Region = "../west" },
		"kind":               func(a *targets.Artifact) { a.Kind = "mysql" },
		"method":             func(a *targets.Artifact) { a.Method = "--wire" },
		"future":             func(a *targets.Artifact) { a.Finished = time.Now().AddDate(900, 0, 0) },
		"size":               func(a *targets.Artifact) { a.Bytes = 1 << 62 },
		"negative size":      func(a *targets.Artifact) { a.Bytes = -1 },
		"lineage":            func(a *targets.Artifact) { a.From.Lineage, a.Until.Lineage = "-1-00000001", "-1-00000001" },
		"offset":             func(a *targets.Artifact) { a.Until.Offset = 1 << 63 },
		"backwards":          func(a *targets.Artifact) { a.From.Offset = a.Until.Offset + 1 },
		"restore point":      func(a *targets.Artifact) { a.Until.RestorePoint = "drctl:x'\nfsync = off" },
		"file name":          func(a *targets.Artifact) { a.Files = map[string]string{"../x": strings.Repeat("0", 64)} },
		"file sum":           func(a *targets.Artifact) { a.Files = map[string]string{"x": "0"} },
		"setting's name":     func(a *targets.Artifact) { a.Settings = map[string]string{"a\nb": "1"} },
		"setting's line":     func(a *targets.Artifact) { a.Settings = map[string]string{"lc_ctype": "C\nfsync = off"} },
		"setting's NUL":      func(a *targets.Artifact) { a.Settings = map[string]string{"lc_ctype": "C\x00"} },
		"setting's number":   func(a *targets.Artifact) { a.Settings = map[string]string{"max_connections": "1 include x"} },
		"tablespace":         func(a *targets.Artifact) { a.Tablespaces = map[string]string{"1": "/x=--help:/y"} },
		"tablespace's oid":   func(a *targets.Artifact) { a.Tablespaces = map[string]string{"../1": "/x=" + saved.Snapshot + ":/y"} },
		"tablespace's place": func(a *targets.Artifact) { a.Tablespaces = map[string]string{"1": "x=" + saved.Snapshot + ":/y"} },
	} {
		t.Run(name, func(t *testing.T) {
			a := testBase("b", 16, saved)
			if err := a.Check(time.Now()); err != nil {
				t.Fatalf("before: %v", err)
			}
			spoil(&a)
			a.ID = strings.NewReplacer(" ", "-", "'", "").Replace(name)
			plant(t, v, BaseRecordKey(shardA, a.ID), a)
			_, err := v.Base(ctx, shardA, a.ID)
			wantCode(t, err, fail.Corrupt, a.ID)
			_, err = (Set{Vaults: []*Vault{v}}).SaveBase(ctx, a)
			wantCode(t, err, fail.Invalid)
		})
	}
	now := time.Now().UTC()
	point := targets.ShardPoint{Shard: shardA, Kind: targets.Postgres, Region: "east", Position: targets.Position{Kind: targets.Postgres, Lineage: testLineage, Offset: 1}}
	for name, spoil := range map[string]func(c *targets.Cut){
		"shard":    func(c *targets.Cut) { c.Shards[0].Shard.Shard = "../0" },
		"twice":    func(c *targets.Cut) { c.Shards = append(c.Shards, c.Shards[0]) },
		"kind":     func(c *targets.Cut) { c.Shards[0].Kind = targets.Redis },
		"region":   func(c *targets.Cut) { c.Shards[0].Region = "" },
		"address":  func(c *targets.Cut) { c.Shards[0].Instance = "x\x1b[2J" },
		"lineage":  func(c *targets.Cut) { c.Shards[0].Position.Lineage = "L" },
		"manifest": func(c *targets.Cut) { c.Shards[0].Position.Manifest = "x" },
		"vaults":   func(c *targets.Cut) { c.SealedIn = []string{"a b"} },
		"future":   func(c *targets.Cut) { c.FencedAt = now.Add(time.Hour) },
	} {
		t.Run("cut: "+name, func(t *testing.T) {
			c := targets.Cut{ID: name, Group: "shop", FencedAt: now, SealedAt: now, Shards: []targets.ShardPoint{point}}
			if err := c.Check(time.Now()); err != nil {
				t.Fatalf("before: %v", err)
			}
			spoil(&c)
			plant(t, v, CutKey("shop", name), c)
			_, err := v.Cut(ctx, "shop", name)
			wantCode(t, err, fail.Corrupt, name)
			_, err = (Set{Vaults: []*Vault{v}}).SaveCut(ctx, c)
			wantCode(t, err, fail.Invalid)
		})
	}
}
