package vault

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"drctl/internal/fail"
	"drctl/internal/timeline"
	"drctl/targets"
)

// Inventory reads what retention needs to know: the cuts of the groups, other
// groups' cuts of the same shards as pinned, and the bases, timelines and
// manifests of the shards. It fails on any damaged record: retention must not
// decide on half of what there is.
func (v *Vault) Inventory(ctx context.Context, groups []string) (Inventory, error) {
	var inv Inventory

	known, err := v.Groups(ctx)
	if err != nil {
		return inv, err
	}

	var others []targets.Cut
	for _, g := range known {
		cuts, err := v.Cuts(ctx, g)
		if err != nil {
			return Inventory{}, err
		}

		if slices.Contains(groups, g) {
			inv.Cuts = append(inv.Cuts, cuts...)
		} else {
			others = append(others, cuts...)
		}
	}

	shards := map[targets.ShardID]bool{}
	for _, c := range inv.Cuts {
		for _, p := range c.Shards {
			shards[p.Shard] = true
		}
	}

	for _, c := range others {
		if slices.ContainsFunc(c.Shards, func(p targets.ShardPoint) bool { return shards[p.Shard] }) {
			inv.Pinned = append(inv.Pinned, c)
		}
	}

	for id := range shards {
		s, err := v.shardInventory(ctx, id)
		if err != nil {
			return Inventory{}, err
		}
		inv.Shards = append(inv.Shards, s)
	}

	slices.SortFunc(inv.Shards, func(a, b ShardInventory) int { return a.Shard.Compare(b.Shard) })

	return inv, nil
}

func (v *Vault) shardInventory(ctx context.Context, id targets.ShardID) (ShardInventory, error) {
	s := ShardInventory{Shard: id}

	var err error
	if s.Bases, err = v.Bases(ctx, id); err != nil {
		return s, err
	}

	timelines, err := v.store.Folders(ctx, StreamPrefix(id))
	if err != nil {
		return s, err
	}

	for _, l := range timelines {
		b, _, err := v.ReadEncrypted(ctx, OriginKey(id, l))
		if fail.Is(err, fail.NotFound) {
			continue // not known, so never removed
		}

		if err != nil {
			return s, err
		}

		r, err := timeline.DecodeRecord(b, l)
		if err != nil {
			return s, fail.New(fail.Corrupt, "vault: inventory", v.store.URL()+"/"+OriginKey(id, l), "repair it from another region's vault", err)
		}
		s.Timelines = append(s.Timelines, r.Says())
	}

	for i, err := range v.store.List(ctx, ManifestsPrefix(id), "") {
		if err != nil {
			return s, err
		}

		if _, at, sha, ok := ParseManifestKey(i.Key); ok {
			s.Manifests = append(s.Manifests, ManifestInfo{i.Key, sha, at})
		}
	}

	return s, nil
}

// RetainOptions tune a Retain.
type RetainOptions struct {
	// DryRun counts what would be removed and removes nothing.
	DryRun   bool
	Progress targets.Progress
}

// RetentionResult says what was removed (or, of a dry run, would be).
type RetentionResult struct {
	Region string           `json:"region"`
	DryRun bool             `json:"dry_run,omitempty"`
	Cuts   []CutRef         `json:"cuts"`
	Shards []ShardRetention `json:"shards"` // bases, stream ranges and manifests that went

	Chunks      int64    `json:"chunks"`
	ChunkBytes  int64    `json:"chunk_bytes"` // as stored
	Objects     int64    `json:"objects"`
	ObjectBytes int64    `json:"object_bytes"`
	Condemned   int64    `json:"condemned_objects"` // named by nothing; a retention 25 h later or more removes them
	Snapshots   []string `json:"snapshots"`         // restic
}

// Retain removes what the plan names from this vault: records first, then the
// data that only they needed, so that an interruption leaves nothing that
// looks whole and is not, and a repeat finishes. It must not run while a base of
// the same shards or a Mirror with this vault runs; object snapshots may.
func (v *Vault) Retain(ctx context.Context, plan RetentionPlan, o RetainOptions) (RetentionResult, error) {
	res := RetentionResult{Region: v.Region(), DryRun: o.DryRun}

	r := &retainer{v: v, o: o, plan: plan, res: &res}
	for _, c := range plan.Cuts {
		for _, key := range []string{EvidenceKey(c.Group, c.ID), CutKey(c.Group, c.ID)} { // it is found by the cut, which goes after it
			if err := r.remove(ctx, key); err != nil {
				return res, err
			}
		}
		res.Cuts = append(res.Cuts, c)
	}

	for _, s := range plan.Shards {
		if err := r.shard(ctx, s); err != nil {
			return res, err
		}
		res.Shards = append(res.Shards, s)
	}

	if st, ok := v.store.(interface {
		sweep(ctx context.Context, before time.Time) error
	}); ok && !o.DryRun {
		return res, st.sweep(ctx, r.young())
	}

	return res, nil
}

