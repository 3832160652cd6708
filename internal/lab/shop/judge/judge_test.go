package judge_test

import (
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/lab/shop/journal"
	"drctl/internal/lab/shop/judge"
)

func records(rs ...journal.Record) iter.Seq2[journal.Record, error] {
	return func(yield func(journal.Record, error) bool) {
		for _, r := range rs {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// step is on a shard, sent at and acknowledged one later; its record lies from 10
// times that on.
func step(shard int, at int64, saw ...string) journal.Step {
	return journal.Step{Shard: shard, XID: uint32(at), BeginNS: at - 1, SentNS: at, AckNS: at + 1, Saw: saw,
		Committed: &journal.Bounds{Low: uint64(10 * at), High: uint64(10*at + 5)}}
}

func prepared(s journal.Step, gid string, at uint64) journal.Step {
	s.GID, s.Prepared = gid, &journal.Bounds{Low: at, High: at + 5}
	return s
}

func tagged(s journal.Step, tag string) journal.Step {
	s.Tag = tag
	return s
}

func op(id, kind string, steps ...journal.Step) journal.Record {
	return journal.Record{ID: id, Kind: kind, Status: journal.Acked, CommitNS: steps[0].SentNS, AckNS: steps[len(steps)-1].AckNS, Steps: steps}
}

// world is two shards and a master: an order that a cart and then another shard
// follow, a booking, a two-phase transfer, a saga, and a booking whose client died.
func world() []journal.Record {
	died := op("died", journal.KindBooking, tagged(step(0, 200), "died/2"), journal.Step{Shard: 1, BeginNS: 199, Tag: "died/2"})
	died.Status, died.Broken, died.Gate = journal.Unknown, true, true
	booking := op("booking", journal.KindBooking, tagged(step(0, 300), "booking/2"), tagged(step(1, 310, "booking/0"), "booking/2"))
	booking.Gate = true
	cart := step(0, 120, "first/0")
	cart.Redis = true

	return []journal.Record{
		op("first", journal.KindOrder, step(0, 100)),
		op("cart", journal.KindCart, cart),
		op("then", journal.KindChain, step(1, 140, "cart/0", "first/0")),
		died,
		booking,
		op("both", journal.KindMoney, prepared(step(0, 400), "shop-both-0", 3900), prepared(step(1, 410, "both/0"), "shop-both-1", 3910)),
		op("saga", journal.KindSaga, tagged(step(0, 500), "saga/+"), tagged(step(1, 600), "saga/+"), tagged(step(0, 700), "saga/.")),
		op("end", journal.KindOrder, step(1, 900)),
	}
}

func history(t *testing.T, rs []journal.Record) *judge.History {
	t.Helper()

	h, err := judge.NewHistory(2, 1, records(rs...))
	if err != nil {
		t.Fatal(err)
	}

	return h
}

// at is a true cut at an instant, as a prover would claim it.
func at(ns int64, positions ...uint64) (judge.Positions, judge.Claim) {
	return judge.Positions{Postgres: positions[:2], Redis: positions[2:]},
		judge.Claim{Grade: judge.Proven, Span: judge.Span{Since: ns, Until: ns}, Tagged: true, TwoPhase: true, Limit: 50}
}

// gated claims what the gate alone can promise.
func gated(c *judge.Claim) { c.Tagged, c.TwoPhase, c.Gated = false, false, true }

// TestTrueCutsPass judges true cuts, by bounds and by exact places.
func TestTrueCutsPass(t *testing.T) {
	h := history(t, world())
	exact := []judge.Places{{100: {Committed: 1001}, 200: {Committed: 2002}, 300: {Committed: 3002}, 400: {Prepared: 3901, Committed: 4001}, 500: {Committed: 5003}, 700: {Committed: 7001}},
		{140: {Committed: 1402}, 310: {Committed: 3103}, 410: {Prepared: 3912, Committed: 4102}, 600: {Committed: 6001}, 900: {Committed: 9001}}}

	for name, c := range map[string]struct {
		at        int64
		positions []uint64
		change    func(*judge.Claim)
	}{
		"between the links of a chain": {130, []uint64{1300, 1300, 1300}, nil},
		"a broken one that is listed":  {350, []uint64{3500, 3500, 3500}, func(c *judge.Claim) { c.Broken = []string{"died"} }},
		"two phases in doubt": {405, []uint64{4050, 4050, 4050}, func(c *judge.Claim) {
			c.Broken, c.Actions = []string{"died"}, map[judge.Doubtful]judge.Action{{1, "shop-both-1"}: judge.Commit}
		}},
		"two phases rolled back": {395, []uint64{3950, 3950, 3950}, func(c *judge.Claim) {
			c.Broken = []string{"died"}
			c.Actions = map[judge.Doubtful]judge.Action{{0, "shop-both-0"}: judge.RollBack, {1, "shop-both-1"}: judge.RollBack}
		}},
		"half, and only ordered":               {305, []uint64{3050, 3050, 3050}, func(c *judge.Claim) { c.Grade = judge.Ordered }},
		"a saga in locked tables":              {650, []uint64{6500, 6500, 6500}, func(c *judge.Claim) { c.Grade = judge.Locked }},
		"one whose client died under the gate": {350, []uint64{3500, 3500, 3500}, gated},
		"half, of an untagged kind":            {305, []uint64{3050, 3050, 3050}, func(c *judge.Claim) { c.Tagged = false }},
		"whole":                                {800, []uint64{8000, 8000, 8000}, func(c *judge.Claim) { c.Broken = []string{"died"} }},
	} {
		positions, claim := at(c.at, c.positions...)
		if c.change != nil {
			c.change(&claim)
		}

		for _, places := range [][]judge.Places{nil, exact} {
			if v := judge.Judge(h, judge.ByPositions(positions, places), claim); !v.OK() || v.Unknown > 0 && places != nil {
				t.Errorf("%s, exact %v: %+v", name, places != nil, v)
			}
		}
	}
}

// TestFalseCutsAreCaught changes one thing of a true cut each.
func TestFalseCutsAreCaught(t *testing.T) {
	h := history(t, world())
	died := func(c *judge.Claim) { c.Broken = []string{"died"} }

	for name, c := range map[string]struct {
		at        int64
		positions []uint64
		change    func(*judge.Claim)
		about     []string
	}{
		"one shard behind":            {350, []uint64{900, 3500, 3500}, nil, []string{judge.Missing, judge.Cause, judge.Half}},
		"one shard ahead":             {350, []uint64{3500, 9500, 3500}, died, []string{judge.Later, judge.Half, judge.Cause}},
		"the master behind":           {350, []uint64{3500, 3500, 1100}, died, []string{judge.Missing, judge.Cause}},
		"the master ahead":            {110, []uint64{1100, 1100, 1300}, nil, []string{judge.Later}},
		"a cause is lost":             {130, []uint64{1100, 1500, 1100}, nil, []string{judge.Missing, judge.Later, judge.Cause}},
		"half a tagged one":           {305, []uint64{3050, 3050, 3050}, died, []string{judge.Half}},
		"half, under the gate":        {305, []uint64{3050, 3050, 3050}, gated, []string{judge.Half}},
		"half a saga":                 {650, []uint64{6500, 6500, 6500}, died, []string{judge.Half}},
		"ordered for proven":          {305, []uint64{3050, 3050, 3050}, func(c *judge.Claim) { died(c); c.Tagged, c.TwoPhase = false, false }, []string{judge.Half}},
		"a broken one not listed":     {350, []uint64{3500, 3500, 3500}, nil, []string{judge.Half}},
		"a sound one called broken":   {305, []uint64{3050, 3050, 3050}, func(c *judge.Claim) { c.Broken = []string{"died", "booking"} }, []string{judge.Sound}},
		"broken, and nobody knows it": {350, []uint64{3500, 3500, 3500}, func(c *judge.Claim) { c.Broken = []string{"died", "ghost"} }, []string{judge.Sound}},
		"in doubt, rolled back": {405, []uint64{4050, 4050, 4050}, func(c *judge.Claim) {
			died(c)
			c.Actions = map[judge.Doubtful]judge.Action{{1, "shop-both-1"}: judge.RollBack}
		}, []string{judge.Doubt, judge.Half}},
		"in doubt, left": {405, []uint64{4050, 4050, 4050}, died, []string{judge.Half}},
		"in doubt, committed too soon": {395, []uint64{3950, 3950, 3950}, func(c *judge.Claim) {
			died(c)
			c.Actions = map[judge.Doubtful]judge.Action{{0, "shop-both-0"}: judge.Commit}
		}, []string{judge.Doubt, judge.Half, judge.Later}},
		"not in doubt at all": {800, []uint64{8000, 8000, 8000}, func(c *judge.Claim) {
			died(c)
			c.Actions = map[judge.Doubtful]judge.Action{{0, "shop-both-0"}: judge.Commit}
		}, []string{judge.Doubt}},
		"two phases half":   {405, []uint64{4050, 3800, 4050}, died, []string{judge.Half}},
		"another instant":   {1200, []uint64{3500, 3500, 3500}, died, []string{judge.Missing}},
		"before everything": {50, []uint64{500, 500, 500}, nil, []string{judge.Compared}},
	} {
		positions, claim := at(c.at, c.positions...)
		if c.change != nil {
			c.change(&claim)
		}
		v := judge.Judge(h, judge.ByPositions(positions, nil), claim)

		var got []string
		for _, f := range v.Faults {
			if !slices.Contains(got, f.About) {
				got = append(got, f.About)
			}
		}

		slices.Sort(got)

		if want := slices.Sorted(slices.Values(c.about)); v.OK() || !slices.Equal(got, want) {
			t.Errorf("%s: faults %v, want %v: %+v", name, got, want, v.Faults)
		}
	}
}

// TestUnfinished: what a killed generator left counts as far as it is known.
func TestUnfinished(t *testing.T) {
	saga := op("saga", journal.KindSaga, tagged(step(0, 500), "saga/+"), tagged(step(1, 600), "saga/+"))
	saga.Status, saga.AckNS = journal.Unknown, 0
	cut := op("cut", journal.KindOrder, step(0, 400))
	cut.Status, cut.AckNS, cut.Steps[0].AckNS, cut.Steps[0].Committed.High = journal.Unknown, 0, 0, 0
	never := op("never", journal.KindOrder, step(0, 450))
	never.Status, never.Steps[0].SentNS, never.Steps[0].AckNS, never.AckNS = journal.Failed, 0, 0, 0
	h := history(t, []journal.Record{op("first", journal.KindOrder, step(0, 100)), cut, never, saga})

	positions, claim := at(800, 8000, 8000)

	if v := judge.Judge(h, judge.ByPositions(positions, nil), claim); v.Total != 2 || v.About(judge.Half) != 1 || v.About(judge.Never) != 1 || v.Unknown != 1 {
		t.Errorf("an unfinished saga: %+v", v)
	}
}

// TestStateCounts: of what the state knows nothing, nothing is said, and a journal
// of another platform is refused.
func TestStateCounts(t *testing.T) {
	h := history(t, world())
	_, claim := at(800, 1, 1)

	nothing := func(*journal.Record, int) judge.Presence { return judge.Unknown }
	if v := judge.Judge(h, nothing, claim); v.Total != 1 || v.About(judge.Compared) != 1 || v.Unknown != h.Steps() {
		t.Errorf("of nothing: %+v", v)
	}

	if _, err := judge.NewHistory(1, 1, records(world()...)); !fail.Is(err, fail.Invalid) {
		t.Errorf("another platform's journal: %v", err)
	}

	if h := history(t, world()[1:]); h.Unseen != 2 {
		t.Errorf("%d unseen causes, want 2", h.Unseen)
	}
}

// TestWaldump reads what pg_waldump prints.
func TestWaldump(t *testing.T) {
	got, err := judge.ReadWaldump(strings.NewReader(`rmgr: Heap        len (rec/tot):     59/    59, tx:        733, lsn: 0/01A0C0E8, prev 0/01A0C0B0, desc: INSERT off 3
rmgr: Transaction len (rec/tot):     34/    34, tx:        733, lsn: 0/01A0C128, prev 0/01A0C0E8, desc: COMMIT 2026-11-27 17:00:00.000000 UTC
rmgr: Transaction len (rec/tot):    200/   200, tx:        734, lsn: 1/0000C150, prev 0/01A0C128, desc: PREPARE gid shop-x-0: 2026-11-27 17:00:00.000000 UTC
rmgr: Transaction len (rec/tot):     50/    50, tx:          0, lsn: 1/0000C250, prev 0/01A0C150, desc: COMMIT_PREPARED 734: 2026-11-27 17:00:00.000000 UTC
rmgr: Transaction len (rec/tot):     34/    34, tx:        735, lsn: 1/0000C300, prev 0/01A0C250, desc: ABORT 2026-11-27 17:00:00.000000 UTC
`))
	if err != nil || len(got) != 3 || got[733] != (judge.Place{Committed: 0x1A0C128}) || got[734] != (judge.Place{Prepared: 1<<32 | 0xC150, Committed: 1<<32 | 0xC250}) || got[735].Aborted == 0 {
		t.Errorf("%+v, %v", got, err)
	}

	if at := judge.At(time.Unix(0, 500), 20); at != (judge.Span{Since: 480, Until: 520}) {
		t.Errorf("%+v", at)
	}
}
