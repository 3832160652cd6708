package vault

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"drctl/internal/fail"
	"drctl/internal/timeline"
	"drctl/targets"
)

var epoch = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

// world is a random history of one shard: timelines that fork, bases, cuts and
// every chunk that was ever archived.
type world struct {
	inv    Inventory
	chunks []ChunkName
	now    time.Time
}

func drawWorld(t *rapid.T) world {
	var w world
	shard := ShardInventory{Shard: shardA}
	at := epoch
	line := timeline.Timeline{ID: "L0"}
	offset := uint64(rapid.IntRange(0, 100).Draw(t, "start"))
	line.Offset = offset
	shard.Timelines = append(shard.Timelines, line)

	steps := rapid.IntRange(1, 80).Draw(t, "steps")
	for i := range steps {
		at = at.Add(time.Duration(rapid.IntRange(1, 600).Draw(t, "minutes")) * time.Minute)

		pos := targets.Position{Kind: targets.Postgres, Timeline: line.ID, Offset: offset}
		switch rapid.IntRange(0, 9).Draw(t, "step") {
		case 0, 1:
			from := pos
			from.Offset -= min(offset-line.Offset, uint64(rapid.IntRange(0, 30).Draw(t, "redo")))
			shard.Bases = append(shard.Bases, targets.Artifact{ID: fmt.Sprint("b", i), Shard: shardA, From: from, Until: pos,
				Snapshot: fmt.Sprint("s", i), Finished: at})
		case 2, 3, 4:
			w.inv.Cuts = append(w.inv.Cuts, targets.Cut{ID: fmt.Sprint("c", i), Group: rapid.SampledFrom([]string{"g", "h"}).Draw(t, "group"),
				QuiescedAt: at, Shards: []targets.ShardPoint{{Shard: shardA, Kind: targets.Postgres, Position: pos}}})
		case 5:
			if rapid.Bool().Draw(t, "fork") { // a promotion, maybe at an earlier offset
				back := min(offset-line.Offset, uint64(rapid.IntRange(0, 20).Draw(t, "lost")))
				offset -= back
				pos.Offset = offset
				line = timeline.Timeline{ID: fmt.Sprint("L", i), Offset: offset, Parent: pos}
			} else { // a full resync: nothing before it is reachable
				line = timeline.Timeline{ID: fmt.Sprint("L", i), Offset: offset}
			}
			shard.Timelines = append(shard.Timelines, line)
		default:
			to := offset + uint64(rapid.IntRange(1, 50).Draw(t, "bytes"))
			w.chunks = append(w.chunks, ChunkName{Shard: shardA, Timeline: line.ID, From: offset, To: to, Closed: at})
			offset = to
		}
	}
	w.inv.Shards = []ShardInventory{shard}
	w.now = at.Add(time.Duration(rapid.IntRange(0, 2000).Draw(t, "later")) * time.Minute)

	return w
}

// serves reports whether the point can be reached from a base by the chunks.
func serves(b targets.Artifact, at targets.Position, lines []timeline.Timeline, has func(timeline string, from, to uint64) bool) bool {
	byID := timeline.NewIndex(lines)

	timeline, upTo := at.Timeline, at.Offset
	for range len(lines) + 1 {
		if timeline == b.Until.Timeline {
			return b.Until.Offset <= upTo && has(timeline, b.From.Offset, upTo)
		}

		l := byID[timeline]
		if l.Parent.Timeline == "" || upTo < l.Offset || !has(timeline, l.Offset, upTo) {
			return false
		}
		timeline, upTo = l.Parent.Timeline, min(l.Parent.Offset, upTo)
	}

	return false
}

func covered(chunks []ChunkName) func(string, uint64, uint64) bool {
	return func(timeline string, from, to uint64) bool {
		for _, c := range chunks { // in order
			if c.Timeline == timeline && c.From <= from && c.To > from {
				from = c.To
			}
		}

		return from >= to
	}
}

// TestRetentionKeepsWhatCutsNeed: every kept cut that could be recovered
// before can be recovered afterwards.
func TestRetentionKeepsWhatCutsNeed(t *testing.T) {
	for range 20 { // histories that show a fault are rare, and cheap
		rapid.Check(t, checkRetention)
	}
}

