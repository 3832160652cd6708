package planned

import (
	"context"
	"strings"
	"testing"
	"time"

	"drctl/internal/lab/delay"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/vault"
)

// A vault that was cut off with its region says nothing, and whoever begins a recovery does not
// wait for it until his own time is up.
func TestAVaultThatIsCutOffIsLeftOut(t *testing.T) {
	in := sandboxtest.S3(t, false)

	line, err := delay.Listen("127.0.0.1:0", strings.TrimPrefix(in.Address, "http://"), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	west, err := vault.Init(t.Context(), vault.Options{Region: "west", Key: key, Location: vault.Location{URL: "file://" + t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}

	east, err := vault.Init(t.Context(), vault.Options{Region: "east", Key: key, Set: west.SetID(), Location: vault.Location{URL: "s3://media/vault",
		Endpoint: "http://" + line.Address(), AccessKey: in.User, SecretKey: in.Password}})
	if err != nil {
		t.Fatal(err)
	}
	all := vault.Set{Vaults: []*vault.Vault{east, west}, Durability: 1}

	if got := Reached(t.Context(), west, all); len(got.Vaults) != 2 || got.Vaults[0] != west {
		t.Fatalf("before: %v", got)
	}

	line.Cut()

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()

	if got := Reached(ctx, west, all); len(got.Vaults) != 1 || got.Vaults[0] != west || ctx.Err() != nil {
		t.Errorf("cut off: %v, %v", got, ctx.Err())
	}
}
