package detecting

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/client"

	"drctl/cmd/drctl/configured"
	"drctl/config"
	"drctl/internal/detection"
	"drctl/internal/servers"
)

// An engine that does not answer does not say that no recovery runs.
func TestAnEngineThatDoesNotAnswer(t *testing.T) {
	c, err := client.NewLazyClient(client.Options{HostPort: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
	defer stop()

	if id, err := running(ctx, c, "lab:recover/shop"); err == nil {
		t.Errorf("it is said that %q runs, and nothing of the engine is known", id)
	}
}

// Each loss gets its word, also when nothing has changed since the one before.
func TestWhyNothingBeginsIsSaidOfEachLoss(t *testing.T) {
	var s saying

	first := detection.Verdict{State: detection.Lost, Since: time.Unix(1000, 0)}
	next := detection.Verdict{State: detection.Lost, Since: time.Unix(2000, 0)}
	why := []string{"it is switched off", "there is no witness"}

	for i, c := range []struct {
		v    detection.Verdict
		why  []string
		anew bool
	}{{first, why, true}, {first, why, false}, {first, why[:1], true}, {next, why[:1], true}, {next, why[:1], false}, {next, nil, false}} {
		if _, anew := s.anew(c.v, c.why); anew != c.anew {
			t.Errorf("%d: said: %t", i, anew)
		}
	}
}

// Two processes of one place are never taken for one, whatever their machines are called.
func TestProcessesAreToldApart(t *testing.T) {
	if a, b := process(), process(); a == b {
		t.Errorf("both are %s", a)
	}
}

// Where no region could take over, that is said before one is lost.
func TestNobodyCouldTakeOver(t *testing.T) {
	cfg, err := config.Parse([]byte(`version: 1
name: small
state_dir: /srv/state
key: {file: /srv/key}
witness: {url: "file:///srv/witness"}
regions:
  east: {vault: {url: "file:///srv/east"}}
  west: {vault: {url: "file:///srv/west"}}
targets:
  orders:
    kind: postgres
    database: shop
    user: drctl
    shards:
      "0":
        east: {address: "127.0.0.1:1", role: primary}
        west: {address: "127.0.0.1:2", role: standby}
      "1":
        east: {address: "127.0.0.1:3", role: primary}
groups:
  shop: {targets: [orders]}
recovery:
  shop: {decision: automatic}
`), "small.yaml")
	if err != nil {
		t.Fatal(err)
	}

	var said strings.Builder
	d := &decider{p: configured.New(cfg, servers.Binaries{}, slog.New(slog.DiscardHandler)), here: "west", log: slog.New(slog.NewTextHandler(&said, nil))}
	d.judged("shop")

	if !strings.Contains(said.String(), "region=east") || strings.Contains(said.String(), "region=west") {
		t.Errorf("%s", said.String())
	}
}
