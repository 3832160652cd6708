package recovery_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"drctl/internal/fail"
	"drctl/internal/timeline"
	"drctl/restore/plan"
	"drctl/restore/recovery"
	"drctl/targets"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var (
	epoch = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	later = epoch.Add(24 * time.Hour)
)

func at(timeline string, offset uint64) targets.Position {
	return targets.Position{Kind: targets.Postgres, Timeline: timeline, Offset: offset}
}

// history draws what a vault holds of one shard's log: a tree of timelines, of
// which pieces are missing, overlap or are there twice, and bases anywhere.
func history(t *rapid.T, sh *recovery.ShardInventory) {
	for i := range rapid.IntRange(0, 3).Draw(t, "timelines") {
		l := timeline.Timeline{ID: fmt.Sprintf("L%d", i), Kind: sh.Kind, Origin: rapid.IntRange(0, 9).Draw(t, "origin") > 0}
		// Without a record nothing is known of a beginning or a parent.
		if i > 0 && l.Origin && rapid.IntRange(0, 3).Draw(t, "child") > 0 {
			p := sh.Timelines[rapid.IntRange(0, i-1).Draw(t, "parent")]
			left := rapid.Uint64Range(p.Offset, p.Tip()).Draw(t, "left")
			l.Parent = at(p.ID, left)
			// A timeline is archived from the beginning of its segment; one
			// that was found late begins behind a hole.
			l.Offset = left - min(left, rapid.Uint64Range(0, 4).Draw(t, "segment")) + 3*(rapid.Uint64Range(0, 9).Draw(t, "late")/9)
		}

		for pos, end := l.Offset, l.Offset+rapid.Uint64Range(0, 60).Draw(t, "length"); pos < end; {
			to := min(end, pos+rapid.Uint64Range(1, 20).Draw(t, "chunk"))
			if rapid.IntRange(0, 19).Draw(t, "lost") > 0 {
				c := timeline.Chunk{From: pos - min(pos, rapid.Uint64Range(0, 3).Draw(t, "overlap")), To: to, Key: fmt.Sprintf("%s-%d", l.ID, pos)}

				l.Chunks = append(l.Chunks, c)
				if rapid.IntRange(0, 9).Draw(t, "twice") == 0 {
					c.Key += "-again"
					l.Chunks = append(l.Chunks, c)
				}
			}
			pos = to
		}
		sh.Timelines = append(sh.Timelines, l)
	}

	for i := range rapid.IntRange(0, 4).Draw(t, "bases") {
		from := rapid.Uint64Range(0, 90).Draw(t, "from")
		until := from + rapid.Uint64Range(0, 15).Draw(t, "takes")
		of := fmt.Sprintf("L%d", rapid.IntRange(0, 2).Draw(t, "of"))
		sh.Bases = append(sh.Bases, targets.Artifact{ID: fmt.Sprintf("base-%s-%d", sh.Shard.Shard, i), Shard: sh.Shard, Kind: sh.Kind,
			From: at(of, from), Until: at(of, until), Bytes: int64(from) + 1,
			Finished: epoch.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "finished")) * time.Hour)})
	}
}

// point draws a position that the shard's log once had.
func point(t *rapid.T, sh recovery.ShardInventory) targets.Position {
	if sh.Kind.Traits().Manifest {
		return targets.Position{Kind: targets.S3, AsOf: epoch, Manifest: rapid.SampledFrom([]string{"", "aa", "bb", "cc"}).Draw(t, "manifest")}
	}

	if len(sh.Timelines) == 0 {
		return at("L0", rapid.Uint64Range(0, 90).Draw(t, "point"))
	}
	l := sh.Timelines[rapid.IntRange(0, len(sh.Timelines)-1).Draw(t, "on")]
	low := max(l.Offset, l.Parent.Offset)

	return at(l.ID, rapid.Uint64Range(low, max(low, l.Tip())).Draw(t, "point"))
}