type retainer struct {
	v    *Vault
	o    RetainOptions
	plan RetentionPlan
	res  *RetentionResult
}

func (r *retainer) remove(ctx context.Context, key string) error {
	if r.o.DryRun {
		return nil
	}

	return r.v.store.Delete(ctx, key)
}

func (r *retainer) shard(ctx context.Context, s ShardRetention) error {
	if len(s.KeptBases) == 0 && len(s.Bases) > 0 {
		return fail.New(fail.Internal, "vault: retain", s.Shard.String(), "", errors.New("the plan keeps no base"))
	}

	for _, b := range s.Bases {
		if err := r.remove(ctx, BaseRecordKey(s.Shard, b.ID)); err != nil {
			return err
		}
	}

	if err := r.baseFiles(ctx, s); err != nil {
		return err
	}

	if err := r.repository(ctx, s); err != nil {
		return err
	}

	for _, m := range s.Manifests {
		if err := r.remove(ctx, m); err != nil {
			return err
		}
	}

	if err := r.chunks(ctx, s); err != nil {
		return err
	}

	if s.Objects {
		return r.objects(ctx, s)
	}

	return nil
}

// young is the instant from which on things are left that nothing names yet.
func (r *retainer) young() time.Time {
	return r.v.opt.Now().Add(-max(r.plan.Policy.Grace, time.Minute))
}

// baseFiles removes the small files of bases that have no record.
func (r *retainer) baseFiles(ctx context.Context, s ShardRetention) error {
	gone := map[string]bool{}
	for _, b := range s.Bases {
		gone[b.ID] = true
	}
	recorded := map[string]bool{}
	var files []Info

	prefix := BasesPrefix(s.Shard)
	for i, err := range r.v.store.List(ctx, prefix, "") {
		if err != nil {
			return err
		}

		if _, id, ok := ParseBaseRecordKey(i.Key); ok {
			recorded[id] = !gone[id] // a dry run still sees the record
		} else {
			files = append(files, i)
		}
	}

	for _, f := range files {
		id, _, _ := strings.Cut(f.Key[len(prefix):], "/")
		if recorded[id] || !gone[id] && !f.Modified.Before(r.young()) {
			continue
		}

		if err := r.remove(ctx, f.Key); err != nil {
			return err
		}
	}

	return nil
}

// repository forgets the snapshots that no record names and prunes.
func (r *retainer) repository(ctx context.Context, s ShardRetention) error {
	_, err := r.v.store.Stat(ctx, ResticPrefix(s.Shard)+"config")
	if fail.Is(err, fail.NotFound) {
		return nil
	}

	if err != nil {
		return err
	}

	repo, err := r.v.openRepo(ctx, s.Shard)
	if err != nil {
		return err
	}

	bases, err := r.v.Bases(ctx, s.Shard)
	if err != nil {
		return err
	}
	named := map[string]bool{}

	gone := map[string]bool{}
	for _, b := range s.Bases {
		for _, id := range b.Snapshots {
			gone[id] = true
		}
	}

	for _, b := range bases {
		if r.o.DryRun && slices.ContainsFunc(s.Bases, func(x BaseRef) bool { return x.ID == b.ID }) {
			continue // its record is still there
		}

		for _, id := range SnapshotsOf(b) {
			named[id] = true
		}
	}

	list, err := repo.Snapshots(ctx)
	if err != nil {
		return err
	}

	var forget []string
	for _, sn := range list {
		if !named[sn.ID] && (gone[sn.ID] || sn.Time.Before(r.young())) {
			forget = append(forget, sn.ID)
		}
	}

	r.res.Snapshots = append(r.res.Snapshots, forget...)
	if len(forget) == 0 || r.o.DryRun {
		return nil
	}

	r.o.Progress.Report("prune "+s.Shard.String(), 0, 0)

	return repo.Forget(ctx, forget, true, r.plan.Policy.MaxUnused)
}

