package stretch_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"drctl/internal/observation"
	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/internal/proof/prove"
	"drctl/internal/proof/search"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets/postgres/stretch"
	"drctl/targets/postgres/wal"
)

// limit is how long a global transaction may be half done.
const limit = clock.Instant(400 * time.Millisecond)

// TestCutsOfRealServers lets clients work on three servers, reads the cuts out of
// the logs, and judges each by what the clients know.
func TestCutsOfRealServers(t *testing.T) {
	seconds := time.Duration(sandboxtest.Size(4, 30))
	servers, j := load(t, 12, seconds*time.Second)

	look := proof.Look{Observer: j.observer.Name()}
	truth := &judge{ops: j.ops, limit: limit}

	for _, s := range servers {
		res, err := stretch.Read(s.source(t, early(s), s.seen[len(s.seen)-1].Flush))
		if err != nil {
			t.Fatal(err)
		}

		if len(res.Missing) > 0 {
			t.Fatalf("%s: %v is missing", s.in.Shard, res.Missing)
		}
		look.Stretches = append(look.Stretches, res.Stretch)
		truth.places = append(truth.places, s.places(t))
		truth.shards = append(truth.shards, s.in.Shard)
	}

	policy := proof.Policy{Tagged: true, TwoPhase: true, Limit: int64(limit), Pick: proof.All, Most: 5000}
	cuts := find(t, look, policy)
	policy.Pick = proof.Widest
	widest := find(t, look, policy)

	if len(widest) != 1 {
		t.Fatalf("%d widest cuts", len(widest))
	}

	if len(cuts) < 20 {
		t.Fatalf("%d cuts are too few", len(cuts))
	}

	sizes := map[int]bool{}
	for _, cut := range append(cuts, widest...) {
		c := truth.claim(&cut)
		sizes[len(truth.in(&c))] = true

		for i, fault := range truth.wrong(c) {
			if i < 5 {
				t.Errorf("the cut at %d: %s", cut.T, fault)
			}
		}
	}

	if len(sizes) < 20 {
		t.Errorf("the cuts have %d different states, which are too few", len(sizes))
	}

	checked(t, truth, &look, &policy, append(some(cuts, 25), widest...))
	naive(t, truth, servers)
	figures(t, j, look, cuts)
	recovered(t, truth, servers, busiest(cuts))
}