func inventory(t *rapid.T) recovery.Inventory {
	inv := recovery.Inventory{Vault: "west"}

	kinds := []targets.Kind{targets.Postgres, targets.Redis, targets.S3}
	for i := range rapid.IntRange(1, 4).Draw(t, "shards") {
		kind := rapid.SampledFrom(kinds).Draw(t, "kind")

		sh := recovery.ShardInventory{Shard: targets.ShardID{Target: string(kind), Shard: fmt.Sprint(i)}, Kind: kind}
		if kind.Traits().Manifest {
			for m := range rapid.IntRange(0, 3).Draw(t, "manifests") {
				sh.Manifests = append(sh.Manifests, recovery.Manifest{AsOf: epoch.Add(time.Duration(m/2) * 2 * time.Hour), SHA256: fmt.Sprintf("m%d", m)})
			}
		} else {
			history(t, &sh)

			if rapid.IntRange(0, 5).Draw(t, "covers the instant") > 0 {
				sh.At = point(t, sh)
			}
		}
		inv.Shards = append(inv.Shards, sh)
	}

	for i := range rapid.IntRange(0, 3).Draw(t, "cuts") {
		c := targets.Cut{ID: fmt.Sprintf("cut-%d", i), Group: rapid.SampledFrom([]string{"shop", "shop", "shop", "bank"}).Draw(t, "group")}
		if rapid.IntRange(0, 4).Draw(t, "sealed") > 0 {
			c.SealedAt = epoch
		}

		for _, sh := range inv.Shards {
			if rapid.IntRange(0, 9).Draw(t, "joined") > 0 {
				c.Shards = append(c.Shards, targets.ShardPoint{Shard: sh.Shard, Kind: sh.Kind, Position: point(t, sh)})
			}
		}
		inv.Cuts = append(inv.Cuts, c)
	}

	if len(inv.Shards) > 1 && rapid.IntRange(0, 9).Draw(t, "unknown shard") == 0 {
		inv.Shards = inv.Shards[1:] // the vault lost one
	}

	return inv
}

func goal(t *rapid.T, inv recovery.Inventory) plan.Goal {
	g := plan.Goal{Group: "shop", Vault: "west", Into: plan.Sandbox, Cut: rapid.SampledFrom([]string{plan.Latest, "cut-0", "cut-1", "cut-2", "cut-7"}).Draw(t, "cut")}
	// PostgreSQL goes to an instant by itself: see instant_test.go.
	postgres := slices.ContainsFunc(inv.Shards, func(sh recovery.ShardInventory) bool { return sh.Kind == targets.Postgres })
	if rapid.IntRange(0, 2).Draw(t, "by time") == 0 && !postgres {
		g.Cut, g.At = "", epoch.Add(time.Duration(rapid.IntRange(-1, 6).Draw(t, "at"))*time.Hour)
	}

	for _, sh := range inv.Shards {
		if rapid.IntRange(0, 7).Draw(t, "only") == 0 {
			g.Shards = append(g.Shards, sh.Shard)
		}
	}

	if rapid.IntRange(0, 3).Draw(t, "into") == 0 {
		g.Into, g.Destinations = plan.Instances, map[string]plan.Destination{}
		for _, sh := range inv.Shards {
			if rapid.IntRange(0, 9).Draw(t, "destination") > 0 {
				g.Destinations[sh.Shard.String()] = plan.Destination{Region: "west", Address: "h:1", DataDir: "/d"}
			}
		}
	}
	g.Order = rapid.SampledFrom([][]string{nil, {"redis"}, {"s3", "postgres"}, {"redis", "postgres", "s3"}}).Draw(t, "order")

	return g
}

// reaches is the promise, byte by byte: the vault holds everything between the
// base and the point, on the way back through the timelines' parents.
func reaches(sh recovery.ShardInventory, base, point targets.Position) bool {
	if base.Timeline == point.Timeline && base.Offset == point.Offset {
		return true
	}

	whole := func(l *timeline.Timeline, from, to uint64) bool {
		for b := from; b < to; b++ {
			if l == nil || !slices.ContainsFunc(l.Chunks, func(c timeline.Chunk) bool { return c.From <= b && b < c.To }) {
				return false
			}
		}

		return true
	}
	for p := point; ; {
		var l *timeline.Timeline
		for i := range sh.Timelines {
			if sh.Timelines[i].ID == p.Timeline {
				l = &sh.Timelines[i]
			}
		}

		if p.Timeline == base.Timeline {
			return base.Offset <= p.Offset && whole(l, base.Offset, p.Offset)
		}

		if l == nil || l.Parent.Timeline == "" || p.Offset < l.Offset || l.Offset > l.Parent.Offset || !whole(l, l.Offset, p.Offset) {
			return false
		}
		p = l.Parent
	}
}

