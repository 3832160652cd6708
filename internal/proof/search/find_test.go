package search_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"drctl/internal/fail"
	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/internal/proof/prove"
	"drctl/internal/proof/search"
	"drctl/targets"
)

const ms = 1_000_000

func shard(i int) targets.ShardID { return targets.ShardID{Target: "t", Shard: fmt.Sprint(i)} }

// exact are samples of a clock that shows the observer's instants, 1,000 over a length.
func exact(length clock.Instant) (all []clock.Sample) {
	every := max(ms, length/1000)
	for t := -every; t <= length+every; t += every {
		all = append(all, clock.Sample{T0: t, T1: t, Stamp: clock.Stamp(t)})
	}

	return all
}

// at is a record that was stamped at an instant; its place is the instant in microseconds.
func at(us uint64, kind proof.Kind, gid string, tags ...string) proof.Record {
	return proof.Record{Start: us, End: us + 1, Stamp: clock.Stamp(us * 1000), Kind: kind, GID: gid, Tags: tags}
}

// look is a look of 100 ms at shards with the records given, observed to its end.
func look(shards ...[]proof.Record) proof.Look {
	l := proof.Look{Observer: "o"}
	for i, records := range shards {
		reached, ended := clock.Instant(0), clock.Instant(100*ms)
		l.Stretches = append(l.Stretches, proof.Stretch{Shard: shard(i), Timeline: "1", To: 100_000,
			Records: records, Reached: &reached, KnownFrom: &reached, Ended: &ended, Samples: exact(100 * ms)})
	}

	return l
}

func policy() proof.Policy { return proof.Policy{Tagged: true, TwoPhase: true, Limit: 5 * ms} }

// found is the only cut of a look, which the checker accepts.
func found(t *testing.T, l proof.Look, p proof.Policy) *proof.Cut {
	t.Helper()

	res, err := search.Find(l, p)
	if err != nil {
		t.Fatal(err)
	}

	if len(res.Cuts) != 1 {
		t.Fatalf("%d cuts: %+v", len(res.Cuts), res.Obstacles)
	}

	if r := prove.Check(&res.Cuts[0], &l, &p); !r.Accepted {
		t.Fatalf("%+v", r.Faults)
	}

	return &res.Cuts[0]
}

// hindered is what was in the way of a look that has no cut.
func hindered(t *testing.T, l proof.Look, p proof.Policy) []proof.Obstacle {
	t.Helper()

	res, err := search.Find(l, p)
	if err != nil {
		t.Fatal(err)
	}

	if len(res.Cuts) > 0 || len(res.Obstacles) == 0 {
		t.Fatalf("%+v", res)
	}

	return res.Obstacles
}

func TestPicks(t *testing.T) {
	l := look([]proof.Record{at(20_000, proof.Commit, ""), at(50_000, proof.Commit, "")}, []proof.Record{at(60_000, proof.Commit, "")})

	for _, c := range []struct {
		pick     proof.Pick
		at       clock.Instant
		window   *proof.Span
		position uint64
	}{
		{proof.Widest, 0, nil, 100_000},
		{proof.Before, 45 * ms, nil, 50_000},
		{proof.Before, 50 * ms, nil, 50_000},
		{proof.Before, 55 * ms, nil, 100_000}, // of the first shard
		{proof.Nearest, 30 * ms, nil, 50_000},
		{proof.Nearest, 1 * ms, nil, 20_000},
		{proof.Widest, 0, &proof.Span{From: 10 * ms, To: 15 * ms}, 20_000},
		{proof.Widest, 0, &proof.Span{From: 52 * ms, To: 53 * ms}, 100_000},
	} {
		p := policy()
		p.Pick, p.At, p.Window = c.pick, c.at, c.window

		cut := found(t, l, p)
		if cut.Shards[0].Position != c.position {
			t.Errorf("%+v: cut at %d, %+v", c, cut.T, cut.Shards[0])
		}

		if c.pick == proof.Before && cut.T > c.at {
			t.Errorf("%+v: %d is later", c, cut.T)
		}
	}

	p := policy()
	p.Pick = proof.All
	res, err := search.Find(l, p)

	if err != nil || len(res.Cuts) != 4 || len(res.Gaps) != 4 {
		t.Fatalf("%v: %d cuts, %d gaps", err, len(res.Cuts), len(res.Gaps))
	}

	p.Most = 2
	if res, _ := search.Find(l, p); len(res.Cuts) != 2 || len(res.Gaps) != 4 {
		t.Fatalf("%d cuts, %d gaps", len(res.Cuts), len(res.Gaps))
	}
}

