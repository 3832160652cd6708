package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"drctl/cmd/drctl/configured"
	"drctl/config"
	"drctl/internal/platform"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/stream"
	"drctl/internal/supervise"
	"drctl/internal/vault"
	"drctl/targets"
)

// TestKill kills processes with SIGKILL in the middle of a backup, a cut, a
// restore and a drill at once, and then the stores themselves: a seeded choice
// of the kinds of each, all of them at night.
func TestKill(t *testing.T) {
	w := ownLab(t, labShape{shards: 2, cutEvery: "5s"})
	w.running(t)
	w.startTraffic(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))

	victims := []string{"worker", "engine", "up"}
	for _, i := range r.Perm(len(victims))[:sandboxtest.Size(2, len(victims))] {
		victim := victims[i]
		delay := 300*time.Millisecond + time.Duration(r.Int64N(int64(3*time.Second)))
		t.Run(fmt.Sprintf("%s after %s", victim, delay.Round(time.Millisecond)), func(t *testing.T) { w.killRound(t, victim, delay) })

		if t.Failed() {
			return
		}
	}

	w.noGap(t)

	servers := []string{"east/orders/0", "east/carts/0"}
	for _, i := range r.Perm(len(servers))[:sandboxtest.Size(1, len(servers))] {
		server := servers[i]
		t.Run(server, func(t *testing.T) { w.killServer(t, server) })
	}

	w.stopTraffic(t).expect(t, 0)
	w.noGap(t)
	w.searchSecrets(t)
}

// storm starts a backup, a cut, a restore and a drill at once.
func (w *world) storm(t *testing.T) []*process {
	t.Helper()

	return []*process{
		w.start(t, runOptions{}, "backup", "now"),
		w.start(t, runOptions{}, "cut", "now"),
		w.start(t, runOptions{}, "restore", "run", "--vault", "west"),
		w.start(t, runOptions{}, "drill", "run", "region-loss"),
	}
}

