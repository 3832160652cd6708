package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"drctl/internal/human"
	"drctl/internal/lab"
	"drctl/internal/lab/delay"
	"drctl/internal/lab/shop"
	"drctl/internal/lab/shop/check"
	"drctl/internal/lab/shop/journal"
	"drctl/internal/lab/shop/judge"
	"drctl/internal/progress"
	"drctl/internal/sandbox"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/workflows"
)

// campaign is a mode of cuts with customers who do what it asks of them.
type campaign struct {
	mode    string
	traffic []string
	// proven: cuts of this mode are proven. Else locks may be all that there is.
	proven bool
	// far puts the second shard behind a slow network.
	far bool
}

var campaigns = []campaign{
	{mode: "auto", traffic: []string{"--gate=false"}, proven: true},
	{mode: "tagged", traffic: []string{"--gate=false", "--style", "plain"}, proven: true, far: true},
	{mode: "two-phase", traffic: []string{"--gate=false", "--style", "2pc", "--tag=false"}, proven: true},
	{mode: "gate", traffic: []string{"--tag=false"}, proven: true},
	{mode: "gate+locks", traffic: []string{"--tag=false"}},
	{mode: "locks", traffic: []string{"--gate=false", "--tag=false"}},
}

// shown is what a campaign has shown.
type shown struct {
	campaign
	asked, faults        int
	cuts                 []targets.Cut
	refused              map[string]int // cuts that were not to be had, by reason
	took                 []time.Duration
	mu                   sync.Mutex
	recovered, moments   int
	proved               int
	behind               []time.Duration // how far before the wish a moment was
	nothing              map[string]int  // moments that were not to be had, by reason
	violations, compared int
	redisLived           bool // no master was killed, so that places in its stream mean something
}

// TestShown is the promise as a whole, in every mode: cuts under realistic traffic
// while workers, the engine and stores are killed, each judged by its places in the logs;
// of a sample, and of random moments of the past, all is recovered from one vault and
// compared with the journal outside the stores. At night 540 cuts in all modes, 126 recovered and 126
// moments; else a few, in one mode by seed.
func TestShown(t *testing.T) {
	t.Parallel()

	seed := uint64(time.Now().UnixNano())

	switch text := os.Getenv("DRCTL_TEST_SEED"); {
	case text != "":
		seed, _ = strconv.ParseUint(text, 10, 64)
	case sandboxtest.Size(0, 1) == 0:
		t.Skip("minutes of kills: make nightly, or one mode with DRCTL_TEST_SEED (docs/benchmarks.md)")
	}

	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))

	var all []*shown
	for _, i := range r.Perm(len(campaigns))[:sandboxtest.Size(1, len(campaigns))] {
		s := &shown{campaign: campaigns[i], refused: map[string]int{}, nothing: map[string]int{}, redisLived: true}
		all = append(all, s)
		t.Run(s.mode, func(t *testing.T) { s.run(t, r) })
	}

	t.Log("\n" + table(all))
}

// run is one campaign in a lab of its own.
func (s *shown) run(t *testing.T, r *rand.Rand) {
	w := newLab(t, labShape{shards: sandboxtest.Size(2, 3), redis: sandboxtest.Size(1, 2), cutEvery: "0s", mode: s.mode})
	w.ready(t)

	if s.far {
		w.far(t, "orders/1", 20*time.Millisecond)
	}

	w.must(t, "vault", "init")
	w.startUp(t)
	w.traffic = w.start(t, runOptions{program: "drlab"}, append([]string{"traffic", "--dir", w.lab, "--rate", "40", "--clients", "6", "--quiet", "--json",
		"--parts", "realistic", "--seed", fmt.Sprint(r.Int64())}, s.traffic...)...)
	eventually(t, 5*time.Minute, "there is a base of every shard", func() error {
		if res := w.run(t, "backup", "now"); res.code != 0 {
			return errors.New(reason(res))
		}

		return nil
	})

	s.take(t, w, r)

	if t.Failed() {
		return
	}

	last := s.cuts[len(s.cuts)-1].QuiescedAt
	time.Sleep(time.Until(last.Add(3 * time.Second))) // acknowledged work after the last cut

	if sum := w.stopTraffic(t); sum.code != 0 {
		t.Fatal(sum)
	}

	s.judge(t, w)
	s.recover(t, w, r)
	t.Log("\n" + table([]*shown{s}))
}

