package configured

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"drctl/config"
	"drctl/config/storage"
	"drctl/internal/detection/board"
	"drctl/internal/epoch"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/proc"
	"drctl/internal/servers"
	"drctl/internal/vault"
	"drctl/targets"
)

// Platform resolves names through the configuration. It implements
// platform.Resolver, and is safe for concurrent use.
type Platform struct {
	Config *config.Config
	// Programs are those that sandboxes and vaults need.
	Programs servers.Binaries
	log      *slog.Logger

	opening singleflight.Group // by region
	mu      sync.Mutex
	vaults  map[string]*vault.Vault
	away    map[string]string     // why vaults that cannot be used were last said to be away
	epochs  map[string]*epoch.Log // by group
	boards  map[string]*board.Board
}

// errNotAsked is in the error of a vault that failed before it was asked: its
// key or its credentials could not be had.
var errNotAsked = errors.New("the vault was not asked")

// openLimit is how long a vault may take to answer when it is opened.
const openLimit = 10 * time.Second

// New is the platform of a configuration. It opens nothing yet.
func New(cfg *config.Config, tools servers.Binaries, log *slog.Logger) *Platform {
	return &Platform{Config: cfg, Programs: tools, log: log, vaults: map[string]*vault.Vault{}, away: map[string]string{}, epochs: map[string]*epoch.Log{}, boards: map[string]*board.Board{}}
}

// Group returns a group's plain description.
func (p *Platform) Group(name string) (platform.Group, error) {
	g, ok := p.Config.Groups[name]
	if !ok {
		return platform.Group{}, fail.Newf(fail.NotFound, "configuration", name, "there is no group of this name")
	}

	pol, err := p.Config.Policy(name)
	if err != nil {
		return platform.Group{}, err
	}
	out := platform.Group{Platform: p.Config.Name, Name: name, Home: g.Home, Gate: g.Gate, Policy: platform.Policy{
		Mode: targets.Modes(pol.Cut.Mode), Accept: pol.Cut.Accept, Look: pol.Cut.Look, HalfDone: pol.Cut.HalfDone,
		GIDs: pol.Cut.GIDs, Redis: pol.Cut.Redis, Partial: pol.Cut.Partial, Lease: pol.Cut.Lease, Budget: pol.Cut.Budget,
		LockTimeout: pol.Cut.LockTimeout, Attempts: pol.Cut.Attempts, SealWithin: pol.Cut.SealWithin, Unnameable: pol.Cut.Unnameable,
		ChunkAge: pol.Stream.ChunkAge, ChunkSize: int(pol.Stream.ChunkSize),
		Vaults: pol.Stream.Vaults, Durability: pol.Stream.Durability, FullEvery: pol.Base.FullEvery, ReadData: pol.Check.ReadData,
		RPO: pol.Objectives.RPO, RTO: pol.Objectives.RTO,
		Retention: vault.RetentionPolicy{KeepCuts: pol.Retention.Cuts, KeepBases: pol.Retention.BasesMin,
			KeepBasesFor: pol.Retention.Bases},
		KeepCutsMin: pol.Retention.CutsMin,
		CutEvery:    pol.Cut.Every, BaseEvery: pol.Base.Every, CheckEvery: pol.Check.Every,
	}}

	out.Queues = map[string]string{}
	for _, r := range p.Config.RegionNames() {
		out.Queues[r] = p.Config.Regions[r].Queue
	}

	for _, id := range p.Config.Shards(name) {
		region, _ := p.Config.Primary(id)

		s := platform.Shard{Shard: id, Kind: targets.Kind(p.Config.Targets[id.Target].Kind), Region: region, Queue: p.Config.Regions[region].Queue}
		if host, dir := p.Config.Host(id, region); dir {
			s.Host = host
		}
		out.Shards = append(out.Shards, s)
	}

	return out, nil
}

// Instance resolves a shard's instance in a region, secrets included.
func (p *Platform) Instance(ctx context.Context, shard targets.ShardID, region string) (targets.Instance, error) {
	return p.Config.Instance(ctx, shard, region)
}

// Regions lists the regions that have an instance of the shard, the
// configured primary's first.
func (p *Platform) Regions(shard targets.ShardID) []string {
	out := slices.Clone(p.Config.ShardRegions(shard))
	if first, ok := p.Config.Primary(shard); ok {
		if i := slices.Index(out, first); i > 0 {
			out[0], out[i] = out[i], out[0]
		}
	}

	return out
}

// GroupOf names the group that a shard belongs to.
func (p *Platform) GroupOf(shard targets.ShardID) (string, error) {
	return p.Config.GroupOf(shard)
}

// Vault opens a region's vault, once. Those who ask for it meanwhile wait for
// the same answer; a vault that does not answer holds up no other.
func (p *Platform) Vault(ctx context.Context, region string) (*vault.Vault, error) {
	p.mu.Lock()
	v := p.vaults[region]
	p.mu.Unlock()

	if v != nil {
		return v, nil
	}

	answer := p.opening.DoChan(region, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), openLimit)
		defer cancel()

		v, err := p.open(ctx, region)
		if err != nil && ctx.Err() != nil {
			return nil, fail.New(fail.Unavailable, platform.OpenOp(region), "", "check that its endpoint is up and reachable from here", err)
		}

		return v, err
	})
	select {
	case r := <-answer:
		v, _ := r.Val.(*vault.Vault)
		return v, r.Err
	case <-ctx.Done():
		return nil, fail.New(fail.CodeOf(ctx.Err()), platform.OpenOp(region), "", "", ctx.Err())
	}
}