func usable(sh recovery.ShardInventory, b targets.Artifact, point targets.Position, until time.Time) bool {
	return (until.IsZero() || !b.Finished.After(until)) && reaches(sh, b.Until, point) && reaches(sh, b.From, point)
}

// expected says, without the planner, which shards a goal wants, where each
// must end, and which of them cannot be had.
func expected(g plan.Goal, inv recovery.Inventory) (want []targets.ShardID, points map[targets.ShardID]targets.Position, impossible []string) {
	points = map[targets.ShardID]targets.Position{}

	var cut targets.Cut
	if g.Cut != "" {
		for _, c := range inv.Cuts {
			if c.Group == "shop" && !c.SealedAt.IsZero() && (g.Cut == plan.Latest || g.Cut == c.ID) && c.ID > cut.ID {
				cut = c
			}
		}

		if cut.ID == "" {
			return nil, nil, []string{g.Cut}
		}

		for _, p := range cut.Shards {
			want = append(want, p.Shard)
			points[p.Shard] = p.Position
		}
	} else {
		for _, sh := range inv.Shards {
			want = append(want, sh.Shard)

			points[sh.Shard] = sh.At
			for _, m := range sh.Manifests { // in order of time
				if !m.AsOf.After(g.At) {
					points[sh.Shard] = targets.Position{Kind: targets.S3, AsOf: m.AsOf, Manifest: m.SHA256}
				}
			}
		}
	}

	if len(g.Shards) > 0 {
		want = slices.Clone(g.Shards)
	}

	if len(want) == 0 {
		return nil, nil, []string{"shop"}
	}

	for _, id := range want {
		i := slices.IndexFunc(inv.Shards, func(s recovery.ShardInventory) bool { return s.Shard == id })

		p, ok := points[id]
		if i < 0 {
			return want, points, []string{id.String()} // nothing else is looked at
		}
		sh := inv.Shards[i]

		_, dest := g.Destinations[id.String()]
		switch {
		case g.Into == plan.Instances && !dest, !ok,
			sh.Kind.Traits().Manifest && p.Manifest == "", !sh.Kind.Traits().Manifest && p.Timeline == "":
			impossible = append(impossible, id.String())
		case !sh.Kind.Traits().Manifest && !slices.ContainsFunc(sh.Bases, func(b targets.Artifact) bool { return usable(sh, b, p, g.At) }):
			impossible = append(impossible, id.String())
			for _, b := range sh.Bases {
				impossible = append(impossible, b.ID) // the error says why for each
			}
		}
	}

	return want, points, impossible
}

// shuffled is the same inventory in another order: a vault's listing promises none.
func shuffled(inv recovery.Inventory, seed uint64) recovery.Inventory {
	r := rand.New(rand.NewPCG(seed, 1))
	mix := func(n int, swap func(i, j int)) { r.Shuffle(n, swap) }
	inv.Cuts, inv.Shards = slices.Clone(inv.Cuts), slices.Clone(inv.Shards)
	mix(len(inv.Cuts), func(i, j int) { inv.Cuts[i], inv.Cuts[j] = inv.Cuts[j], inv.Cuts[i] })
	mix(len(inv.Shards), func(i, j int) { inv.Shards[i], inv.Shards[j] = inv.Shards[j], inv.Shards[i] })

	for i := range inv.Shards {
		sh := &inv.Shards[i]
		sh.Bases, sh.Timelines, sh.Manifests = slices.Clone(sh.Bases), slices.Clone(sh.Timelines), slices.Clone(sh.Manifests)
		mix(len(sh.Bases), func(i, j int) { sh.Bases[i], sh.Bases[j] = sh.Bases[j], sh.Bases[i] })
		mix(len(sh.Manifests), func(i, j int) { sh.Manifests[i], sh.Manifests[j] = sh.Manifests[j], sh.Manifests[i] })
		mix(len(sh.Timelines), func(i, j int) { sh.Timelines[i], sh.Timelines[j] = sh.Timelines[j], sh.Timelines[i] })

		for k := range sh.Timelines {
			cs := slices.Clone(sh.Timelines[k].Chunks)
			mix(len(cs), func(i, j int) { cs[i], cs[j] = cs[j], cs[i] })
			sh.Timelines[k].Chunks = cs
		}
	}

	return inv
}