// A tag holds a cut up while its transaction is half done and young; then it is
// reported as broken.
func TestTags(t *testing.T) {
	for _, c := range []struct {
		a, b          string // the tags of a commit at 20 ms, and at 23 ms on another shard
		whole, broken []clock.Instant
	}{
		{"x/2", "x/2", []clock.Instant{19, 24, 90}, nil},
		{"x/+", "x/.", []clock.Instant{19, 24}, nil},
		{"x/.", "x/+", []clock.Instant{19, 24}, nil},
		{"x/3", "x/3", []clock.Instant{19}, []clock.Instant{26, 90}},
		{"x/+", "x/+", nil, []clock.Instant{26}},
		{"x/3", "x/.", []clock.Instant{19, 24, 90}, nil}, // somebody says that it is done with
		{"x/2", "y/2", nil, []clock.Instant{30}},
		{"x", "x/", nil, []clock.Instant{30}},
		{"x/0", "x/-1", nil, []clock.Instant{30}},
		{"a/b/2", "a/b/2", []clock.Instant{24}, nil},
	} {
		l := look([]proof.Record{at(20_000, proof.Commit, "", c.a, c.a)}, []proof.Record{at(23_000, proof.Commit, "", c.b)})
		p := policy()

		for when := clock.Instant(6); when < 99; when++ {
			p.Window = &proof.Span{From: when*ms + 1, To: when*ms + 2}

			res, err := search.Find(l, p)
			if err != nil {
				t.Fatal(err)
			}
			granted, broken := len(res.Cuts) == 1, len(res.Cuts) == 1 && len(res.Cuts[0].Broken) > 0

			switch {
			case slices.Contains(c.whole, when) && (!granted || broken),
				slices.Contains(c.broken, when) && !broken,
				(when == 21 || when == 22) && granted:
				t.Errorf("%v at %d: granted %v, broken %v", c, when, granted, broken)
			}
		}
	}
}

func TestTwoPhase(t *testing.T) {
	p := policy()
	p.GIDs = `^tx(\d+)-`
	p.Window = &proof.Span{From: 50 * ms, To: 51 * ms}

	l := look(
		[]proof.Record{at(48_000, proof.Prepare, "tx1-a"), at(49_000, proof.Prepare, "tx2-a"), at(49_500, proof.CommitPrepared, "tx1-a"), at(60_000, proof.CommitPrepared, "tx2-a")},
		[]proof.Record{at(48_100, proof.Prepare, "tx1-b"), at(48_200, proof.Prepare, "local"), at(49_000, proof.Prepare, "tx2-b"), at(60_000, proof.CommitPrepared, "tx1-b")},
	)

	var got []string
	for _, r := range found(t, l, p).InDoubt {
		got = append(got, fmt.Sprint(r.Shard, " ", r.GID, " ", r.Group, " ", r.Action))
	}
	want := []string{"t/0 tx2-a 2 roll-back", "t/1 local local roll-back", "t/1 tx1-b 1 commit", "t/1 tx2-b 2 roll-back"}

	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}

	// A gid that is used again is left alone.
	l = look([]proof.Record{at(10_000, proof.Prepare, "g"), at(11_000, proof.CommitPrepared, "g"), at(30_000, proof.Prepare, "g")}, nil)
	if r := found(t, l, p).InDoubt; len(r) != 1 || r[0].Action != proof.LeaveIt {
		t.Errorf("%+v", r)
	}

	p.Window = &proof.Span{From: 31 * ms, To: 32 * ms}
	if o := hindered(t, l, p); o[0].Why != proof.HalfDoneThen || o[0].ID != "g" {
		t.Errorf("%+v", o)
	}
}

