package cutview

import (
	"errors"
	"strings"
	"testing"

	"drctl/internal/moment"
	"drctl/internal/ui"
	"drctl/internal/vault"
	"drctl/targets"
)

// A cut that is not proven anew fails its verification, as a damaged vault does, and
// is named with its vault and with every fault.
func TestACutThatIsNotProvenAnewIsRefused(t *testing.T) {
	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err := vault.Init(t.Context(), vault.Options{Region: "west", Location: vault.Location{URL: "file://" + t.TempDir() + "/v"}, Key: key})
	if err != nil {
		t.Fatal(err)
	}

	is := Refused(targets.Cut{ID: "c1"}, v, &moment.Report{Faults: []string{"one", "two"}})

	exit, ok := errors.AsType[ui.Exit](is)
	if !ok || exit.Code != 4 {
		t.Fatalf("%v", is)
	}

	for _, word := range []string{"c1", "west", "one; two", "--vault"} {
		if !strings.Contains(exit.Message, word) {
			t.Errorf("%q does not say %q", exit.Message, word)
		}
	}
}