// load runs clients for a time, and on a slow machine until there is something to
// look at, and returns the servers, with what was observed of them.
func load(t *testing.T, clients int, d time.Duration) ([]*server, *journal) {
	j := &journal{observer: observation.NewObserver(), ops: map[int64]*op{}, dead: map[string]bool{}}
	j.dying.Store(5)
	j.blind.Store(3)

	var servers []*server
	for _, shard := range []string{"orders/0", "orders/1", "orders/2"} {
		s := newServer(t, shard, nil)
		conn := s.connect(t)

		for _, table := range []string{"a (op bigint PRIMARY KEY, after bigint)", "b (op bigint PRIMARY KEY, after bigint)", "sub (n int)"} {
			do(t, conn, "CREATE TABLE "+table)
		}

		do(t, conn, "CHECKPOINT") // and with it the list of open transactions
		s.backup(t)

		servers = append(servers, s)
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()

	go func() {
		for begun := time.Now(); time.Since(begun) < d || time.Since(begun) < 2*time.Minute && !j.enough(); {
			time.Sleep(20 * time.Millisecond)
		}

		stop()
	}()

	var watchers sync.WaitGroup
	watching, enough := context.WithCancel(t.Context())

	for _, s := range servers {
		conn := session(t, s.connect(t))
		s.observed(t, j.observer, conn)
		watchers.Go(func() {
			for !isEarly(s, len(s.seen)-1) && watching.Err() == nil {
				s.observed(t, j.observer, conn)
				time.Sleep(10 * time.Millisecond)
			}

			j.blind.Add(-1)
			s.watch(watching, t, j.observer, conn, 10*time.Millisecond)
		})
	}

	errs := make(chan error, clients)
	for i := range clients {
		c := &client{j: j, servers: servers, rnd: rand.New(rand.NewPCG(8, uint64(i)))}
		go func() { errs <- c.run(ctx) }()
	}

	for range clients {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}

	enough()
	watchers.Wait()

	for _, s := range servers {
		conn := s.connect(t)
		do(t, conn, "SELECT pg_switch_wal()")
		do(t, conn, "INSERT INTO sub VALUES (3)") // waits until the switch is written
		s.observed(t, j.observer, session(t, conn))
	}

	if t.Failed() {
		t.FailNow()
	}

	return servers, j
}

// early is a place some way into the log that had been flushed when clients worked.
func early(s *server) wal.LSN {
	for i, o := range s.seen {
		if isEarly(s, i) {
			return o.Flush
		}
	}

	return s.seen[0].Flush
}

// isEarly reports whether an observation is some way in.
func isEarly(s *server, i int) bool {
	return s.seen[i].T0 > s.seen[0].T0+clock.Instant(200*time.Millisecond)
}

func find(t *testing.T, look proof.Look, policy proof.Policy) []proof.Cut {
	t.Helper()

	res, err := search.Find(look, policy)
	if err != nil {
		t.Fatal(err)
	}

	if len(res.Cuts) == 0 {
		t.Fatalf("no cut: %+v", res.Obstacles)
	}

	for _, step := range res.Steps {
		t.Errorf("a step of a clock that nobody stepped: %+v", step)
	}

	return res.Cuts
}

// some are n of the cuts, spread over time.
func some(cuts []proof.Cut, n int) (out []proof.Cut) {
	for i := 0; i < len(cuts); i += max(1, len(cuts)/n) {
		out = append(out, cuts[i])
	}

	return out
}

// checked has cuts checked by the one that shares no code with the search, which
// has to refuse each when one shard is cut behind one commit more or less.
func checked(t *testing.T, truth *judge, look *proof.Look, policy *proof.Policy, cuts []proof.Cut) {
	t.Helper()

	refused, shown := 0, 0
	for _, cut := range cuts {
		if rep := prove.Check(&cut, look, policy); !rep.Accepted {
			t.Errorf("the cut at %d is refused: %+v", cut.T, rep.Faults)
		}

		for i := range cut.Shards {
			for _, by := range []int{-1, 1} {
				moved := cut
				moved.Shards = slices.Clone(cut.Shards)

				if !move(look, &moved.Shards[i], by) {
					continue
				}

				if prove.Check(&moved, look, policy).Accepted {
					t.Errorf("the cut at %d is accepted although shard %d is cut %+d commits off", cut.T, i, by)
				}

				refused++

				if len(truth.wrong(truth.claim(&moved))) > 0 {
					shown++
				}
			}
		}
	}

	if shown == 0 {
		t.Error("no falsification is wrong by what the clients know: the judge sees nothing")
	}

	t.Logf("%d falsifications refused, %d of them wrong by what the clients know", refused, shown)
}

// move moves a position one commit on or back, with what it claims of the commits around.
func move(look *proof.Look, claim *proof.ShardCut, by int) bool {
	i := slices.IndexFunc(look.Stretches, func(s proof.Stretch) bool { return s.Shard == claim.Shard })

	var commits []proof.Record
	for _, r := range look.Stretches[i].Records {
		if r.Kind == proof.Commit || r.Kind == proof.CommitPrepared {
			commits = append(commits, r)
		}
	}

	at := slices.IndexFunc(commits, func(r proof.Record) bool { return r.Start == claim.Position }) + by
	if claim.Next == nil || at < 1 || at >= len(commits) {
		return false
	}

	edge := func(r proof.Record) *proof.Edge {
		c, _ := clock.New(look.Stretches[i].Samples, 0)
		when, _ := c.At(r.Stamp)

		return &proof.Edge{Position: r.Start, Stamp: r.Stamp, Range: when}
	}
	claim.Position, claim.Last, claim.Next = commits[at].Start, edge(commits[at-1]), edge(commits[at])

	return true
}

// naive shows that the judge sees something: positions that were asked for one server
// after the other are not consistent.
func naive(t *testing.T, truth *judge, servers []*server) {
	t.Helper()

	wrong, all := 0, 0
	for at := 30; at < len(servers[0].seen); at += 5 {
		c := claim{}
		for _, s := range servers {
			c.positions = append(c.positions, uint64(s.seen[min(at, len(s.seen)-1)].Flush))
		}

		all++

		if len(truth.wrong(c)) > 0 {
			wrong++
		}
	}

	if wrong == 0 {
		t.Error("positions that were asked for at about one time are never wrong: the judge sees nothing")
	}

	t.Logf("%d of %d times that positions were only asked for, they are wrong", wrong, all)
}

// figures tells what there was.
func figures(t *testing.T, j *journal, look proof.Look, cuts []proof.Cut) {
	t.Helper()

	var bounds, gaps []int64
	commits, globals, groups, depth := 0, map[string]bool{}, map[string]bool{}, 0

	first, last := j.observer.Now(), clock.Instant(0)
	for _, o := range j.ops {
		if o.acked == 0 {
			continue
		}

		commits++
		first, last = min(first, o.acked), max(last, o.acked)
		depth += len(o.after)

		if o.global != "" {
			globals[o.global] = true
		}

		if o.gid != "" {
			groups[o.gid] = true
		}
	}

	for _, s := range look.Stretches {
		c, err := clock.New(s.Samples, 0)
		if err != nil {
			t.Fatal(err)
		}

		for _, r := range s.Records {
			if when, ok := c.At(r.Stamp); ok {
				bounds = append(bounds, when.Width())
			}
		}
	}

	doubt, broken, kinds := 0, map[string]bool{}, map[proof.Action]int{}
	for _, c := range cuts {
		gaps = append(gaps, c.Gap.Width())
		if len(c.InDoubt) > 0 {
			doubt++
		}

		for _, r := range c.InDoubt {
			kinds[r.Action]++
		}

		for _, h := range c.Broken {
			broken[h.ID] = true
		}
	}
	span := time.Duration(last - first).Seconds()

	t.Logf("%.0f transactions a second, %.0f tagged global ones, %.0f in two phases; %d causes", float64(commits)/span, float64(len(globals))/span, float64(len(groups))/span, depth)
	t.Logf("%d cuts; gaps p50 %v; bounds of %d stamps p50 %v; %d with transactions in doubt (%v); %d broken off, %d called broken", len(cuts), middle(gaps), len(bounds), middle(bounds), doubt, kinds, len(j.dead), len(broken))

	if len(broken) == 0 || len(j.dead) == 0 {
		t.Error("nothing was broken off")
	}
}

func middle(all []int64) time.Duration {
	slices.Sort(all)
	return time.Duration(all[len(all)/2])
}
