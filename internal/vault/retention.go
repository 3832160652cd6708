package vault

import (
	"maps"
	"slices"
	"time"

	"drctl/internal/timeline"
	"drctl/targets"
)

// RetentionPolicy says what to keep. The newest sealed cut and each shard's
// newest base are always kept.
type RetentionPolicy struct {
	// KeepCuts is how far back every cut is kept.
	KeepCuts time.Duration `json:"keep_cuts_ns"`
	// KeepBases is how many of a shard's newest bases are kept, at least one.
	KeepBases int `json:"keep_bases"`
	// KeepBasesFor is how far back every base is kept.
	KeepBasesFor time.Duration `json:"keep_bases_for_ns"`
	// Grace protects what is young and named by nothing yet (a snapshot or a
	// base in the making); 0 means 24 hours.
	Grace time.Duration `json:"grace_ns"`
	// MaxUnused is how much unused data restic may leave in packs instead of
	// rewriting them ("20%" when empty).
	MaxUnused string `json:"max_unused"`
}

// Inventory is what a vault holds, as far as retention cares.
type Inventory struct {
	// Cuts are those that the policy decides on; Pinned are kept whatever
	// their age (other groups' cuts of the same shards).
	Cuts   []targets.Cut
	Pinned []targets.Cut
	Shards []ShardInventory
}

// ShardInventory is one shard's part of an inventory.
type ShardInventory struct {
	Shard     targets.ShardID
	Bases     []targets.Artifact
	Timelines []timeline.Timeline // as their records tell
	Manifests []ManifestInfo
}

// ManifestInfo is a stored object manifest.
type ManifestInfo struct {
	Key    string
	SHA256 string
	Stored time.Time
}

// RetentionPlan is what a retention will remove. It is plain data.
type RetentionPlan struct {
	Made      time.Time        `json:"made"`
	Policy    RetentionPolicy  `json:"policy"`
	Cuts      []CutRef         `json:"remove_cuts"`
	KeptCuts  int              `json:"kept_cuts"`
	OldestCut time.Time        `json:"oldest_kept_cut,omitzero"`
	Shards    []ShardRetention `json:"shards"`
}

// CutRef names a cut.
type CutRef struct {
	Group string `json:"group"`
	ID    string `json:"id"`
}

// BaseRef names a base and its restic snapshots.
type BaseRef struct {
	ID        string   `json:"id"`
	Snapshots []string `json:"snapshots"`
}

// ShardRetention is what will be removed of one shard.
type ShardRetention struct {
	Shard     targets.ShardID `json:"shard"`
	Bases     []BaseRef       `json:"remove_bases"`
	KeptBases []BaseRef       `json:"kept_bases"`
	// Streams say which chunks go; a timeline without an entry keeps all.
	Streams []StreamRange `json:"remove_stream"`
	// Manifests are the keys of the manifests that go. Object data that no
	// other manifest names follows them, when it is older than the grace, in
	// two steps: it is condemned, and removed by a retention 25 hours later.
	Manifests []string `json:"remove_manifests"`
	Objects   bool     `json:"collect_objects"`
}

// StreamRange covers the chunks of a timeline that end at or before Before (any
// offset when All) and were closed before ClosedBefore.
type StreamRange struct {
	Timeline     string    `json:"lineage"`
	Before       uint64    `json:"before"`
	All          bool      `json:"all"`
	ClosedBefore time.Time `json:"closed_before"`
}

// Covers reports whether the range removes the chunk.
func (r StreamRange) Covers(c ChunkName) bool {
	return c.Timeline == r.Timeline && (r.All || c.To <= r.Before) && c.Closed.Before(r.ClosedBefore)
}

// Empty reports whether nothing would be removed but unreferenced objects.
func (p RetentionPlan) Empty() bool {
	if len(p.Cuts) > 0 {
		return false
	}

	for _, s := range p.Shards {
		if len(s.Bases)+len(s.Streams)+len(s.Manifests) > 0 {
			return false
		}
	}

	return true
}

// PlanRetention decides what to remove. It never removes what a kept cut
// needs: a base from which its point can be reached and the stream from there
// to the point, or its manifest with the objects; nor what is needed to reach
// any point after the oldest kept base. It is pure.
func PlanRetention(inv Inventory, policy RetentionPolicy, now time.Time) RetentionPlan {
	if policy.Grace <= 0 {
		policy.Grace = 24 * time.Hour
	}

	if policy.MaxUnused == "" {
		policy.MaxUnused = "20%"
	}
	plan := RetentionPlan{Made: now.UTC(), Policy: policy}
	cuts := slices.Clone(inv.Cuts)
	slices.SortStableFunc(cuts, func(a, b targets.Cut) int { return a.QuiescedAt.Compare(b.QuiescedAt) })
	kept := slices.Clone(inv.Pinned)

	newest := map[string]int{} // of each group
	for i, c := range cuts {
		newest[c.Group] = i
	}

	horizon := now.Add(-policy.KeepCuts)
	for i, c := range cuts {
		if i != newest[c.Group] && c.QuiescedAt.Before(horizon) {
			plan.Cuts = append(plan.Cuts, CutRef{c.Group, c.ID})
			continue
		}
		kept = append(kept, c)

		plan.KeptCuts++
		if plan.OldestCut.IsZero() {
			plan.OldestCut = c.QuiescedAt
		}
	}

	young, points := now.Add(-max(policy.KeepCuts, policy.Grace)), targets.PointsByShard(kept)
	for _, s := range inv.Shards {
		plan.Shards = append(plan.Shards, planShard(s, points[s.Shard], policy, now, young))
	}

	return plan
}

