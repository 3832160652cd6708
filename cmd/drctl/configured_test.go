package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"drctl/cmd/drctl/configured"
	"drctl/config"
	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/internal/vault"
)

// regionsIn is the platform of a worker that has just started; the vault of
// east is a directory, that of west a bucket at the endpoint.
func regionsIn(t *testing.T, endpoint string) *configured.Platform {
	t.Helper()
	dir := t.TempDir()

	text := fmt.Sprintf(`version: 1
name: shop
engine: {mode: embedded}
key: {file: %[1]q}
state_dir: %[2]q
regions:
  east: {vault: {url: %[3]q}}
  west: {vault: {url: "s3://vault/west", endpoint: %[4]q, access_key: a, secret_key: {file: %[5]q}}}
targets:
  orders: {kind: postgres, database: shop, user: drctl, shards: {"0": {east: {address: "127.0.0.1:5432", role: primary}}}}
groups:
  shop: {targets: [orders], home: east, gate: orders/0, policy: standard}
policies:
  standard: {stream: {vaults: [east, west], durability: 1}}
`, filepath.Join(dir, "key"), dir, "file://"+filepath.Join(dir, "east"), endpoint, filepath.Join(dir, "secret"))
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("s"), 0o600); err != nil {
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

	return configured.New(cfg, servers.Binaries{}, slog.New(slog.DiscardHandler))
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
	if _, err := configured.NewKey(p.Config.Key.File); err != nil {
		t.Fatal(err)
	}

	opt, err := p.VaultOptions(t.Context(), "east")
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
	// The archiver and bases are served whatever the policy asks for; nothing
	// counts as durable that is not in so many.
	for _, durability := range []int{1, 2} {
		pol := p.Config.Policies["standard"]
		pol.Stream.Durability = durability
		p.Config.Policies["standard"] = pol

		set, err := p.Set(t.Context(), "shop", "west")
		if err != nil || len(set.Vaults) != 1 || set.Vaults[0].Region() != "east" || !slices.Equal(set.Away, []string{"west"}) || set.Need() != durability {
			t.Fatalf("%v %v", set, err)
		}

		if _, err := set.PutEncrypted(t.Context(), fmt.Sprintf("t/%d", durability), nil, []byte("x")); (err == nil) != (durability == 1) {
			t.Fatalf("durability %d: %v", durability, err)
		}

		if err := set.Short("seal", "a cut"); (err == nil) != (durability == 1) {
			t.Fatalf("durability %d: %v", durability, err)
		}
	}

	if err := <-west; !fail.Is(err, fail.Unavailable) || !fail.Retryable(err) {
		t.Fatal(err)
	}
}

// A vault that cannot be asked may exist and name the set: init writes nothing,
// not even the key.
func TestInitStopsBeforeItWrites(t *testing.T) {
	t.Parallel()

	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer server.Close()
	p := regionsIn(t, server.URL)

	a := &app{configPath: filepath.Join(p.Config.StateDir, "drctl.yaml"), out: io.Discard, err: io.Discard, logLevel: "error"}
	if err := a.vaultInit(t.Context()); !fail.Is(err, fail.Denied) || !strings.Contains(err.Error(), "west") {
		t.Fatal(err)
	}

	for _, path := range []string{p.Config.Key.File, filepath.Join(p.Config.StateDir, "east")} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s was made: %v", path, err)
		}
	}
}

