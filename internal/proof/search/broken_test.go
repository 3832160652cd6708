package search_test

import (
	"fmt"
	"slices"
	"testing"

	"drctl/internal/fail"
	"drctl/internal/proof"
	"drctl/internal/proof/prove"
	"drctl/internal/proof/search"
)

// Of very many broken ones the youngest are listed, the rest is counted, and the list is complete
// since the last of them.
func TestOnlySoManyAreListed(t *testing.T) {
	var records []proof.Record
	for i := range uint64(proof.MostBroken + 5) {
		records = append(records, at(10_000+10*i, proof.Commit, "", fmt.Sprintf("h%d/2", i)))
	}

	p := policy()
	p.Window = &proof.Span{From: 90 * ms, To: 91 * ms}
	c := found(t, look(records), p)

	if len(c.Broken) != proof.MostBroken || len(c.Kept) != proof.MostBroken || c.More != 5 || c.Complete == nil || *c.Complete < 10*ms+40_000 || *c.Complete >= 10*ms+50_000 {
		t.Errorf("%d are listed, %d kept, %d more, complete since %d", len(c.Broken), len(c.Kept), c.More, *c.Complete)
	}

	if slices.ContainsFunc(c.Broken, func(h proof.HalfDone) bool { return h.ID == "h4" }) {
		t.Error("the older are listed, and not the younger")
	}
}

// A transaction in two phases that was committed here and rolled back there is broken until somebody tags
// one as its last part; one in doubt stays whatever somebody says.
func TestSomebodySaysThatItIsDoneWith(t *testing.T) {
	half := func(end proof.Kind, more ...proof.Record) proof.Look {
		b := []proof.Record{at(11_000, proof.Prepare, "x")}
		if end != "" {
			b = append(b, at(12_000, end, "x"))
		}

		return look([]proof.Record{at(10_000, proof.Prepare, "x"), at(13_000, proof.CommitPrepared, "x")}, append(b, more...))
	}
	p := policy()
	p.Window = &proof.Span{From: 50 * ms, To: 51 * ms}

	for name, c := range map[string]struct {
		look   proof.Look
		broken int
	}{
		"rolled back":            {half(proof.AbortPrepared), 1},
		"rolled back, done with": {half(proof.AbortPrepared, at(20_000, proof.Commit, "", "x/.")), 0},
		"not yet done with":      {half(proof.AbortPrepared, at(60_000, proof.Commit, "", "x/.")), 1},
		"in doubt":               {half(""), 1},
		"in doubt, done with":    {half("", at(20_000, proof.Commit, "", "x/.")), 1},
	} {
		if got := found(t, c.look, p); len(got.Broken) != c.broken {
			t.Errorf("%s: %+v", name, got.Broken)
		}
	}
}

// A look goes on from a base that lies where its logs are known, and from no other.
func TestBaseMustLieUnderTheLook(t *testing.T) {
	base := func(known, place, from uint64) proof.Look {
		l := look([]proof.Record{at(50_000, proof.Commit, "", "y/1")})
		s := &l.Stretches[0]
		s.Known, s.From = known, from
		l.Base = &proof.Base{Places: []proof.Place{{Shard: s.Shard, Timeline: "1", Position: place}}, Kept: []proof.Kept{{ID: "x", Records: []proof.KeptRecord{
			{Shard: s.Shard, Record: proof.Record{Start: 3, End: 4, Stamp: 7, Kind: proof.Commit, Tags: []string{"x/2"}}}}}}}

		return l
	}
	p := policy()
	p.Window = &proof.Span{From: 60 * ms, To: 61 * ms}

	good := base(10, 20, 30)
	c := found(t, good, p)

	if !c.Based || c.Complete != nil || len(c.Broken) != 1 || c.Broken[0].ID != "x" || c.Broken[0].Done != 1 || c.Broken[0].Want != 2 {
		t.Errorf("%+v", c)
	}

	for name, l := range map[string]proof.Look{"before what is known": base(10, 9, 30), "behind the beginning": base(10, 31, 30), "not known": base(0, 20, 30)} {
		if _, err := search.Find(l, p); !fail.Is(err, fail.Invalid) {
			t.Errorf("%s: %v", name, err)
		}

		if prove.Check(c, &l, &p).Accepted {
			t.Errorf("%s: accepted", name)
		}
	}
	other := good
	other.Base = &proof.Base{Places: []proof.Place{{Shard: shard(7), Position: 20}}}

	if _, err := search.Find(other, p); !fail.Is(err, fail.Invalid) || prove.Check(c, &other, &p).Accepted {
		t.Errorf("of another shard: %v", err)
	}

	other.Base = nil
	if prove.Check(c, &other, &p).Accepted {
		t.Error("without its base it is accepted")
	}
}