func planShard(s ShardInventory, kept []targets.CutPoint, policy RetentionPolicy, now, young time.Time) ShardRetention {
	out := ShardRetention{Shard: s.Shard}
	byID := timeline.NewIndex(s.Timelines)
	bases := slices.Clone(s.Bases)
	slices.SortStableFunc(bases, func(a, b targets.Artifact) int { return a.Finished.Compare(b.Finished) })

	keep := make([]bool, len(bases))
	for i, b := range bases {
		keep[i] = len(bases)-i <= max(policy.KeepBases, 1) || !b.Finished.Before(now.Add(-policy.KeepBasesFor)) ||
			!b.Finished.Before(now.Add(-policy.Grace))
	}

	neededManifests, protected := map[string]bool{}, map[string]bool{}
	for _, p := range kept {
		if p.Position.Manifest != "" {
			neededManifests[p.Position.Manifest] = true
		}

		if !p.Kind.Traits().Manifest && !keepFor(byID, bases, keep, p.Position, p.Cut.QuiescedAt) {
			for s := range byID.Back(p.Position) {
				protected[s.ID] = true
			}
		}
	}

	var keptBases []targets.Artifact
	for i, b := range bases {
		if keep[i] {
			keptBases = append(keptBases, b)
			out.KeptBases = append(out.KeptBases, BaseRef{b.ID, SnapshotsOf(b)})
		} else {
			out.Bases = append(out.Bases, BaseRef{b.ID, SnapshotsOf(b)})
		}
	}

	for _, r := range removable(byID, keptBases, young) {
		if !protected[r.Timeline] {
			out.Streams = append(out.Streams, r)
		}
	}
	out.Manifests, out.Objects = planManifests(s.Manifests, neededManifests, young)

	return out
}

func planManifests(all []ManifestInfo, needed map[string]bool, young time.Time) (remove []string, collect bool) {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b ManifestInfo) int { return a.Stored.Compare(b.Stored) })

	for i, m := range all {
		if i < len(all)-1 && !needed[m.SHA256] && m.Stored.Before(young) {
			remove = append(remove, m.Key)
		}
	}

	return remove, len(all) > 0
}

// keepFor keeps the newest base from which the point can be reached and
// returns true. When the origins do not tell, it keeps the newest that finished
// before the cut, or else all, and returns false.
func keepFor(byID timeline.Index, bases []targets.Artifact, keep []bool, at targets.Position, quiesced time.Time) bool {
	for s := range byID.Back(at) {
		best := -1
		for i, b := range bases {
			if b.Until.Timeline == s.ID && b.Until.Offset <= s.UpTo &&
				(best < 0 || b.Until.Offset >= bases[best].Until.Offset) {
				best = i
			}
		}

		if best >= 0 {
			keep[best] = true
			return true
		}
	}

	for i := len(bases) - 1; i >= 0; i-- {
		if bases[i].Finished.Before(quiesced) {
			keep[i] = true
			return false
		}
	}

	// Nothing is known to serve the cut: give up nothing that might.
	for i := range keep {
		keep[i] = true
	}

	return false
}

// removable says which parts of the timelines no kept base needs. Every kept
// base needs its own timeline from From on, and all that descends from it.
func removable(byID timeline.Index, kept []targets.Artifact, young time.Time) []StreamRange {
	if len(kept) == 0 {
		return nil
	}

	var out []StreamRange
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		from, needed := uint64(0), false

		descends := false
		for _, b := range kept {
			if b.From.Timeline == id {
				if !needed || b.From.Offset < from {
					from, needed = b.From.Offset, true
				}

				continue
			}
			descends = descends || follows(byID, id, b)
		}

		switch {
		case descends:
		case needed && from > 0:
			out = append(out, StreamRange{Timeline: id, Before: from, ClosedBefore: young})
		case !needed:
			out = append(out, StreamRange{Timeline: id, All: true, ClosedBefore: young})
		}
	}

	return out
}

// follows reports whether a timeline other than the base's own comes after the
// base: it descends from the place where the base begins, or the base, begun in
// an older timeline, became consistent behind it.
func follows(byID timeline.Index, id string, b targets.Artifact) bool {
	for s := range byID.Back(targets.Position{Timeline: id, Offset: ^uint64(0)}) {
		if s.ID == b.From.Timeline && b.From.Offset <= s.UpTo {
			return true
		}
	}

	for s := range byID.Back(b.Until) {
		if s.ID == id {
			return true
		}

		if s.ID == b.From.Timeline {
			return false
		}
	}

	return false
}
