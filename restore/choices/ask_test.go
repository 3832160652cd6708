package choices

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/observation"
	"drctl/internal/observation/batches"
	"drctl/internal/platform"
	"drctl/internal/proof/clock"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/restore/forecast"
	"drctl/restore/history"
	"drctl/restore/plan"
	"drctl/targets"
)

// world is a platform of two shards whose servers are asked without one.
type world struct {
	platform.Resolver
	targets.Driver
	west *vault.Vault
	// silent are regions whose servers and vaults say nothing, whoever stops waiting.
	silent map[string]bool
	never  chan struct{}
	at     uint64 // where standbys stand
}

func newWorld(t *testing.T) *world {
	t.Helper()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err := vault.Init(t.Context(), vault.Options{Region: "west", Location: vault.Location{URL: "file://" + filepath.Join(t.TempDir(), "west")}, Key: key})
	if err != nil {
		t.Fatal(err)
	}

	w := &world{west: v, silent: map[string]bool{"east": true}, never: make(chan struct{}), at: 800}
	t.Cleanup(func() { close(w.never) })

	return w
}

func (w *world) Group(name string) (platform.Group, error) {
	return platform.Group{Name: name, Policy: platform.Policy{Vaults: []string{"east", "west"}}}, nil
}

func (w *world) Instance(_ context.Context, id targets.ShardID, region string) (targets.Instance, error) {
	return targets.Instance{Kind: targets.Postgres, Shard: id, Region: region}, nil
}

func (w *world) Vault(_ context.Context, region string) (*vault.Vault, error) {
	if w.silent[region] {
		<-w.never
	}

	if region != "west" {
		return nil, errors.New("there is none")
	}

	return w.west, nil
}

func (w *world) Reach(_ context.Context, in targets.Instance) (targets.Status, error) {
	if w.silent[in.Region] || w.silent[in.Shard.String()] {
		<-w.never
	}

	if in.Region == "east" {
		return targets.Status{}, fail.Newf(fail.Unavailable, "reach", in.String(), "it is away")
	}

	return targets.Status{Reachable: true, Role: targets.Standby, Position: at(line, w.at)}, nil
}

func (w *world) sources(limit time.Duration) Sources {
	return Sources{Platform: w, Drivers: map[targets.Kind]targets.Driver{targets.Postgres: w}, Limit: limit}
}

// archived has the vault hold a shard's log up to a place, of which an observer saw the end some time ago.
func (w *world) archived(t *testing.T, id targets.ShardID, to uint64, ago time.Duration) {
	t.Helper()
	set := vault.Set{Vaults: []*vault.Vault{w.west}, Durability: 1}

	a, err := stream.NewArchiver(t.Context(), stream.Options{Set: set, Shard: id, Kind: targets.Postgres})
	if err == nil {
		err = a.Begin(t.Context(), line, 0, targets.Position{}, nil)
	}

	if err == nil {
		err = a.Write(t.Context(), 0, make([]byte, to))
	}

	if err == nil {
		err = a.Close(t.Context())
	}

	if err != nil {
		t.Fatal(err)
	}

	o, wall := observation.NewObserver(), time.Now().Add(-ago)
	i, stamp := o.Now(), clock.Stamp(wall.UnixNano())

	b := observation.Batch{Group: "shop", Observer: o.Name(), Since: i, Until: i + 2, Began: wall, Ended: wall.Add(time.Millisecond), Shards: []observation.Seen{{Shard: id, Kind: targets.Postgres, Server: "s",
		Observations: []observation.Observation{{Sample: clock.Sample{T0: i, T1: i + 1, Stamp: stamp, Wall: stamp}, Timeline: line, Flushed: to, Inserted: to}}}}}
	if err := batches.Save(t.Context(), set, b); err != nil {
		t.Fatal(err)
	}
}

// TestALostRegionKeepsNobody: of the region that is lost neither servers nor the vault say anything, for
// ever; what the other one says is told in time.
func TestALostRegionKeepsNobody(t *testing.T) {
	w := newWorld(t)
	w.archived(t, one, 1000, 10*time.Second) // the vault is ahead of the standby
	w.archived(t, two, 700, 20*time.Second)  // the standby is ahead

	d := history.Drill{ID: "game", Plan: strings.Repeat("a", 64), Mode: plan.ModeFailover, From: "east", To: "west", By: "bob", Started: time.Now().Add(-time.Hour), Finished: time.Now(), Passed: true,
		Steps: []forecast.Sample{{Step: "promote-orders/0", Do: plan.OpPromote, Took: 7 * time.Second}}}
	if err := history.SaveDrill(t.Context(), vault.Set{Vaults: []*vault.Vault{w.west}, Durability: 1}, "shop", d); err != nil {
		t.Fatal(err)
	}

	began := time.Now()
	x := w.sources(time.Minute).Foresee(t.Context(), ask())

	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}

	n := x.Of(plan.Newest)
	if s := n.Shards[0]; s.To != at(line, 1000) || s.Loss.Within == nil || s.Loss.Within.Round(5*time.Second) != 10*time.Second {
		t.Errorf("the vault leads on: %+v\n%s", s, words(x))
	}

	if s := n.Shards[1]; s.To != at(line, 800) || n.RPO.Within == nil || *n.RPO.Within != *s.Loss.Within || n.Worst != "orders/1" {
		t.Errorf("%+v\n%s", n, words(x))
	}

	if n.RTO.P50 == nil || *n.RTO.P50 != 7*time.Second || n.RTO.Runs != 1 {
		t.Errorf("%+v", n.RTO)
	}

	if p := x.Of(plan.Proven); p.RPO.Within != nil || !strings.Contains(p.RPO.Why, "no moment is known") {
		t.Errorf("%+v", p)
	}

	if text := words(x); !strings.Contains(text, "the vault of east is left out: no answer within 2s") {
		t.Error(text)
	}
}

// TestWhatHeedsNoDeadline: a standby and a vault that say nothing for ever are unknown when the time is
// over, and the rest is told.
func TestWhatHeedsNoDeadline(t *testing.T) {
	w := newWorld(t)
	w.archived(t, one, 1000, 10*time.Second)
	w.silent = map[string]bool{"orders/1": true, "east": true}

	began := time.Now()
	x := w.sources(ServerLimit+time.Second).Foresee(t.Context(), ask())

	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}

	n := x.Of(plan.Newest)
	if s := n.Shards[1]; n.RPO.Within != nil || s.Loss.Within != nil || s.Loss.Bytes != nil || !strings.Contains(s.Loss.Why, "no answer within") {
		t.Errorf("%+v\n%s", s, words(x))
	}

	if n.Shards[0].To.Timeline == "" {
		t.Errorf("%+v\n%s", n.Shards[0], words(x))
	}

	w.silent["west"] = true

	x = w.sources(time.Second).Foresee(t.Context(), ask())
	for _, c := range x.Choices {
		if c.RPO.Within != nil || c.RPO.Bytes != nil || c.RTO.P50 != nil || c.RPO.Why == "" || c.RTO.Why == "" {
			t.Errorf("nobody says anything: %+v", c)
		}
	}
}