// property: a plan exists exactly when everything asked for can be had, and
// then it is right; otherwise the error names everything that is in the way.
func property(t *rapid.T) {
	inv := inventory(t)
	g := goal(t, inv)
	before := shuffled(inv, 0)
	want, points, impossible := expected(g, inv)

	run, err := recovery.Build(g, plan.ModeRestore, inv, later)
	if (err != nil) != (len(impossible) > 0) {
		t.Fatalf("error %v, impossible %v", err, impossible)
	}

	if !reflect.DeepEqual(before, shuffled(inv, 0)) {
		t.Fatal("the inventory was changed")
	}

	if err != nil {
		if c := fail.CodeOf(err); c != fail.NotFound && c != fail.Invalid {
			t.Fatalf("code %q: %v", c, err)
		}

		for _, name := range impossible {
			if !strings.Contains(err.Error(), name) {
				t.Fatalf("the error does not name %s: %v", name, err)
			}
		}

		return
	}

	checkSteps(t, g, inv, run, want, points)
	checkHash(t, g, inv, run)
}

func checkSteps(t *rapid.T, g plan.Goal, inv recovery.Inventory, run plan.Run, want []targets.ShardID, points map[targets.ShardID]targets.Position) {
	byOp := map[plan.Op][]targets.ShardID{}

	seen := map[string]bool{}
	for _, s := range run.Steps {
		for _, n := range s.Needs {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(seen)), func(id string) bool { return plan.Means(n, id) }) {
				t.Fatalf("step %s needs %s, which does not come before it", s.ID, n)
			}
		}

		if seen[s.ID] {
			t.Fatalf("two steps are called %s", s.ID)
		}
		seen[s.ID] = true

		byOp[s.Op] = append(byOp[s.Op], s.Shard)
		if s.Op == plan.OpVerify && !slices.Contains(s.Needs, "restore-"+s.Shard.String()) {
			t.Fatalf("%s is verified before it is restored", s.Shard)
		}

		if s.Op != plan.OpRestore {
			continue
		}

		if !reflect.DeepEqual(s.Point, points[s.Shard]) || !s.Until.Equal(g.At) && !s.Kind.Traits().Manifest {
			t.Fatalf("step %s goes to %+v until %s, want %+v until %s", s.ID, s.Point, s.Until, points[s.Shard], g.At)
		}

		if !s.Kind.Traits().Manifest {
			i := slices.IndexFunc(inv.Shards, func(x recovery.ShardInventory) bool { return x.Shard == s.Shard })
			checkLog(t, g, inv.Shards[i], s)
		}
	}

	slices.SortFunc(want, targets.ShardID.Compare)

	for _, op := range []plan.Op{plan.OpRestore, plan.OpVerify} {
		slices.SortFunc(byOp[op], targets.ShardID.Compare)

		if !slices.Equal(byOp[op], want) {
			t.Fatalf("%s covers %v, want %v", op, byOp[op], want)
		}
	}
}

// checkLog: the base is the newest that serves, and the spans lead from it to
// the point without a hole.
func checkLog(t *rapid.T, g plan.Goal, sh recovery.ShardInventory, s plan.Step) {
	if !usable(sh, s.Base, s.Point, g.At) {
		t.Fatalf("base %+v does not lead to %+v", s.Base, s.Point)
	}

	if s.Base.Until.Timeline == s.Point.Timeline && s.Base.Until.Offset > s.Point.Offset {
		t.Fatalf("base %s is whole only at %d, after the point %d", s.Base.ID, s.Base.Until.Offset, s.Point.Offset)
	}

	for _, b := range sh.Bases {
		// For an instant of PostgreSQL a base must also be followed by a stream that
		// is as late, which is not looked at here.
		byCommit := !g.At.IsZero() && sh.Kind == targets.Postgres
		if !byCommit && usable(sh, b, s.Point, g.At) && b.Finished.After(s.Base.Finished) {
			t.Fatalf("base %s was chosen, %s is newer", s.Base.ID, b.ID)
		}
	}
	var bytes int64

	end := s.Base.From
	for _, sp := range s.Path {
		if sp.Timeline != end.Timeline {
			line := func(id string) timeline.Timeline {
				return sh.Timelines[slices.IndexFunc(sh.Timelines, func(l timeline.Timeline) bool { return l.ID == id })]
			}

			p := line(sp.Timeline).Parent
			for p.Timeline != end.Timeline && p.Offset == line(p.Timeline).Offset {
				p = line(p.Timeline).Parent // one that was left where it began
			}
			// A child timeline begins where, or a little before, it left its parent.
			if p.Timeline != end.Timeline || end.Offset != p.Offset || sp.From > p.Offset {
				t.Fatalf("path %v does not follow the parents", s.Path)
			}
		} else if sp.From != end.Offset {
			t.Fatalf("path %v has a hole at %d", s.Path, end.Offset)
		}

		if sp.To <= sp.From {
			t.Fatalf("path %v has an empty span", s.Path)
		}
		bytes += int64(sp.To - sp.From)
		end = at(sp.Timeline, sp.To)
	}

	if end.Offset != s.Point.Offset || s.StreamBytes != bytes || s.BaseBytes != s.Base.Bytes {
		t.Fatalf("path %v ends at %+v with %d bytes: %+v", s.Path, end, bytes, s)
	}
}