// take asks for one cut after the other until there are enough, while things die.
func (s *shown) take(t *testing.T, w *world, r *rand.Rand) {
	want, between := sandboxtest.Size(6, 90), sandboxtest.Size(3, 10)
	victims := w.victims(t, r)

	var dying sync.WaitGroup
	defer dying.Wait()

	for len(s.cuts) < want {
		if s.asked++; s.asked > 4*want {
			t.Fatalf("of %d cuts that were asked for there are %d: %v", s.asked, len(s.cuts), s.refused)
		}

		if s.asked%between == 0 {
			dying.Wait()

			victim, after := victims[s.faults%len(victims)], time.Duration(r.Int64N(int64(2*time.Second)))
			s.faults++
			s.redisLived = s.redisLived && !strings.Contains(victim.name, "carts")

			t.Logf("%d cuts; %s is killed", len(s.cuts), victim.name)
			dying.Go(func() { time.Sleep(after); victim.kill() })
		}

		s.ask(t, w)
	}
}

func (s *shown) ask(t *testing.T, w *world) {
	begin := time.Now()

	res := w.run(t, "cut", "now", "--json")
	if res.code != 0 {
		s.refused[reason(res)]++
		plain(t, res)

		return
	}

	cut := decode[targets.Cut](t, res.out)
	s.cuts, s.took = append(s.cuts, cut), append(s.took, time.Since(begin))

	if len(cut.SealedIn) != 2 || cut.SealedAt.IsZero() {
		t.Errorf("cut %s: %+v", cut.ID, cut)
	}

	if cut.QuiescedAt.Before(begin) {
		t.Errorf("cut %s is of %s before it was asked for", cut.ID, begin.Sub(cut.QuiescedAt))
	}
}

// reason is why a command did not do what it was asked, without what differs each time.
func reason(r result) string {
	text := strings.TrimSpace(r.err)
	lines := strings.Split(text, "\n")

	return lines[len(lines)-1][:min(220, len(lines[len(lines)-1]))]
}

// judge holds all cuts against the journal by their places in the logs.
func (s *shown) judge(t *testing.T, w *world) {
	p := w.shop(t, func(id targets.ShardID) (targets.Instance, error) { return w.labOf(t).Instance(lab.East, id) })

	h, err := judge.NewHistory(len(p.Postgres), len(p.Redis), journal.Read(w.labOf(t).Journal()))
	if err != nil {
		t.Fatal(err)
	}

	for _, cut := range s.cuts {
		var at judge.Positions
		for _, in := range p.Postgres {
			point, _ := cut.Point(in.Shard)
			at.Postgres = append(at.Postgres, point.Position.Offset)
		}

		for _, in := range p.Redis {
			if point, _ := cut.Point(in.Shard); s.redisLived {
				at.Redis = append(at.Redis, point.Position.Offset)
			}
		}

		claim := shop.ClaimOf(p, cut, lab.HalfDone)
		if claim == nil {
			claim = &judge.Claim{Span: judge.Span{Since: cut.QuiescedAt.UnixNano(), Until: cut.ReleasedAt.UnixNano()}}
		}

		v := judge.Judge(h, judge.ByPositions(at, nil), *claim)
		s.compared += v.Steps + v.Causes + v.Whole + v.Doubts
		s.violations += v.Total

		if !v.OK() {
			t.Errorf("cut %s (%s): %d faults: %+v", cut.ID, cut.Grade(), v.Total, v.Faults[:min(5, len(v.Faults))])
		}

		if s.proven && cut.Grade() == targets.Locked {
			t.Errorf("cut %s is %s", cut.ID, cut.Grade())
		}
	}
}