func (w *world) killRound(t *testing.T, victim string, delay time.Duration) {
	before := w.children(t)
	started := time.Now()
	ps := w.storm(t)

	time.Sleep(delay)

	switch victim {
	case "up":
		// Its children end with it; an operator starts it again.
		w.up.signal(syscall.SIGKILL)
		w.up.wait(t)
		eventually(t, 3*time.Minute, "the children of drctl up end with it", func() error {
			for _, c := range before {
				if c.Alive() {
					return errors.New(c.Name + " runs")
				}
			}

			return nil
		})
		w.startUp(t)
	default:
		for name, c := range before {
			if strings.HasPrefix(name, victim) {
				if err := syscall.Kill(c.Pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
		}

		eventually(t, 3*time.Minute, "what died is started again", func() error {
			for name, c := range w.children(t) {
				if strings.HasPrefix(name, victim) && (c.Pid == before[name].Pid || c.Phase != supervise.Ready) {
					return fmt.Errorf("%s is %s with pid %d", name, c.Phase, c.Pid)
				}
			}

			return nil
		})
	}
	// The work finishes, or it says what went wrong in drctl's own words.
	for _, p := range ps {
		r := p.wait(t)
		t.Logf("drctl %s: exit %d after %s", strings.Join(p.args, " "), r.code, time.Since(started).Round(time.Second))
		plain(t, r)

		if r.code != 0 && strings.TrimSpace(r.err) == "" {
			t.Errorf("no word about why: %s", r)
		}
	}

	w.settled(t)
	// A repeat works, all of it.
	ps = w.storm(t)
	for _, p := range ps {
		r := p.wait(t)

		// On a slow machine the next observer may not have seen every shard yet.
		for try := 0; r.code != 0 && strings.Contains(r.err, "nobody observes") && try < 3; try++ {
			w.settled(t)
			r = w.start(t, runOptions{}, p.args...).wait(t)
		}

		r.expect(t, 0)
	}

	w.settled(t)
}

// children are the processes that drctl up keeps.
func (w *world) children(t *testing.T) map[string]supervise.ChildState {
	t.Helper()

	st, err := supervise.ReadState(filepath.Join(w.lab, "state"))
	if err != nil {
		t.Fatal(err)
	}

	out := map[string]supervise.ChildState{}
	for _, c := range st.Children {
		out[c.Name] = c
	}

	return out
}

// settled waits until nothing but archivers and schedules is at work and all
// is well, and checks that no lock, no sandbox and no server is left. Only
// restores leave sandboxes: they were asked to.
func (w *world) settled(t *testing.T) {
	t.Helper()
	eventually(t, 5*time.Minute, "everything is at rest and well", func() error {
		r := w.run(t, "status", "--json")
		if r.code != 0 && r.code != 4 {
			return errors.New(r.String())
		}

		st := decode[[]struct {
			Running, Problems []string
		}](t, r.out)[0]
		for _, id := range st.Running {
			if !strings.Contains(id, ":cut/") {
				return errors.New(id + " runs")
			}
		}

		if len(st.Problems) > 0 {
			return errors.New(strings.Join(st.Problems, "; "))
		}

		return nil
	})

	for _, b := range decode[[]struct{ ID, Purpose string }](t, w.must(t, "sandbox", "list", "--json")) {
		if b.Purpose == "restore" {
			w.must(t, "sandbox", "rm", b.ID)
		}
	}

	w.nothingLeft(t)

	for _, shard := range []string{"orders/0", "orders/1"} {
		c := w.connect(t, w.instance(t, "east", shard))
		eventually(t, 3*time.Minute, shard+" has no lock of a barrier", func() error {
			var n int

			err := c.QueryRow(t.Context(), `select count(*) from pg_locks where granted and
				(locktype = 'advisory' and mode = 'ExclusiveLock' or locktype = 'relation' and mode = 'ShareLock')`).Scan(&n)
			if err == nil && n > 0 {
				err = fmt.Errorf("%d locks", n)
			}

			return err
		})
		_ = c.Close(context.Background())
	}
}

// noGap checks that both vaults hold every byte from the oldest base to the
// newest cut.
func (w *world) noGap(t *testing.T) {
	t.Helper()

	r := w.expect(t, 0, []string{"stream-contiguous"}, "backup", "verify", "--json")
	if strings.Contains(r.out, "MISSING") {
		t.Errorf("a gap: %s", r)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()

	for _, region := range []string{"east", "west"} {
		v := w.openVault(t, region)

		cuts, err := v.Cuts(ctx, "shop")
		if err != nil || len(cuts) == 0 {
			t.Fatalf("cuts of %s: %v", region, err)
		}

		cut := cuts[len(cuts)-1]
		for _, p := range cut.Shards {
			if p.Kind == targets.S3 {
				continue
			}

			bases, err := v.Bases(ctx, p.Shard)
			if err != nil || len(bases) == 0 {
				t.Fatalf("bases of %s in %s: %v", p.Shard, region, err)
			}
			// The oldest base of this life of the store: a Redis that lost its
			// memory begins a log of its own.
			bases = slices.DeleteFunc(bases, func(b targets.Artifact) bool {
				return b.From.Timeline != p.Position.Timeline || b.Until.Offset > p.Position.Offset
			})
			if len(bases) == 0 {
				t.Errorf("no base of %s in %s leads to the newest cut", p.Shard, region)
				continue
			}
			fs, err := stream.Check(ctx, v, p.Shard, bases[0].From, p.Position)

			whole := !slices.ContainsFunc(fs, func(f targets.Finding) bool { return f.Severity != targets.Passed })
			if err != nil || len(fs) == 0 || !whole {
				t.Errorf("stream of %s in %s: %v %v", p.Shard, region, fs, err)
			}
		}
	}
}

// openVault opens a region's vault as the commands do.
func (w *world) openVault(t *testing.T, region string) *vault.Vault {
	t.Helper()

	v, err := w.platform(t).Vault(t.Context(), region)
	if err != nil {
		t.Fatal(err)
	}

	return v
}

func (w *world) platform(t *testing.T) platform.Resolver {
	t.Helper()

	cfg, err := config.Load(w.config(), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}

	tools, err := configured.Tools(cfg)
	if err != nil {
		t.Fatal(err)
	}

	return configured.New(cfg, tools, slog.New(slog.DiscardHandler))
}

// killServer kills a store and starts it again: archiving goes on by itself.
func (w *world) killServer(t *testing.T, server string) {
	w.inLab(t, "break", "kill", server)

	r := w.run(t, "cut", "now")
	if r.code == 0 {
		t.Errorf("a cut without %s: %s", server, r)
	}

	r.expect(t, 1, strings.TrimPrefix(server, "east/"))
	plain(t, r)
	w.expect(t, 4, []string{server[len("east/"):]}, "status")
	w.inLab(t, "up", "--cut-every", w.shape.cutEvery)

	if err := w.patient(); err != nil { // the lab has written its configuration again
		t.Fatal(err)
	}

	w.settled(t)

	cut := decode[targets.Cut](t, w.must(t, "cut", "now", "--json"))
	if len(cut.SealedIn) != 2 {
		t.Errorf("the cut after it is sealed in %v", cut.SealedIn)
	}

	w.expect(t, 0, nil, "drill", "run", "region-loss")
}