// A vault that exists is not joined with a new key, and east gets no set of its own.
func TestInitJoinsWhatExists(t *testing.T) {
	t.Parallel()
	in := sandboxtest.S3(t, true)
	p := regionsIn(t, in.Address)

	opt, err := p.VaultPlace(t.Context(), "west")
	if err != nil {
		t.Fatal(err)
	}

	opt.Location.URL, opt.Location.AccessKey, opt.Location.SecretKey = "s3://"+in.Database+"/west", in.User, in.Password
	if opt.Key, err = vault.GenerateKey(); err != nil {
		t.Fatal(err)
	}

	west, err := vault.Init(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}

	text, err := os.ReadFile(filepath.Join(p.Config.StateDir, "drctl.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(p.Config.StateDir, "joined.yaml")

	out := strings.NewReplacer("s3://vault/west", opt.Location.URL, "access_key: a", "access_key: "+in.User).Replace(string(text))
	if err := errors.Join(os.WriteFile(path, []byte(out), 0o600), os.WriteFile(filepath.Join(p.Config.StateDir, "secret"), []byte(in.Password.Reveal()), 0o600)); err != nil {
		t.Fatal(err)
	}

	a := &app{configPath: path, out: io.Discard, err: io.Discard, logLevel: "error"}
	if err := a.vaultInit(t.Context()); err == nil || !strings.Contains(err.Error(), west.Recipient()) {
		t.Fatal(err)
	}

	if _, err := os.Stat(p.Config.Key.File); !errors.Is(err, os.ErrNotExist) {
		t.Fatal("a key was made that opens nothing")
	}

	if err := os.WriteFile(p.Config.Key.File, []byte(opt.Key.Secret().Reveal()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	if err := a.vaultInit(t.Context()); err != nil {
		t.Fatal(err)
	}

	_, set, _, err := vault.Describe(t.Context(), vault.Location{URL: "file://" + filepath.Join(p.Config.StateDir, "east")})
	if err != nil || set != west.SetID() {
		t.Fatalf("east has set %s, west %s: %v", set, west.SetID(), err)
	}
}

// A damaged vault stops no other: who writes junk into west's does not keep the
// workers of east from starting, and west counts for nothing.
func TestDamagedVaultIsAway(t *testing.T) {
	t.Parallel()

	refuse := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }))
	defer refuse.Close()

	damage := map[string]func(t *testing.T, p *configured.Platform, west *vault.Vault){
		"the gateway refuses": func(_ *testing.T, p *configured.Platform, _ *vault.Vault) {
			p.Config.Regions["west"].Vault.URL = "s3://vault/west"
		},
		"another format": func(t *testing.T, _ *configured.Platform, west *vault.Vault) {
			overwrite(t, west, "vault.json", func(b []byte) []byte { return bytes.Replace(b, []byte(`"format": 1`), []byte(`"format": 9`), 1) })
		},
		"another region, no canary": func(t *testing.T, _ *configured.Platform, west *vault.Vault) {
			overwrite(t, west, "vault.json", func(b []byte) []byte { return bytes.Replace(b, []byte(`"west"`), []byte(`"north"`), 1) })
			overwrite(t, west, "keys/canary.zst.age", junk)
		},
		"vault.json": func(t *testing.T, _ *configured.Platform, west *vault.Vault) { overwrite(t, west, "vault.json", junk) },
		"the canary": func(t *testing.T, _ *configured.Platform, west *vault.Vault) {
			overwrite(t, west, "keys/canary.zst.age", junk)
		},
		"the restic password": func(t *testing.T, _ *configured.Platform, west *vault.Vault) {
			overwrite(t, west, "keys/restic-password.zst.age", junk)
		},
	}
	for name, damaged := range damage {
		t.Run(name, func(t *testing.T) {
			p := vaultsIn(t, refuse.URL)

			opt, err := p.VaultOptions(t.Context(), "west")
			if err != nil {
				t.Fatal(err)
			}

			west, err := vault.Open(t.Context(), opt)
			if err != nil {
				t.Fatal(err)
			}

			damaged(t, p, west)

			set, err := p.Set(t.Context(), "shop", "west")
			if err != nil || len(set.Vaults) != 1 || set.Vaults[0].Region() != "east" || !slices.Equal(set.Away, []string{"west"}) {
				t.Fatalf("%v, away %v: %v", set, set.Away, err)
			}
		})
	}

	t.Run("a mistake of the configuration", func(t *testing.T) {
		p := vaultsIn(t, refuse.URL)

		p.Config.Regions["west"].Vault.URL, p.Config.Regions["east"].Vault.URL = p.Config.Regions["east"].Vault.URL, p.Config.Regions["west"].Vault.URL
		if set, err := p.Set(t.Context(), "shop", "west"); !fail.Is(err, fail.Conflict) {
			t.Errorf("a vault of another region: %v %v", set, err)
		}

		p = vaultsIn(t, refuse.URL)
		if err := os.WriteFile(filepath.Join(p.Config.StateDir, "secret"), nil, 0o600); err != nil {
			t.Fatal(err)
		}

		if set, err := p.Set(t.Context(), "shop", "west"); !fail.Is(err, fail.Invalid) {
			t.Errorf("an empty secret: %v %v", set, err)
		}
	})
}

// vaultsIn is a platform whose two vaults are directories.
func vaultsIn(t *testing.T, endpoint string) *configured.Platform {
	t.Helper()
	p := regionsIn(t, endpoint)

	p.Config.Regions["west"].Vault.URL = "file://" + filepath.Join(p.Config.StateDir, "west")
	if _, err := configured.NewKey(p.Config.Key.File); err != nil {
		t.Fatal(err)
	}

	for _, r := range []string{"east", "west"} {
		opt, err := p.VaultOptions(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}

		if _, err := vault.Init(t.Context(), opt); err != nil {
			t.Fatal(err)
		}
	}

	return p
}

func junk([]byte) []byte { return []byte("junk") }

// overwrite replaces an object of a vault that is a directory.
func overwrite(t *testing.T, v *vault.Vault, key string, change func([]byte) []byte) {
	t.Helper()
	path := filepath.Join(strings.TrimPrefix(v.Store().URL(), "file://"), key)

	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	b := change(old)
	if bytes.Equal(b, old) {
		t.Fatalf("%s is not changed", key)
	}

	if err := errors.Join(os.Remove(path), os.WriteFile(path, b, 0o600)); err != nil {
		t.Fatal(err)
	}
}