// A commit without a gid makes everything unsure that may have been prepared
// before it, also what seemed sure until then.
func TestNamelessCommit(t *testing.T) {
	l, p := look([]proof.Record{at(21_000, proof.CommitPrepared, "")}, []proof.Record{at(20_000, proof.Prepare, "g")}), policy()
	for i := range l.Stretches[1].Samples {
		s := &l.Stretches[1].Samples[i]
		s.T0 -= 4 * ms
		s.T1 += 4 * ms
	}

	l.Stretches[1].Samples = slices.DeleteFunc(l.Stretches[1].Samples, func(s clock.Sample) bool { return s.Stamp%(10*ms) != 0 })

	for when, want := range map[clock.Instant]bool{19: true, 22: false, 25: false, 27: false, 31: true} {
		p.Window = &proof.Span{From: when*ms + 1, To: when*ms + 9}

		res, err := search.Find(l, p)
		if err != nil || (len(res.Cuts) > 0) != want {
			t.Errorf("at %d: %v %+v", when, err, res)
		}
	}
}

func TestObstacles(t *testing.T) {
	busy := make([]proof.Record, 90)
	for i := range busy {
		busy[i] = at(uint64(i+1)*1000, proof.Commit, "")
	}

	for _, c := range []struct {
		name   string
		change func(l *proof.Look, p *proof.Policy)
		want   proof.Why
	}{
		{"beginning", func(l *proof.Look, _ *proof.Policy) { l.Stretches[1].Reached = nil }, proof.BeginningUnknown},
		{"no samples", func(l *proof.Look, _ *proof.Policy) { l.Stretches[0].Samples = nil }, proof.NoClockBound},
		{"wide samples", func(l *proof.Look, _ *proof.Policy) {
			l.Stretches[0].Ended = nil
			l.Stretches[0].Samples = []clock.Sample{{T0: -9 * ms, T1: -5 * ms, Stamp: -7 * ms}, {T0: 101 * ms, T1: 105 * ms, Stamp: 103 * ms}}
		}, proof.NeverQuiet},
		{"short log", func(_ *proof.Look, p *proof.Policy) { p.Limit = 1000 * ms }, proof.LogTooShort},
		{"half done", func(l *proof.Look, p *proof.Policy) {
			l.Stretches[0].Records[0].Tags = []string{"x/2"}
			p.Limit = 200 * ms
			known := clock.Instant(-300 * ms)
			l.Stretches[0].KnownFrom, l.Stretches[1].KnownFrom = &known, &known
			p.Window = &proof.Span{From: 2 * ms, To: 100 * ms}
		}, proof.HalfDoneThen},
		{"no marker", func(l *proof.Look, _ *proof.Policy) { l.Masters = []proof.Master{{Shard: shard(7)}} }, proof.MarkerOutside},
		{"no pause", func(l *proof.Look, _ *proof.Policy) { l.Masters = []proof.Master{{Shard: shard(7), Paused: true}} }, proof.NoMarker},
		{"two marked", func(l *proof.Look, _ *proof.Policy) {
			l.Masters = []proof.Master{{Shard: shard(7)}, {Shard: shard(8)}}
		}, proof.NoCommonPause},
		{"gate", func(_ *proof.Look, p *proof.Policy) { p.Gated = true }, proof.NotHeld},
		{"nothing declared", func(_ *proof.Look, p *proof.Policy) { p.Tagged, p.TwoPhase = false, false }, proof.NothingDeclared},
		{"window", func(_ *proof.Look, p *proof.Policy) { p.Window = &proof.Span{From: 200 * ms, To: 300 * ms} }, proof.OutsideWindow},
	} {
		l, p := look(slices.Clone(busy), []proof.Record{at(10_000, proof.Commit, "")}), policy()
		c.change(&l, &p)

		if o := hindered(t, l, p); !slices.ContainsFunc(o, func(o proof.Obstacle) bool { return o.Why == c.want && o.Count > 0 }) {
			t.Errorf("%s: %+v", c.name, o)
		}
	}
}