// recover recovers a sample of the cuts, and random moments between the first and the last.
func (s *shown) recover(t *testing.T, w *world, r *rand.Rand) {
	n := sandboxtest.Size(1, 21)
	from, to := s.cuts[0].QuiescedAt, s.cuts[len(s.cuts)-1].QuiescedAt

	var g errgroup.Group
	g.SetLimit(2)

	for _, i := range r.Perm(len(s.cuts))[:min(n, len(s.cuts))] {
		g.Go(func() error { s.recoverCut(t, w, s.cuts[i]); return nil })
	}

	for i := range n {
		wishes := make([]time.Time, 4) // there may be none where something was dead
		for k := range wishes {
			wishes[k] = from.Add(time.Duration(r.Int64N(int64(to.Sub(from)))))
		}

		if cut := s.cuts[r.IntN(len(s.cuts))]; cut.Proof != nil { // the moment of a cut there is always
			wishes = append(wishes, cut.QuiescedAt.Add(cut.Proof.Gap+10*time.Millisecond))
		}

		g.Go(func() error { s.recoverMoment(t, w, i, wishes); return nil })
	}
	_ = g.Wait()
}

func (s *shown) recoverCut(t *testing.T, w *world, cut targets.Cut) {
	if cut.Proof != nil {
		s.prove(t, w, cut.ID)
	}

	if s.back(t, w, true, "--cut", cut.ID) != nil {
		s.mu.Lock()
		s.recovered++
		s.mu.Unlock()
	}
}

// recoverMoment recovers the first of the wishes that can be had: by a name that is given
// to it, or at once.
func (s *shown) recoverMoment(t *testing.T, w *world, n int, wishes []time.Time) {
	for _, wish := range wishes {
		at := wish.UTC().Format(time.RFC3339Nano)
		name := fmt.Sprintf("moment-%d", n)

		ask, goal := []string{"cut", "at", at, "--name", name, "--vault", "west", "--json"}, []string{"--cut", name}
		if n%2 == 1 {
			ask, goal = []string{"cut", "at", at, "--vault", "west", "--json"}, []string{"--at", at}
		}

		res := w.run(t, ask...)
		if res.code != 0 {
			plain(t, res)
			s.mu.Lock()
			s.nothing[reason(res)]++
			s.mu.Unlock()

			continue
		}

		if n%2 == 0 {
			s.prove(t, w, name)
		}

		cut := s.back(t, w, false, goal...)
		if cut == nil {
			return
		}

		if cut.Proof == nil || cut.QuiescedAt.After(wish) {
			t.Errorf("the moment of %s is %s, %+v", wish, cut.QuiescedAt, cut.Proof)
		}

		s.mu.Lock()
		s.moments++
		s.behind = append(s.behind, wish.Sub(cut.QuiescedAt))
		s.mu.Unlock()

		return
	}

	t.Errorf("none of the moments %v is to be had: %v", wishes, s.nothing)
}

func (s *shown) prove(t *testing.T, w *world, cut string) {
	res := w.run(t, "cut", "prove", cut, "--vault", "west")

	s.mu.Lock()
	defer s.mu.Unlock()

	if s.proved++; res.code != 0 {
		s.violations++

		t.Errorf("cut %s is not proven anew: %s", cut, res)
	}
}