func (p *Platform) open(ctx context.Context, region string) (*vault.Vault, error) {
	opt, err := p.VaultOptions(ctx, region)
	if errors.Is(err, platform.ErrNoKey) {
		return nil, fail.New(fail.NotFound, platform.OpenOp(region), "", MakeKey, err)
	}

	if fail.Is(err, fail.NotFound) {
		return nil, fail.New(fail.NotFound, platform.OpenOp(region), "", "", err)
	}

	if err != nil {
		return nil, fail.New(fail.CodeOf(err), platform.OpenOp(region), "", "", fmt.Errorf("%w: %w", errNotAsked, err))
	}

	v, err := vault.Open(ctx, opt)
	if err != nil {
		return nil, fail.New(fail.CodeOf(err), platform.OpenOp(region), "", "", err)
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	p.vaults[region] = v
	delete(p.away, region)

	return v, nil
}

// VaultOptions are how a region's vault is opened, the key included.
func (p *Platform) VaultOptions(ctx context.Context, region string) (vault.Options, error) {
	key, err := p.Key(ctx)
	if err != nil {
		return vault.Options{}, err
	}
	opt, err := p.VaultPlace(ctx, region)
	opt.Key = key

	return opt, err
}

// VaultPlace is where a region's vault is, without the key.
func (p *Platform) VaultPlace(ctx context.Context, region string) (vault.Options, error) {
	l, err := p.Config.VaultLocation(ctx, region)
	if err != nil {
		return vault.Options{}, err
	}

	return vault.Options{Region: region, Location: located(l), ResticBin: p.Programs.ResticBin, Log: p.log,
		CacheDir: filepath.Join(p.Config.StateDir, "cache", region)}, nil
}

func located(l storage.Location) vault.Location {
	return vault.Location{URL: l.URL, Endpoint: l.Endpoint, Region: l.S3Region, AccessKey: l.AccessKey, SecretKey: l.SecretKey}
}

// MakeKey is what to do about ErrNoKey.
const MakeKey = "for a new platform run: drctl vault init; else put the key there that the vaults were made with"

// Key is the platform's key, which opens every vault. Its error is
// platform.ErrNoKey where drctl vault init would make it.
func (p *Platform) Key(ctx context.Context) (vault.Key, error) {
	s, err := p.Config.Secret(ctx, p.Config.Key)

	var fe *fail.Error
	if p.Config.Key.File != "" && fail.Is(err, fail.NotFound) && errors.As(err, &fe) {
		return vault.Key{}, fail.New(fail.NotFound, "read the platform's key", fe.Subject, "", fmt.Errorf("%w: %w", platform.ErrNoKey, fe.Err))
	}

	if err != nil {
		return vault.Key{}, err
	}

	return vault.ParseKey(s)
}

// Set opens the vaults that the group's policy writes, the region's own first.
// One that cannot be opened is away, damaged or silent, and what can do without
// it goes on: the archiver brings it up to date when it is back. It fails when
// none can be opened, or when the configuration is wrong.
func (p *Platform) Set(ctx context.Context, group, region string) (vault.Set, error) {
	pol, err := p.Config.Policy(group)
	if err != nil {
		return vault.Set{}, err
	}

	names := slices.Clone(pol.Stream.Vaults)
	if i := slices.Index(names, region); i > 0 {
		names[0], names[i] = names[i], names[0]
	}
	set := vault.Set{Durability: pol.Stream.Durability}
	vaults, errs := make([]*vault.Vault, len(names)), make([]error, len(names))

	var wg sync.WaitGroup
	for i, n := range names {
		wg.Go(func() { vaults[i], errs[i] = p.Vault(ctx, n) })
	}

	wg.Wait()

	for i, n := range names {
		switch err := errs[i]; {
		case err == nil:
			set.Vaults = append(set.Vaults, vaults[i])
		case fail.Is(err, fail.Conflict), fail.Is(err, fail.Invalid) && errors.Is(err, errNotAsked):
			return vault.Set{}, err // a person has to correct the configuration
		default:
			p.tellAway(ctx, n, err)
			set.Away = append(set.Away, n)
		}
	}

	if len(set.Vaults) == 0 && errors.Is(errs[0], platform.ErrNoKey) { // the same for all of them
		return vault.Set{}, fail.New(fail.NotFound, "open the vaults", group, MakeKey, errors.Unwrap(errs[0]))
	}

	if len(set.Vaults) == 0 {
		return vault.Set{}, fail.New(fail.CodeOf(errs[0]), "open the vaults", group, "make a vault reachable", errors.Join(errs...))
	}

	return set, nil
}

// tellAway logs why a vault cannot be used, when it begins and when the reason is
// another: archivers, observers and cuts ask again and again.
func (p *Platform) tellAway(ctx context.Context, region string, err error) {
	// Numbers are others each time: those of requests and of ports.
	why := strings.Join(slices.DeleteFunc(strings.Fields(err.Error()), func(w string) bool { return strings.ContainsAny(w, "0123456789") }), " ")

	p.mu.Lock()
	again := p.away[region] == why
	p.away[region] = why
	p.mu.Unlock()

	level := slog.LevelWarn
	switch {
	case again:
		level = slog.LevelDebug
	case !fail.Retryable(err):
		level = slog.LevelError
	}

	p.log.Log(ctx, level, "a vault cannot be used", "vault", region, "err", err)
}

// Tools finds the programs that sandboxes need.
func Tools(cfg *config.Config) (servers.Binaries, error) {
	t := cfg.Sandbox.Tools

	return servers.Find(servers.Binaries{PostgresBin: t.PostgresBin, RedisServer: t.RedisServer, S3Server: t.S3Server,
		ResticBin: t.Restic, RunAs: proc.User(cfg.Sandbox.RunAs), Taken: cfg.Ports()})
}