func checkHash(t *rapid.T, g plan.Goal, inv recovery.Inventory, run plan.Run) {
	if run.Hash == "" || run.Hash != run.Sum() {
		t.Fatalf("hash %q, sum %q", run.Hash, run.Sum())
	}

	again, err := recovery.Build(g, plan.ModeRestore, shuffled(inv, rapid.Uint64().Draw(t, "shuffle")), later)
	if err != nil || again.Hash != run.Hash {
		t.Fatalf("another order of the same inventory: hash %s, was %s (%v)\n%+v\n%+v", again.Hash, run.Hash, err, again, run)
	}

	b, err := json.Marshal(run)
	if err != nil {
		t.Fatal(err)
	}

	var back plan.Run
	if err := json.Unmarshal(b, &back); err != nil || back.Sum() != run.Hash {
		t.Fatalf("the hash did not survive JSON (%v)", err)
	}

	for i := range back.Steps { // any change is seen
		back.Steps[i].Point.Offset++
		if back.Sum() == run.Hash {
			t.Fatal("a changed plan has the same hash")
		}

		back.Steps[i].Point.Offset--
	}
}

func TestBuild(t *testing.T) { rapid.Check(t, property) }

// FuzzBuild lets the fuzzer choose the inventory.
func FuzzBuild(f *testing.F) { f.Fuzz(rapid.MakeFuzz(property)) }

