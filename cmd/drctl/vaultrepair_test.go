package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drctl/cmd/drctl/answer"
	"drctl/internal/fail"
	"drctl/internal/vault"
)

// TestVaultRepair: a damaged object is replaced by the other region's, and the
// vault is whole again; what is damaged in both is named and left.
func TestVaultRepair(t *testing.T) {
	file, s := vaultsOnly(t, "{address: 127.0.0.1:1}")
	ctx := t.Context()
	key := vault.ReportKey("drill", "20260101T000000Z-abcd")
	flip := func(region string) {
		path := filepath.Join(filepath.Dir(file), region, key)

		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)-3] ^= 1

		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}

		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	whole := func(region string) bool {
		v, err := s.p.Vault(ctx, region)
		if err != nil {
			t.Fatal(err)
		}

		fs, err := v.Verify(ctx, vault.VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}

		return !vault.Damaged(fs)
	}
	for _, region := range []string{"east", "west"} {
		v, err := s.p.Vault(ctx, region)
		if err != nil {
			t.Fatal(err)
		}

		if err := v.PutEncrypted(ctx, key, nil, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}

	flip("east")

	if whole("east") {
		t.Fatal("the damage does not show")
	}

	out, err := command(ctx, file, "vault", "repair", "--region", "east", "--json")
	if got := decode[[]answer.Repaired](t, out); err != nil || len(got) != 1 || got[0] != (answer.Repaired{Key: key, From: "west"}) {
		t.Fatalf("%s, %v", out, err)
	}

	if !whole("east") {
		t.Error("repaired, and damaged")
	}

	if out, err := command(ctx, file, "vault", "repair", "--region", "east"); err != nil || !strings.Contains(out, "0 objects repaired") {
		t.Errorf("again: %s, %v", out, err)
	}

	flip("east")
	flip("west")

	out, err = command(ctx, file, "vault", "repair", "--region", "east")
	if !fail.Is(err, fail.Corrupt) || !strings.Contains(err.Error(), key) {
		t.Errorf("damaged in both: %s, %v", out, err)
	}

	if _, err := command(ctx, file, "vault", "repair", "--region", "east", "--from", "east"); !fail.Is(err, fail.Invalid) {
		t.Errorf("from itself: %v", err)
	}

	if _, err := command(ctx, file, "vault", "repair", "--region", "nowhere"); !fail.Is(err, fail.Invalid) {
		t.Errorf("an unknown region: %v", err)
	}
}
