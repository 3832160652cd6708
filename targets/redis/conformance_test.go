package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"drctl/internal/proc"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/targets"
	"drctl/targets/targettest"
)

func conformance(wrap func(*Driver) targets.Driver) targettest.Kit {
	return targettest.Kit{
		Driver: func(t testing.TB, log *slog.Logger) targets.Driver {
			return wrap(New(Options{Tools: sandboxtest.Tools(t), Log: log}))
		},
		Start: func(t testing.TB) targets.Instance {
			return sandboxtest.Redis(t, sandboxtest.RedisOptions{Settings: map[string]string{"appendonly": "yes"}})
		},
		Put: func(t testing.TB, in targets.Instance, name string) error {
			return dbClient(t, in, 0).Set(ctx, "name:"+name, strings.Repeat(name, 100), 0).Err()
		},
		Names: func(t testing.TB, in targets.Instance) []string {
			keys, err := dbClient(t, in, 0).Keys(ctx, "name:*").Result()
			must(t, err)
			for i, k := range keys {
				keys[i] = strings.TrimPrefix(k, "name:")
			}
			slices.Sort(keys)
			return keys
		},
		Empty: func(t testing.TB) targets.Instance {
			port, err := servers.FreePort()
			must(t, err)
			return targets.Instance{Kind: targets.Redis, Shard: targets.ShardID{Target: "carts", Shard: "0"}, Role: targets.Sandbox,
				Address: fmt.Sprintf("127.0.0.1:%d", port), Password: targets.NewSecret("sandbox-secret"), DataDir: filepath.Join(sandboxtest.Dir(t), "data")}
		},
		Stop: stopPid,
		Damage: func(t testing.TB, in targets.Instance) {
			path := filepath.Join(in.DataDir, aofDir, incrFile)
			b, err := os.ReadFile(path)
			must(t, err)
			b[bytes.LastIndex(b, []byte("bbbb"))] ^= 1
			must(t, os.WriteFile(path, b, 0o600))
		},
		Acknowledged: func(t testing.TB, in targets.Instance) uint64 {
			m, err := info(ctx, dbClient(t, in, 0), "replication")
			must(t, err)
			_, rest, _ := strings.Cut(m["slave0"], ",offset=")
			text, _, _ := strings.Cut(rest, ",")
			n, err := strconv.ParseUint(text, 10, 64)
			must(t, err)
			return n
		},
	}
}

func stopPid(_ testing.TB, pid int) {
	if id, err := proc.Of(pid); err == nil {
		_ = id.Kill()
	}
}

func TestConformance(t *testing.T) {
	targettest.Run(t, conformance(func(d *Driver) targets.Driver { return d }))
}

// Drivers that are broken on purpose: the suite must see each.
type (
	liar   struct{ *Driver } // a restore that could not be done claims success
	brute  struct{ *Driver } // a restore empties what is in its way
	deaf   struct{ *Driver } // follow drops what its archive does not take
	hasty  struct{ *Driver } // follow acknowledges all that it was sent
	blind  struct{ *Driver } // a check fails nothing
	tells  struct{ *Driver } // an error holds the password
	vain   struct{ *Driver } // a base that is not stored has a record
	sparse struct{ targets.Driver }
)

func (d liar) Restore(ctx context.Context, in targets.Instance, req targets.RestoreRequest, from targets.Source) (targets.Outcome, error) {
	out, err := d.Driver.Restore(ctx, in, req, from)
	if err != nil {
		return targets.Outcome{Reached: req.Point}, nil
	}

	return out, nil
}

func (d brute) Restore(ctx context.Context, in targets.Instance, req targets.RestoreRequest, from targets.Source) (targets.Outcome, error) {
	_ = os.RemoveAll(in.DataDir)
	return d.Driver.Restore(ctx, in, req, from)
}

type dropping struct{ targets.Archive }

func (a dropping) Write(ctx context.Context, offset uint64, p []byte) error {
	_ = a.Archive.Write(ctx, offset, p)
	return nil
}

func (d deaf) Follow(ctx context.Context, in targets.Instance, a targets.Archive) error {
	return d.Driver.Follow(ctx, in, dropping{a})
}

type ahead struct{ targets.Archive }

func (a ahead) Durable() uint64 { at, _ := a.Tail(); return at.Offset }

func (d hasty) Follow(ctx context.Context, in targets.Instance, a targets.Archive) error {
	return d.Driver.Follow(ctx, in, ahead{a})
}

func (d blind) Verify(ctx context.Context, in targets.Instance, want targets.Expectation) ([]targets.Finding, error) {
	fs, err := d.Driver.Verify(ctx, in, want)
	return slices.DeleteFunc(fs, func(f targets.Finding) bool { return f.Severity == targets.Failed }), err
}

func (d tells) Probe(ctx context.Context, in targets.Instance) (targets.Status, error) {
	st, err := d.Driver.Probe(ctx, in)
	if err != nil {
		err = fmt.Errorf("with %s: %w", in.Password.Reveal(), err)
	}

	return st, err
}

func (d vain) Base(ctx context.Context, in targets.Instance, req targets.BaseRequest, to targets.Sink) (targets.Artifact, error) {
	a, err := d.Driver.Base(ctx, in, req, to)
	if err != nil && errors.Is(err, context.Canceled) {
		return a, err
	}

	return a, nil
}

func TestConformanceCatchesBrokenDrivers(t *testing.T) {
	for name, x := range map[string]struct {
		check string
		wrap  func(*Driver) targets.Driver
	}{
		"liar":   {"restore from a faulty source", func(d *Driver) targets.Driver { return liar{d} }},
		"brute":  {"restore leaves what is there alone", func(d *Driver) targets.Driver { return brute{d} }},
		"deaf":   {"follow goes on without a gap", func(d *Driver) targets.Driver { return deaf{d} }},
		"hasty":  {"follow acknowledges what is durable", func(d *Driver) targets.Driver { return hasty{d} }},
		"blind":  {"verify finds damage", func(d *Driver) targets.Driver { return blind{d} }},
		"tells":  {"probe", func(d *Driver) targets.Driver { return tells{d} }},
		"vain":   {"base that cannot be stored", func(d *Driver) targets.Driver { return vain{d} }},
		"sparse": {"traits and interfaces agree", func(d *Driver) targets.Driver { return sparse{d} }},
	} {
		t.Run(name, func(t *testing.T) { targettest.Catches(t, conformance(x.wrap), x.check) })
	}
}