func checkRetention(t *rapid.T) {
	w := drawWorld(t)
	if rapid.Bool().Draw(t, "pin") && len(w.inv.Cuts) > 0 {
		w.inv.Pinned, w.inv.Cuts = w.inv.Cuts[:1], w.inv.Cuts[1:]
	}

	if s := &w.inv.Shards[0]; rapid.Bool().Draw(t, "lose an origin") {
		s.Timelines = s.Timelines[1:]
	}
	policy := RetentionPolicy{
		KeepCuts:     time.Duration(rapid.IntRange(0, 200).Draw(t, "keep cuts")) * time.Hour,
		KeepBases:    rapid.IntRange(0, 4).Draw(t, "keep bases"),
		KeepBasesFor: time.Duration(rapid.IntRange(0, 200).Draw(t, "keep bases for")) * time.Hour,
		Grace:        time.Duration(rapid.IntRange(0, 48).Draw(t, "grace")) * time.Hour,
	}
	plan := PlanRetention(w.inv, policy, w.now)
	s, shard := plan.Shards[0], w.inv.Shards[0]

	gone := map[string]bool{}
	for _, b := range s.Bases {
		gone[b.ID] = true
	}

	if len(gone) == len(shard.Bases) && len(gone) > 0 {
		t.Fatal("no base is kept")
	}

	var left []ChunkName
	for _, c := range w.chunks {
		if !slices.ContainsFunc(s.Streams, func(r StreamRange) bool { return r.Covers(c) }) {
			left = append(left, c)
		}
	}

	removed := map[CutRef]bool{}
	for _, c := range plan.Cuts {
		removed[c] = true
	}

	newest := map[string]time.Time{}
	for _, c := range w.inv.Cuts {
		newest[c.Group] = c.QuiescedAt
	}

	for _, c := range append(slices.Clone(w.inv.Pinned), w.inv.Cuts...) {
		if removed[CutRef{c.Group, c.ID}] {
			if c.QuiescedAt.After(w.now.Add(-policy.KeepCuts)) || newest[c.Group].Equal(c.QuiescedAt) {
				t.Fatalf("cut %s is young or the newest and is removed", c.ID)
			}

			continue
		}
		at := c.Shards[0].Position
		before := slices.ContainsFunc(shard.Bases, func(b targets.Artifact) bool { return serves(b, at, shard.Timelines, covered(w.chunks)) })

		after := slices.ContainsFunc(shard.Bases, func(b targets.Artifact) bool {
			return !gone[b.ID] && serves(b, at, shard.Timelines, covered(left))
		})
		if before && !after {
			t.Fatalf("cut %s at %+v cannot be recovered any more\nplan %+v\nbases %+v\ntimelines %+v", c.ID, at, s, shard.Bases, shard.Timelines)
		}
	}
}

// TestRetentionRemoves: in the plain case what is old does go.
func TestRetentionRemoves(t *testing.T) {
	day := 24 * time.Hour
	var inv Inventory

	s := ShardInventory{Shard: shardA, Timelines: []timeline.Timeline{{ID: "L"}}}
	for i := range 30 {
		at := epoch.Add(time.Duration(i) * day)
		pos := targets.Position{Timeline: "L", Offset: uint64(i) * 100}
		s.Bases = append(s.Bases, targets.Artifact{ID: fmt.Sprint("b", i), From: pos, Until: pos, Finished: at})
		pos.Offset += 50
		inv.Cuts = append(inv.Cuts, targets.Cut{ID: fmt.Sprint("c", i), Group: "g", QuiescedAt: at.Add(time.Hour),
			Shards: []targets.ShardPoint{{Shard: shardA, Kind: targets.Postgres, Position: pos}}})
	}
	inv.Shards = []ShardInventory{s}

	p := PlanRetention(inv, RetentionPolicy{KeepCuts: 7 * day, KeepBases: 2, KeepBasesFor: 3 * day}, epoch.Add(30*day))
	if len(p.Cuts) != 23 || p.KeptCuts != 7 || p.Empty() {
		t.Fatalf("%d cuts go, %d stay", len(p.Cuts), p.KeptCuts)
	}

	if r := p.Shards[0]; len(r.Bases) != 23 || len(r.KeptBases) != 7 || len(r.Streams) != 1 || r.Streams[0].Before != 2300 {
		t.Fatalf("%+v", r)
	}
}