// A lesser grade is tried only after the better one, and says what stood in its way.
func TestGrades(t *testing.T) {
	l, p := look([]proof.Record{at(10_000, proof.Commit, "", "x/2")}, nil), policy()
	p.Window = &proof.Span{From: 11 * ms, To: 12 * ms}
	p.Grades = []proof.Grade{proof.Proven, proof.Locked, proof.Ordered}

	res, err := search.Find(l, p)
	if err != nil || len(res.Cuts) != 1 || res.Cuts[0].Grade != proof.Ordered || len(res.Cuts[0].Half) != 1 || len(res.Obstacles) < 2 {
		t.Fatalf("%v %+v", err, res)
	}

	l.Holds = []proof.Hold{{By: proof.ByLocks, Span: proof.Span{From: 11*ms + 5, To: 11*ms + 900}}}
	if c := found(t, l, p); c.Grade != proof.Locked || c.T <= 11*ms+5 || c.T >= 11*ms+900 {
		t.Errorf("%+v", c)
	}

	l.Stretches[1].Records = []proof.Record{at(10_500, proof.Commit, "", "x/2")}
	if c := found(t, l, p); c.Grade != proof.Proven || c.Tags != 1 {
		t.Errorf("%+v", c)
	}
}

// A gate needs no tags; what is half done without a limit is told, and not called broken.
func TestGate(t *testing.T) {
	l, p := look([]proof.Record{at(10_000, proof.Commit, "", "x/2"), at(11_000, proof.Prepare, "g")}, nil), proof.Policy{Gated: true}
	l.Holds = []proof.Hold{{By: proof.ByLocks, Span: proof.Span{From: 1, To: 5}}, {By: proof.ByGate, Span: proof.Span{From: 50 * ms, To: 51 * ms}}}

	c := found(t, l, p)
	if c.Grade != proof.Proven || c.Hold.By != proof.ByGate || c.T <= 50*ms || c.T >= 51*ms || len(c.Half) != 1 || len(c.Broken) != 0 || len(c.InDoubt) != 1 {
		t.Errorf("%+v", c)
	}
}