func (r *retainer) chunks(ctx context.Context, s ShardRetention) error {
	return r.sweep(ctx, func(yield func(Info, error) bool) {
		for _, rng := range s.Streams {
			for i, err := range r.v.store.List(ctx, TimelinePrefix(s.Shard, rng.Timeline), "") {
				if err != nil {
					yield(i, err)
					return
				}

				c, ok := ParseChunkKey(i.Key)
				if !ok {
					continue
				}

				if !rng.All && c.From >= rng.Before {
					break // sorted by From
				}

				if rng.Covers(c) && !yield(i, nil) {
					return
				}
			}
		}
	}, &r.res.Chunks, &r.res.ChunkBytes)
}

// objects executes the lists of condemned objects that are old enough and
// condemns what no manifest names now; see condemn.go.
func (r *retainer) objects(ctx context.Context, s ShardRetention) error {
	// Before the manifests are listed: a list is ripe by what they said then.
	now := r.v.opt.Now()
	named := map[hash32]struct{}{}

	keys, err := r.v.manifestKeys(ctx, s.Shard)
	if err != nil {
		return err
	}

	for _, key := range keys {
		if slices.Contains(s.Manifests, key) {
			continue // of a dry run
		}

		if err := r.v.manifestHashes(ctx, key, func(h hash32) { named[h] = struct{}{} }); err != nil {
			return err
		}
	}

	lists, decided, err := r.v.condemned(ctx, s.Shard)
	if err != nil {
		return err
	}

	var wait, execute []*condemned
	for _, c := range lists {
		ripe := now.Sub(c.made) >= condemnedFor
		switch word, err := r.decision(ctx, c, ripe); {
		case err != nil:
			return err
		case word == spared:
			if err := r.remove(ctx, c.key); err != nil {
				return err
			}
		case word == executed || ripe:
			execute = append(execute, c)
		default:
			wait = append(wait, c)
		}
	}
	in := func(lists []*condemned, h hash32) bool {
		return slices.ContainsFunc(lists, func(c *condemned) bool { return c.holds(h) })
	}
	var fresh []hash32 // in the order of the listing, which is theirs

	err = r.sweep(ctx, func(yield func(Info, error) bool) {
		for i, err := range r.v.store.List(ctx, ObjectsPrefix(s.Shard), "") {
			if err != nil {
				yield(i, err)
				return
			}

			h, ok := objectHash(i.Key)
			if _, keep := named[h]; !ok || keep || !i.Modified.Before(r.young()) {
				continue
			}

			switch {
			case in(execute, h):
				if !yield(i, nil) {
					return
				}
			case !in(wait, h) && len(fresh) < condemnAtOnce:
				fresh = append(fresh, h)
			}
		}
	}, &r.res.Objects, &r.res.ObjectBytes)
	if err != nil {
		return err
	}

	for _, c := range execute {
		if err := r.remove(ctx, c.key); err != nil {
			return err
		}
	}

	for _, d := range decided {
		if made, _ := parseCondemnedKey(d); now.Sub(made) > condemnedFor+decisionsKept {
			if err := r.remove(ctx, d); err != nil {
				return err
			}
		}
	}

	r.res.Condemned += int64(len(fresh))
	if len(fresh) == 0 || r.o.DryRun {
		return nil
	}

	return r.v.condemn(ctx, s.Shard, fresh)
}

// decision is what was decided about a list, "" when nothing was. A ripe one
// is decided now.
func (r *retainer) decision(ctx context.Context, c *condemned, ripe bool) (string, error) {
	if ripe && !r.o.DryRun {
		return r.v.decide(ctx, c.key, executed)
	}

	b, _, err := r.v.ReadEncrypted(ctx, decisionKey(c.key))
	if fail.Is(err, fail.NotFound) {
		return "", nil
	}

	return string(b), err
}

// sweep removes what todo yields, several at once, and counts it.
func (r *retainer) sweep(ctx context.Context, todo func(func(Info, error) bool), count, bytes *int64) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	var mu sync.Mutex
	var listErr error
	todo(func(i Info, err error) bool {
		if err != nil {
			listErr = err
			return false
		}

		if gctx.Err() != nil {
			return false
		}

		g.Go(func() error {
			if err := r.remove(gctx, i.Key); err != nil {
				return err
			}

			mu.Lock()
			defer mu.Unlock()

			*count++
			*bytes += i.Size
			r.o.Progress.Report("remove", *bytes, 0)

			return nil
		})

		return true
	})

	if err := g.Wait(); err != nil {
		return err
	}

	return listErr
}