// TestRetain removes from a real vault and then recovers from what is left.
func TestRetain(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	v := fileVault(t, "east", testKey(t))
	set := Set{Vaults: []*Vault{v}}
	now := time.Now()
	dir := tree(t, someFiles)

	bases := make([]targets.Artifact, 3)
	for i := range bases {
		overwrite(t, filepath.Join(dir, "changing"), noise(300<<10+i))
		off := uint64(i) * 100
		a := saveBaseAt(t, set, fmt.Sprint("b", i), dir, off, now.Add(time.Duration(i-3)*48*time.Hour))
		bases[i] = a
	}

	if _, err := set.PutEncrypted(ctx, OriginKey(shardA, testTimeline), nil, []byte(`{"lineage":"`+testTimeline+`","offset":0}`)); err != nil {
		t.Fatal(err)
	}

	for i := range uint64(30) {
		closed := now.Add(time.Duration(i)*5*time.Hour - 144*time.Hour)
		if _, err := set.PutEncrypted(ctx, ChunkKey(shardA, testTimeline, i*10, i*10+10, closed), nil, noise(10)); err != nil {
			t.Fatal(err)
		}
	}
	sv := set.Shard(media)

	var shas, manifests []string
	for i := range 3 {
		sha, _, err := sv.PutObject(ctx, strings.NewReader(fmt.Sprint("object ", i)))
		if err != nil {
			t.Fatal(err)
		}
		shas = append(shas, sha)
		v.opt.Now = func() time.Time { return now.Add(time.Duration(i-3) * 48 * time.Hour) }
		manifests = append(manifests, must(sv.PutManifest(ctx, time.Now(), strings.NewReader(fmt.Sprintf("{\"key\":\"k\",\"sha256\":%q}\n", sha)))))
		at := now.Add(time.Duration(i-3)*48*time.Hour + time.Hour).UTC()

		c := targets.Cut{ID: fmt.Sprint("c", i), Group: "shop", QuiescedAt: at, SealedAt: at, Shards: []targets.ShardPoint{
			{Shard: shardA, Kind: targets.Postgres, Region: "east", Position: targets.Position{Kind: targets.Postgres, Timeline: testTimeline, Offset: uint64(i)*100 + 40}},
			{Shard: media, Kind: targets.S3, Region: "east", Position: targets.Position{Kind: targets.S3, Manifest: manifests[i]}}}}
		if _, err := set.SaveCut(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	v.opt.Now = time.Now

	young, _, _ := sv.PutObject(ctx, strings.NewReader("a snapshot in the making"))
	for _, sha := range shas {
		old := now.Add(-100 * time.Hour)
		_ = os.Chtimes(onDisk(v, ObjectKey(media, sha)), old, old)
	}
	before := keysOf(t, v.store, "")
	plan := PlanRetention(must(v.Inventory(ctx, []string{"shop"})), RetentionPolicy{KeepCuts: 72 * time.Hour, KeepBases: 1, Grace: time.Hour}, now)

	dry := must(v.Retain(ctx, plan, RetainOptions{DryRun: true}))
	if got := keysOf(t, v.store, ""); !slices.Equal(got, before) {
		t.Fatal("a dry run removed something")
	}

	res := must(v.Retain(ctx, plan, RetainOptions{}))
	if res.Chunks != dry.Chunks || res.Objects != dry.Objects || len(res.Snapshots) != len(dry.Snapshots) {
		t.Fatalf("dry run %+v, run %+v", dry, res)
	}
	// c2 is within 72 h, c1 and c0 are not.
	if len(res.Cuts) != 2 || res.Chunks == 0 || res.Objects != 0 || res.Condemned != 2 || len(res.Snapshots) != 4 {
		t.Fatalf("%+v", res)
	}
	// Objects go with a later run.
	later := func(hours int) RetentionResult {
		t.Helper()

		v.opt.Now = func() time.Time { return now.Add(time.Duration(hours) * time.Hour) }
		defer func() { v.opt.Now = time.Now }()
		p := RetentionPolicy{KeepCuts: 72 * time.Hour, KeepBases: 1, Grace: time.Duration(hours+1) * time.Hour}

		return must(v.Retain(ctx, PlanRetention(must(v.Inventory(ctx, []string{"shop"})), p, now), RetainOptions{}))
	}
	if r := later(24); r.Objects != 0 || r.Condemned != 0 {
		t.Fatalf("too soon: %+v", r)
	}

	if r := later(26); r.Objects != 2 || r.Condemned != 0 {
		t.Fatalf("%+v", r)
	}
	sv = set.Shard(media) // sees what is there now

	if got := must(v.Bases(ctx, shardA)); len(got) != 1 || got[0].ID != "b2" {
		t.Fatalf("%+v", got)
	}

	out := filepath.Join(t.TempDir(), "out")
	if err := v.Shard(shardA).RestoreTree(ctx, bases[2], out, false, nil); err != nil {
		t.Fatal(err)
	}

	sameTree(t, dir, out)
	space := bases[2]
	_, where, _ := strings.Cut(space.Tablespaces["16400"], "=")

	space.Snapshot, space.Path, _ = strings.Cut(where, ":")
	if err := v.Shard(shardA).RestoreTree(ctx, space, filepath.Join(t.TempDir(), "space"), false, nil); err != nil {
		t.Fatal("a tablespace's snapshot:", err)
	}

	if !must(sv.HasObject(ctx, shas[2])) || must(sv.HasObject(ctx, shas[0])) || !must(sv.HasObject(ctx, young)) {
		t.Fatal("objects")
	}

	for i := range uint64(30) {
		closed := now.Add(time.Duration(i)*5*time.Hour - 144*time.Hour)

		_, err := v.store.Stat(ctx, ChunkKey(shardA, testTimeline, i*10, i*10+10, closed))
		if (i >= 20) != (err == nil) && i >= 20 {
			t.Fatalf("chunk %d: %v", i, err)
		}

		if i < 14 && err == nil { // older than 72 h and before the base
			t.Fatalf("chunk %d is still there", i)
		}
	}

	if fs := must(v.Verify(ctx, VerifyOptions{ReadData: "100%"})); Damaged(fs) {
		t.Fatalf("%+v", fs)
	}

	again := must(v.Retain(ctx, PlanRetention(must(v.Inventory(ctx, []string{"shop"})), plan.Policy, now), RetainOptions{}))
	if len(again.Cuts)+len(again.Snapshots)+int(again.Chunks+again.Objects) != 0 {
		t.Fatalf("the second time: %+v", again)
	}
	// What was removed may be stored again.
	if sha, _, err := sv.PutObject(ctx, strings.NewReader("object 0")); err != nil || sha != shas[0] {
		t.Fatal(err)
	}

	flip(t, onDisk(v, CutKey("shop", "c2")), -1)
	_, err := v.Inventory(ctx, []string{"shop"})
	wantCode(t, err, fail.Corrupt, "c2")
}

func saveBaseAt(t *testing.T, set Set, id, dir string, off uint64, finished time.Time) targets.Artifact {
	t.Helper()
	ctx := context.Background()
	sv := set.Shard(shardA).ForBase(id)
	saved := must(sv.SaveTree(ctx, targets.TreeRequest{Dir: dir}))
	space := must(sv.SaveTree(ctx, targets.TreeRequest{Dir: dir + "/base"}))
	sha := must(sv.SaveFile(ctx, id, "label", []byte(id)))
	a := testBase(id, off, saved)
	a.Started, a.Finished, a.Files = finished.UTC(), finished.UTC(), map[string]string{"label": sha}

	a.Tablespaces = map[string]string{"16400": targets.Tablespace{Location: "/srv/space", Snapshot: space.Snapshot, Path: space.Path}.String()}
	if _, err := set.SaveBase(ctx, a); err != nil {
		t.Fatal(err)
	}

	return a
}

// TestRetentionBesideSnapshots: whatever the order in which a snapshot and the
// two steps of a retention take turns, a manifest that is stored has its objects.
func TestRetentionBesideSnapshots(t *testing.T) {
	ctx := context.Background()
	for _, b := range backends(t) {
		t.Run(b.name, func(t *testing.T) {
			v := initVault(t, "east", b.loc("beside"), testKey(t))
			set := Set{Vaults: []*Vault{v}}
			now := time.Now()
			retain := func(hours int) (res RetentionResult) {
				t.Helper()

				v.opt.Now = func() time.Time { return now.Add(time.Duration(hours) * time.Hour) }
				defer func() { v.opt.Now = time.Now }()

				r := &retainer{v: v, res: &res, plan: RetentionPlan{Policy: RetentionPolicy{Grace: time.Minute}}}
				if err := r.objects(ctx, ShardRetention{Shard: media}); err != nil {
					t.Fatal(err)
				}

				return res
			}
			old := func(name string) string { return must3(set.Shard(media).PutObject(ctx, strings.NewReader(name))) }
			again := func(sv *ShardVault, name string) error { // a key with the same content appears
				sha, _, err := sv.PutObject(ctx, strings.NewReader(name))
				if err == nil {
					_, err = sv.PutManifest(ctx, time.Now(), strings.NewReader("{\"key\":\"k\",\"sha256\":\""+sha+"\"}\n"))
				}

				return err
			}
			whole := func() {
				t.Helper()

				if fs := must(v.Verify(ctx, VerifyOptions{})); Damaged(fs) {
					t.Fatalf("%+v", fs)
				}
			}
			// The snapshot sees the list: it spares it.
			old("a")

			if r := retain(1); r.Condemned != 1 {
				t.Fatalf("%+v", r)
			}

			if err := again(set.Shard(media), "a"); err != nil {
				t.Fatal(err)
			}

			retain(100)
			whole()
			// It began before the list, and ends before it is executed.
			old("b")
			early := set.Shard(media)
			must(early.HasObject(ctx, strings.Repeat("0", 64)))

			if r := retain(101); r.Condemned != 1 {
				t.Fatalf("%+v", r)
			}

			if err := again(early, "b"); err != nil {
				t.Fatal(err)
			}

			if r := retain(200); r.Objects != 0 {
				t.Fatalf("%+v", r)
			}

			whole()
			// It asks after the execution has begun: it must not count on the
			// object, and can store it when that has ended.
			old("c")

			if r := retain(201); r.Condemned != 1 {
				t.Fatalf("%+v", r)
			}
			late := set.Shard(media)
			must(late.HasObject(ctx, strings.Repeat("0", 64)))

			lists, _, err := v.condemned(ctx, media)
			if err != nil || len(lists) != 1 || must(v.decide(ctx, lists[0].key, executed)) != executed {
				t.Fatal(lists, err)
			}

			wantCode(t, again(late, "c"), fail.Unavailable, "retention")

			if r := retain(202); r.Objects != 1 { // goes on, whatever the hour
				t.Fatalf("%+v", r)
			}

			if err := again(set.Shard(media), "c"); err != nil {
				t.Fatal(err)
			}

			whole()
			// It took too long to know of every list.
			slow := set.Shard(media)
			must(slow.HasObject(ctx, strings.Repeat("0", 64)))
			slow.doomed.since = time.Now().Add(-snapshotLimit - time.Second)
			wantCode(t, again(slow, "d"), fail.Stalled, "24h")
		})
	}
}

func must3(s string, _ int64, err error) string { return must(s, err) }

// TestPutAfterDeleteS3: a bucket with versions keeps a delete marker, which
// must not pass for the object.
func TestPutAfterDeleteS3(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	v := initVault(t, "east", backends(t)[1].loc("deleted"), testKey(t))
	sv := v.Shard(media)
	// 9 MiB: more than fits into a connection that the server cuts off unread.
	for _, n := range []int{100, 9 << 20, singlePut + 1000} {
		content := noise(n)

		sha, _, err := sv.PutObject(ctx, bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}

		if err := v.store.Delete(ctx, ObjectKey(media, sha)); err != nil {
			t.Fatal(err)
		}

		if _, _, err := sv.PutObject(ctx, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}

		if _, err := v.store.Stat(ctx, ObjectKey(media, sha)); err != nil {
			t.Fatal("stored again, and absent:", err)
		}
	}
	// What retention deleted comes back from another vault.
	for _, key := range []string{CutKey("shop", "c"), ChunkKey(shardA, "L", 0, 1, epoch)} {
		for range 2 {
			if err := v.store.Put(ctx, key, []byte("one")); err != nil {
				t.Fatal(err)
			}

			wantCode(t, v.store.Put(ctx, key, []byte("one")), fail.Conflict, key)

			if err := v.store.Delete(ctx, key); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The root records are never written without the condition, whatever the server thinks.
	for _, key := range []string{passwordKey, "t/vault.json"} {
		if err := v.store.Delete(ctx, key); err != nil {
			t.Fatal(err)
		}

		_ = v.store.Put(ctx, key, []byte("one"))
		if err := v.store.Delete(ctx, key); err != nil {
			t.Fatal(err)
		}

		wantCode(t, v.store.Put(ctx, key, []byte("two")), fail.Unsupported, key, "If-None-Match")

		if _, err := v.store.Stat(ctx, key); !fail.Is(err, fail.NotFound) {
			t.Fatal(err)
		}
	}
}

// TestRetentionKeepsTheNewestManifest: the snapshot of a backup is what the
// next cut's is compared with, and no cut names it yet.
func TestRetentionKeepsTheNewestManifest(t *testing.T) {
	at := func(days int) time.Time { return epoch.Add(time.Duration(days) * 24 * time.Hour) }
	inv := Inventory{
		Cuts: []targets.Cut{{ID: "c", Group: "g", QuiescedAt: at(1), Shards: []targets.ShardPoint{
			{Shard: media, Kind: targets.S3, Position: targets.Position{Manifest: "named"}}}}},
		Shards: []ShardInventory{{Shard: media, Manifests: []ManifestInfo{{"k0", "older", at(0)}, {"k1", "named", at(1)}, {"k2", "seed", at(2)}}}},
	}

	p := PlanRetention(inv, RetentionPolicy{KeepCuts: time.Hour, Grace: time.Hour}, at(30))
	if got := p.Shards[0].Manifests; !slices.Equal(got, []string{"k0"}) {
		t.Fatalf("%q go", got)
	}
}