// back recovers a goal from the vault of the west alone and compares it with the journal.
func (s *shown) back(t *testing.T, w *world, images bool, goal ...string) *targets.Cut {
	planned := w.run(t, append([]string{"restore", "plan", "--json", "--vault", "west"}, goal...)...)
	if planned.code != 0 {
		t.Errorf("no plan: %s", planned)
		return nil
	}

	run := decode[plan.Run](t, planned.out)

	file := filepath.Join(w.dir, run.ID+".json")
	if err := os.WriteFile(file, []byte(planned.out), 0o600); err != nil {
		t.Error(err)
		return nil
	}

	res := w.run(t, "restore", "run", "--json", "--quick", "--plan", file)
	if res.code != 0 {
		t.Errorf("cut %s is not recovered: %s", run.Cut.ID, res)
		return nil
	}
	box := decode[workflows.RestoreOut](t, res.out).Sandbox.Dir

	defer w.run(t, "sandbox", "rm", box)

	p := w.shop(t, func(id targets.ShardID) (targets.Instance, error) { return sandbox.Restored(box, id) })
	if !images { // of a moment they are as old as the newest snapshot before it
		p.Media = targets.Instance{}
	}

	rep, err := shop.Check(t.Context(), shop.CheckOptions{Cut: run.Cut, Journals: []string{w.labOf(t).Journal()}, Platform: p, Claim: shop.ClaimOf(p, run.Cut, lab.HalfDone)})
	if err != nil {
		t.Errorf("cut %s: %v", run.Cut.ID, err)
		return nil
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.violations += rep.Total

	for _, n := range rep.Checked {
		s.compared += int(n)
	}

	if rep.Total > 0 || images && !rep.OK || rep.Checked[check.RuleGrade] == 0 {
		t.Errorf("%v is not what the journal says: cut %s (%s) of %s: %d violations, not checked %v: %+v", goal, run.Cut.ID, run.Cut.Grade(), run.Cut.QuiescedAt.Format(time.RFC3339Nano), rep.Total, rep.NotChecked,
			rep.Violations[:min(6, len(rep.Violations))])
	}

	return &run.Cut
}

// shop is the shop on the instances that are found for the lab's shards.
func (w *world) shop(t *testing.T, at func(targets.ShardID) (targets.Instance, error)) shop.Platform {
	find := func(target string) (all []targets.Instance) {
		for _, id := range w.labOf(t).Shards(target) {
			in, err := at(id)
			if err != nil {
				t.Error(err)
			}
			all = append(all, in)
		}

		return all
	}

	return shop.Platform{Group: "shop", Postgres: find("orders"), Redis: find("carts"), Media: find("media")[0]}
}

// far puts a shard's primary behind a slow network, for drctl alone.
func (w *world) far(t *testing.T, shard string, roundTrip time.Duration) {
	in := w.instance(t, lab.East, shard)

	p, err := delay.Listen("127.0.0.1:0", in.Address, roundTrip)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(p.Close)

	b, err := os.ReadFile(w.config())
	if err == nil {
		err = os.WriteFile(w.config(), bytes.ReplaceAll(b, []byte(`"`+in.Address+`"`), []byte(`"`+p.Address()+`"`)), 0o600)
	}

	if err != nil {
		t.Fatal(err)
	}
}

// table shows campaigns to people.
func table(all []*shown) string {
	var rows [][]string

	var notes strings.Builder
	sum := &shown{campaign: campaign{mode: "all"}}

	for _, s := range all {
		rows = append(rows, s.row())
		sum.asked, sum.faults, sum.cuts, sum.took = sum.asked+s.asked, sum.faults+s.faults, append(sum.cuts, s.cuts...), append(sum.took, s.took...)
		sum.recovered, sum.moments, sum.behind = sum.recovered+s.recovered, sum.moments+s.moments, append(sum.behind, s.behind...)
		sum.proved, sum.violations, sum.compared = sum.proved+s.proved, sum.violations+s.violations, sum.compared+s.compared

		for what, reasons := range map[string]map[string]int{"no cut": s.refused, "no moment": s.nothing} {
			for why, n := range reasons {
				fmt.Fprintf(&notes, "%s: %s, %d times: %s\n", s.mode, what, n, why)
			}
		}
	}

	if len(all) > 1 {
		rows = append(rows, sum.row())
	}
	var out bytes.Buffer
	_ = progress.Table(&out, []string{"MODE", "ASKED", "TAKEN", "PROVEN", "ORDERED", "LOCKED", "SEALED P50", "P99", "KILLED", "RECOVERED", "MOMENTS", "BEFORE P50", "MAX", "PROVED ANEW", "COMPARED", "VIOLATIONS"}, rows)

	return out.String() + notes.String()
}

func (s *shown) row() []string {
	grades := map[targets.Grade]int{}
	var sealed []time.Duration

	for _, c := range s.cuts {
		grades[c.Grade()]++
		sealed = append(sealed, c.SealedAt.Sub(c.QuiescedAt))
	}
	at := func(d []time.Duration, p int) string {
		if len(d) == 0 {
			return "-"
		}

		d = slices.Sorted(slices.Values(d))

		return human.Duration(d[min(len(d)-1, len(d)*p/100)])
	}

	name := s.mode
	if s.far {
		name += ", far"
	}

	return []string{name, fmt.Sprint(s.asked), fmt.Sprint(len(s.cuts)), fmt.Sprint(grades[targets.Proven]), fmt.Sprint(grades[targets.Ordered]), fmt.Sprint(grades[targets.Locked]),
		at(sealed, 50), at(sealed, 99), fmt.Sprint(s.faults), fmt.Sprint(s.recovered), fmt.Sprint(s.moments), at(s.behind, 50), at(s.behind, 100),
		fmt.Sprint(s.proved), human.Count(int64(s.compared)), fmt.Sprint(s.violations)}
}