func TestContradictoryGoals(t *testing.T) {
	for name, g := range map[string]plan.Goal{
		"neither cut nor instant": {Group: "shop", Into: plan.Sandbox},
		"cut and instant":         {Group: "shop", Into: plan.Sandbox, Cut: plan.Latest, At: epoch},
		"nowhere":                 {Group: "shop", Cut: plan.Latest},
	} {
		if _, err := recovery.Build(g, plan.ModeRestore, example(), later); !fail.Is(err, fail.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// example is a shop whose first shard failed over between base and cut.
func example() recovery.Inventory {
	orders := targets.ShardID{Target: "orders", Shard: "0"}
	carts := targets.ShardID{Target: "carts", Shard: "0"}
	media := targets.ShardID{Target: "media", Shard: "main"}
	line := func(tli uint32) string { return targets.PostgresTimeline("7", tli) }
	rd := func(off uint64) targets.Position {
		return targets.Position{Kind: targets.Redis, Timeline: "f00d", Offset: off}
	}
	cut := targets.Cut{ID: "20261123T120000.000Z-0001", Group: "shop", Mode: targets.Gate, QuiescedAt: epoch, ReleasedAt: epoch.Add(3 * time.Millisecond),
		Attempts: 1, SealedAt: epoch.Add(time.Second), SealedIn: []string{"east", "west"}, Tool: "drctl test", Shards: []targets.ShardPoint{
			{Shard: carts, Kind: targets.Redis, Region: "east", Position: rd(900)},
			{Shard: media, Kind: targets.S3, Region: "east", Objects: 12, Bytes: 34567,
				Position: targets.Position{Kind: targets.S3, AsOf: epoch, Manifest: strings.Repeat("ab", 32)}},
			{Shard: orders, Kind: targets.Postgres, Region: "east", Position: targets.Position{Kind: targets.Postgres, Timeline: line(2),
				Offset: 0x3000100, RestorePoint: "drctl:20261123T120000.000Z-0001"}},
		}}

	return recovery.Inventory{Vault: "west", Cuts: []targets.Cut{cut}, Shards: []recovery.ShardInventory{
		{Shard: orders, Kind: targets.Postgres, Timelines: []timeline.Timeline{
			{ID: line(1), Kind: targets.Postgres, Offset: 0x1000000, Origin: true, Chunks: []timeline.Chunk{{From: 0x1000000, To: 0x2000800}}},
			{ID: line(2), Kind: targets.Postgres, Offset: 0x2000000, Origin: true, Parent: at(line(1), 0x2000400), Chunks: []timeline.Chunk{{From: 0x2000000, To: 0x4000000}}},
		}, Bases: []targets.Artifact{
			{ID: "old", Shard: orders, Kind: targets.Postgres, Region: "east", From: at(line(1), 0x1000028), Until: at(line(1), 0x1000200), Started: epoch.Add(-3 * time.Hour), Finished: epoch.Add(-2 * time.Hour), Bytes: 1 << 20, Method: "files"},
			{ID: "after the failover", Shard: orders, Kind: targets.Postgres, Region: "east", From: at(line(1), 0x2000500), Until: at(line(1), 0x2000600), Started: epoch.Add(-time.Hour), Finished: epoch.Add(-time.Hour), Bytes: 1 << 20, Method: "files"},
		}},
		{Shard: carts, Kind: targets.Redis, Timelines: []timeline.Timeline{{ID: "f00d", Kind: targets.Redis, Offset: 100, Origin: true, Chunks: []timeline.Chunk{{From: 100, To: 500}, {From: 500, To: 1000}}}},
			Bases: []targets.Artifact{{ID: "rdb", Shard: carts, Kind: targets.Redis, Region: "east", From: rd(100), Until: rd(100), Started: epoch.Add(-time.Hour), Finished: epoch.Add(-time.Hour), Bytes: 4096, Method: "resync"}}},
		{Shard: media, Kind: targets.S3},
	}}
}

// What a plan reads: base and stream of each log with its chunks, and objects
// as the cut that was sealed with the manifest counted them.
func TestPlanCounts(t *testing.T) {
	inv := example()

	inv.Shards[2].Manifests = []recovery.Manifest{{AsOf: epoch, SHA256: strings.Repeat("ab", 32)}}
	for _, g := range []plan.Goal{{Cut: plan.Latest}, {At: epoch, Shards: []targets.ShardID{inv.Shards[2].Shard}}} {
		g.Group, g.Vault, g.Into = "shop", "west", plan.Sandbox

		run, err := recovery.Build(g, plan.ModeRestore, inv, later)
		if err != nil {
			t.Fatal(err)
		}

		var total int64
		for _, s := range run.Steps {
			total += s.BaseBytes + s.StreamBytes
			switch {
			case s.Op != plan.OpRestore:
			case s.Kind.Traits().Manifest && (s.Objects != 12 || s.BaseBytes != 34567), !s.Kind.Traits().Manifest && s.Chunks != 2:
				t.Errorf("%+v", s)
			}
		}

		if total != run.Bytes() || total < 34567 {
			t.Errorf("%d bytes, %d in the steps", run.Bytes(), total)
		}
	}
}

func TestGoldenPlan(t *testing.T) {
	run, err := recovery.Build(plan.Goal{Group: "shop", Cut: plan.Latest, Vault: "west", Into: plan.Sandbox, Order: []string{"orders"}}, plan.ModeRestore, example(), later)
	if err != nil {
		t.Fatal(err)
	}

	got, err := json.MarshalIndent(run, "", "  ")
	if err != nil {
		t.Fatal(err)
	}

	file := filepath.Join("testdata", "plan.json")
	if *update {
		if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	if !bytes.Equal(bytes.TrimSpace(want), got) {
		t.Errorf("the plan is not the one in %s (a plan's JSON is kept in histories; -update rewrites it):\n%s", file, got)
	}
}

// What is missing is named for every base that was tried.
func TestWhyThereIsNoPlan(t *testing.T) {
	g := plan.Goal{Group: "shop", Cut: plan.Latest, Vault: "west", Into: plan.Sandbox}
	inv := example()
	inv.Shards[0].Timelines[1].Chunks = []timeline.Chunk{{From: 0x2000000, To: 0x2ffff00}}
	inv.Shards[1].Bases = nil

	_, err := recovery.Build(g, plan.ModeRestore, inv, later)
	if !fail.Is(err, fail.NotFound) {
		t.Fatal(err)
	}

	for _, part := range []string{"vault of west", "orders/0", "base old", fmt.Sprintf("bytes [%d,%d)", 0x2ffff00, 0x3000100),
		"base after the failover", "carts/0", "there is no base"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q: %v", part, err)
		}
	}
}
