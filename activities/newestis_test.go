package activities

import (
	"path/filepath"
	"testing"
	"time"

	"drctl/internal/vault"
	"drctl/targets"
)

// A cut of the very millisecond of a disaster was not taken before it, whatever
// the random part of its id is: a damaged record of it hides nothing.
func TestACutOfTheMillisecondOfADisasterIsNotBeforeIt(t *testing.T) {
	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err := vault.Init(t.Context(), vault.Options{Region: "east", Location: vault.Location{URL: "file://" + filepath.Join(t.TempDir(), "vault")}, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	disaster := time.Now()

	picked := targets.Cut{Group: "shop", ID: targets.NewID(disaster.Add(-time.Minute))}
	for _, random := range []string{"-0000", "-00000000", "-8000", "-ffffffff"} {
		if err := v.Store().Put(t.Context(), vault.CutKey("shop", targets.IDTime(disaster)+random), []byte("damaged")); err != nil {
			t.Fatal(err)
		}
	}

	if err := newestIs(t.Context(), v, picked, disaster); err != nil {
		t.Fatal(err)
	}

	if err := newestIs(t.Context(), v, picked, disaster.Add(time.Second)); err == nil {
		t.Fatal("the damaged newest cut was passed over")
	}
}
