package lab

import (
	"context"
	"os"
	"path/filepath"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/targets"
)

// keyFile is where the lab's configuration has drctl keep the vaults' key.
const keyFile = "key.txt"

// vaultBucket is the bucket of every region that holds its vault.
const vaultBucket = "vault"

// Vault opens a region's vault with the key that drctl vault init made.
func (l *Lab) Vault(ctx context.Context, region string) (*vault.Vault, error) {
	path := filepath.Join(l.dir, keyFile)

	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fail.New(fail.NotFound, "lab: open the vault of "+region, path, "make key and vaults with: drctl vault init", err)
	}

	key, err := vault.ParseKey(targets.NewSecret(string(text)))
	if err != nil {
		return nil, err
	}

	store, err := l.Instance(region, targets.ShardID{Target: "media", Shard: "0"})
	if err != nil {
		return nil, err
	}

	return vault.Open(ctx, vault.Options{Region: region, Key: key, ResticBin: l.tools.ResticBin,
		Location: vault.Location{URL: "s3://" + vaultBucket, Endpoint: store.Address, AccessKey: store.User, SecretKey: store.Password}})
}