// What is not known of global transactions forbids a proven cut, and no closed one:
// what was prepared then is left as it is.
func TestUnknownTransactions(t *testing.T) {
	late := clock.Instant(60 * ms)

	for name, x := range map[string]struct {
		known  *clock.Instant
		proven bool
	}{"never": {nil, false}, "later than the log": {&late, true}} {
		l, p := look([]proof.Record{at(10_000, proof.Prepare, "g"), at(20_000, proof.CommitPrepared, ""), at(90_000, proof.Commit, "")}, nil), policy()
		l.Stretches[0].KnownFrom = x.known

		if x.proven {
			if c := found(t, l, p); c.T <= late+clock.Instant(p.Limit) {
				t.Errorf("%s: proven at %d", name, c.T)
			}
		} else if o := hindered(t, l, p); o[0].Why != proof.LogTooShort {
			t.Errorf("%s: %+v", name, o)
		}

		p.Grades, p.Window = []proof.Grade{proof.Proven, proof.Ordered}, &proof.Span{From: 15 * ms, To: 50 * ms}
		if c := found(t, l, p); c.Grade != proof.Ordered || len(c.InDoubt) != 1 || c.InDoubt[0].Action != proof.LeaveIt {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// A step of a clock ends what can be proven until the log is looked at from behind it.
func TestStepEndsProof(t *testing.T) {
	l, p := look([]proof.Record{at(10_000, proof.Commit, ""), at(30_000, proof.Commit, "")}, nil), policy()
	for i := range l.Stretches[0].Samples {
		if s := &l.Stretches[0].Samples[i]; s.T0 >= 20*ms {
			s.Stamp += 7 * ms
		}
	}
	l.Stretches[0].Records[1].Stamp += 7 * ms

	res, err := search.Find(l, p)
	if err != nil || len(res.Steps) != 1 || res.Steps[0].Least > 7*ms || res.Steps[0].Most < 7*ms {
		t.Fatalf("%v %+v", err, res.Steps)
	}
}

// What cannot be is refused, not proven.
func TestImpossibleLooks(t *testing.T) {
	for name, change := range map[string]func(l *proof.Look, p *proof.Policy){
		"no observer":    func(l *proof.Look, _ *proof.Policy) { l.Observer = "" },
		"no shards":      func(l *proof.Look, _ *proof.Policy) { l.Stretches = nil },
		"a shard twice":  func(l *proof.Look, _ *proof.Policy) { l.Stretches[1].Shard = shard(0) },
		"a master twice": func(l *proof.Look, _ *proof.Policy) { l.Masters = []proof.Master{{Shard: shard(0)}} },
		"out of order":   func(l *proof.Look, _ *proof.Policy) { slices.Reverse(l.Stretches[0].Records) },
		"outside":        func(l *proof.Look, _ *proof.Policy) { l.Stretches[0].To = 100 },
		"backwards":      func(l *proof.Look, _ *proof.Policy) { l.Stretches[1].From = 100_001 },
		"a kind":         func(l *proof.Look, _ *proof.Policy) { l.Stretches[0].Records[0].Kind = "x" },
		"no gid":         func(l *proof.Look, _ *proof.Policy) { l.Stretches[0].Records[0].Kind = proof.Prepare },
		"a gid":          func(l *proof.Look, _ *proof.Policy) { l.Stretches[0].Records[0].GID = "g" },
		"earlier, later": func(l *proof.Look, _ *proof.Policy) { l.Stretches[0].Earlier = l.Stretches[0].Records },
		"markers": func(l *proof.Look, _ *proof.Policy) {
			l.Masters = []proof.Master{{Markers: []proof.Marker{{Span: proof.Span{From: 1}}}}}
		},
		"a sample": func(l *proof.Look, _ *proof.Policy) { l.Stretches[0].Samples[0].T1 = -9 * ms },
		"holds":    func(l *proof.Look, _ *proof.Policy) { l.Holds = []proof.Hold{{By: "gate", Span: proof.Span{From: 1}}} },
		"a holder": func(l *proof.Look, _ *proof.Policy) { l.Holds = []proof.Hold{{By: "me"}} },
		"no limit": func(_ *proof.Look, p *proof.Policy) { p.Limit = 0 },
		"a grade":  func(_ *proof.Look, p *proof.Policy) { p.Grades = []proof.Grade{"best"} },
		"a pick":   func(_ *proof.Look, p *proof.Policy) { p.Pick = "some" },
		"a rule":   func(_ *proof.Look, p *proof.Policy) { p.GIDs = "(" },
		"a drift":  func(_ *proof.Look, p *proof.Policy) { p.Drift = -1 },
	} {
		l, p := look([]proof.Record{at(10_000, proof.Commit, ""), at(30_000, proof.Commit, "")}, nil), policy()
		change(&l, &p)

		if _, err := search.Find(l, p); !fail.Is(err, fail.Invalid) || strings.Contains(fmt.Sprint(err), "%!") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The search is made for long looks: 16 shards with 100,000 commits each.
func BenchmarkFind(b *testing.B) {
	const shards, commits = 16, 100_000
	l := proof.Look{Observer: "o"}

	for i := range shards {
		reached, ended := clock.Instant(0), clock.Instant(commits*ms)
		s := proof.Stretch{Shard: shard(i), To: commits * 1000, Reached: &reached, Ended: &ended, Samples: exact(commits * ms)}

		for j := range uint64(commits - 1) {
			r := at((j+1)*1000+uint64(i)*37%500, proof.Commit, "")
			if j%20 < 2 {
				r.Tags = []string{fmt.Sprintf("g%d-%d/2", i/2, j/20)}
			}
			s.Records = append(s.Records, r)
		}
		l.Stretches = append(l.Stretches, s)
	}

	b.ReportAllocs()

	for b.Loop() {
		res, err := search.Find(l, proof.Policy{Tagged: true, Limit: 10 * ms})
		if err != nil || len(res.Cuts) != 1 {
			b.Fatalf("%v %+v", err, res)
		}
	}
}
