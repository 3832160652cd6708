package main

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"

	"drctl/config"
	"drctl/internal/fail"
	"drctl/internal/sandbox"
	"drctl/internal/vault"
)

// regionsIn is the platform of a worker that has just started; the vault of
// east is a directory, that of west a bucket at the endpoint.
func regionsIn(t *testing.T, endpoint string) *platform {
	t.Helper()
	dir := t.TempDir()
	text := fmt.Sprintf(`version: 1
name: shop
engine: {mode: embedded}
key: {file: %[1]q}
state_dir: %[2]q
regions:
  east: {vault: {url: %[3]q}}
  west: {vault: {url: "s3://vault/west", endpoint: %[4]q, access_key: a, secret_key: {file: %[1]q}}}
targets:
  orders: {kind: postgres, database: shop, user: drctl, shards: {"0": {east: {address: "127.0.0.1:5432", role: primary}}}}
groups:
  shop: {targets: [orders], home: east, gate: orders/0, policy: standard}
policies:
  standard: {stream: {vaults: [east, west], durability: 1}}
`, filepath.Join(dir, "key"), dir, "file://"+filepath.Join(dir, "east"), endpoint)
	if _, err := makeKey(filepath.Join(dir, "key")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "drctl.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	return newPlatform(cfg, sandbox.Tools{}, slog.New(slog.DiscardHandler))
}

// A vault behind an address that takes connections and never answers holds up
// neither the other vaults nor the work that can do without it.
func TestVaultThatNeverAnswers(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	asked := make(chan struct{})
	go func() {
		c, err := l.Accept()
		if err == nil {
			defer c.Close()
		}
		close(asked)
		for {
			if c, err := l.Accept(); err != nil {
				return
			} else {
				defer c.Close()
			}
		}
	}()
	p := regionsIn(t, "http://"+l.Addr().String())
	opt, err := p.vaultOptions(t.Context(), "east")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vault.Init(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	west := make(chan error, 1)
	go func() {
		_, err := p.Vault(t.Context(), "west")
		west <- err
	}()
	<-asked
	if v, err := p.Vault(t.Context(), "east"); err != nil || v.Region() != "east" {
		t.Fatal(err)
	}
	select {
	case err := <-west:
		t.Fatalf("east had to wait for west, which says: %v", err)
	default:
	}
	set, err := p.Set(t.Context(), "shop", "west")
	if err != nil || len(set.Vaults) != 1 || set.Vaults[0].Region() != "east" {
		t.Fatalf("%v %v", set, err)
	}
	if err := <-west; !fail.Is(err, fail.Unavailable) || !fail.Retryable(err) {
		t.Fatal(err)
	}
}
