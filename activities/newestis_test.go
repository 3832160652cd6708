package activities

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
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

// A newer cut that cannot be read now is not passed over either.
func TestANewerCutThatIsOutOfReachIsNotPassedOver(t *testing.T) {
	store := sandboxtest.S3(t, true)
	newer := targets.NewID(time.Now())
	front := sandboxtest.NewFront(t, store, func(r *http.Request) int {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, newer) {
			return http.StatusForbidden
		}

		return 0
	})

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err := vault.Init(t.Context(), vault.Options{Region: "east", Key: key,
		Location: vault.Location{URL: "s3://" + store.Database + "/vault", Endpoint: front.URL, AccessKey: store.User, SecretKey: store.Password}})
	if err != nil {
		t.Fatal(err)
	}

	if err := v.Store().Put(t.Context(), vault.CutKey("shop", newer), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	picked := targets.Cut{Group: "shop", ID: targets.NewID(time.Now().Add(-time.Minute))}

	if err := newestIs(t.Context(), v, picked, time.Time{}); !fail.Is(err, fail.Denied) {
		t.Fatalf("the newer cut was passed over: %v", err)
	}
}
