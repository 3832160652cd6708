package inventory_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/restore/inventory"
	"drctl/restore/plan"
	"drctl/targets"
)

// vaultAt makes a vault in a directory.
func vaultAt(t *testing.T, region, dir string) *vault.Vault {
	t.Helper()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err := vault.Init(t.Context(), vault.Options{Region: region, Location: vault.Location{URL: "file://" + dir}, Key: key})
	if err != nil {
		t.Fatal(err)
	}

	return v
}

func someRun(id string) plan.Run {
	s := targets.ShardID{Target: "orders", Shard: "0"}
	r := plan.Run{ID: id, Goal: plan.Goal{Group: "shop", Vault: "west", Into: plan.Sandbox},
		Steps: []plan.Step{{ID: "restore-orders/0", Op: plan.OpRestore, Shard: s, Kind: targets.Postgres}, {ID: "verify-orders/0", Op: plan.OpVerify, Shard: s, Kind: targets.Postgres}}}
	r.Hash = r.Sum()

	return r
}

func TestRunsByHash(t *testing.T) {
	ctx := t.Context()
	v := vaultAt(t, "west", filepath.Join(t.TempDir(), "vault"))
	open := func(context.Context, string) (*vault.Vault, error) { return v, nil }
	set := vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}

	run := someRun("restore-shop-1")

	c, err := inventory.SaveRun(ctx, set, run)
	if err != nil || c.Whole != nil || c.Ref.SHA256 != run.Hash || len(c.Ref.Vaults) != 1 {
		t.Fatalf("%+v %v", c, err)
	}

	if again, err := inventory.SaveRun(ctx, set, run); err != nil || again.Ref.SHA256 != c.Ref.SHA256 {
		t.Fatalf("a repeat: %v", err)
	}

	if got, err := inventory.LoadRun(ctx, open, c); err != nil || got.Sum() != run.Hash {
		t.Fatalf("%+v %v", got, err)
	}

	// Who can write into the vault cannot put another plan under the name.
	forged := someRun("restore-shop-2")
	hash := forged.Hash

	forged.Steps[0].Into.DataDir = "/srv/precious"
	if _, err := set.SaveReport(ctx, "plan", hash, forged); err != nil {
		t.Fatal(err)
	}

	named := plan.Carried{Ref: plan.Ref{ID: forged.ID, SHA256: hash, Vaults: []string{"west"}}}
	if _, err := inventory.LoadRun(ctx, open, named); !fail.Is(err, fail.Corrupt) {
		t.Errorf("a forged plan: %v", err)
	}
	other := c

	other.Ref.ID = "restore-shop-3"
	if _, err := inventory.LoadRun(ctx, open, other); !fail.Is(err, fail.Corrupt) {
		t.Errorf("another plan's hash: %v", err)
	}

	// Another vault that holds it does when the first cannot be opened.
	c.Ref.Vaults = []string{"east", "west"}

	halfOpen := func(ctx context.Context, region string) (*vault.Vault, error) {
		if region == "east" {
			return nil, fail.New(fail.Unavailable, "vault: open", region, "", errors.New("it is gone"))
		}

		return v, nil
	}
	if _, err := inventory.LoadRun(ctx, halfOpen, c); err != nil {
		t.Errorf("with one vault away: %v", err)
	}

	c.Ref.Vaults = nil
	if _, err := inventory.LoadRun(ctx, open, c); err == nil {
		t.Error("a plan that is nowhere was read")
	}
}

// A vault that takes no writes keeps nobody from recovering a few shards.
func TestAPlanThatNoVaultTakes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vault")
	v := vaultAt(t, "west", dir)
	// A file where the folder of plans would be: nothing can be stored there, as root too.
	if err := os.MkdirAll(filepath.Join(dir, "reports"), 0o700); err != nil {
		t.Fatal(err)
	}

	if err := os.WriteFile(filepath.Join(dir, "reports", "plan"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	set := vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}

	run := someRun("restore-shop-1")

	c, err := inventory.SaveRun(t.Context(), set, run)
	if err != nil || c.Whole == nil {
		t.Fatalf("%+v %v", c, err)
	}

	if got, err := inventory.LoadRun(t.Context(), nil, c); err != nil || got.Hash != run.Hash {
		t.Fatalf("%v", err)
	}

	one := c.Step("verify-orders/0")
	if len(one.Whole.Steps) != 1 || one.Whole.Steps[0].Op != plan.OpVerify || one.Whole.Goal.Vault != "west" || len(c.Whole.Steps) != 2 {
		t.Errorf("%+v", one.Whole)
	}

	run.Warnings = []string{strings.Repeat("x", 300<<10)}

	run.Hash = run.Sum()
	if _, err := inventory.SaveRun(t.Context(), set, run); err == nil || !strings.Contains(err.Error(), "too much for the engine") {
		t.Errorf("a large plan: %v", err)
	}
}
