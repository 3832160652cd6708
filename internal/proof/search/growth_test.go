package search_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"drctl/internal/growth"
	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/internal/proof/prove"
	"drctl/internal/proof/search"
	"drctl/targets"
)

// crowd is a look at many shards and a tenth as many masters: each shard commits every millisecond, in
// global transactions with its neighbour, and has some prepared ones and some that were broken long ago; and, if it
// is so, a commit whose PREPARE is not known.
func crowd(n int, nameless bool) proof.Look {
	shards := make([][]proof.Record, n)

	for k := range 40 {
		for i := range shards {
			us := uint64(1000*k + 1000 + i%250)
			shards[i] = append(shards[i], at(us, proof.Commit, "", fmt.Sprintf("t%d-%d/2", i/2, k)))
		}
	}

	for i := range shards {
		for k := range 3 { // in doubt, with its neighbour
			shards[i] = append(shards[i], at(uint64(41_000+10*k), proof.Prepare, fmt.Sprintf("g%d-%d", i/2, k)))
		}

		if nameless {
			shards[i] = append(shards[i], at(41_500, proof.CommitPrepared, ""))
		}
	}

	l := look(shards...)
	l.Base = &proof.Base{}

	for i := range l.Stretches {
		s := &l.Stretches[i]
		s.Known, s.From = 10, 30
		l.Base.Places = append(l.Base.Places, proof.Place{Shard: s.Shard, Timeline: "1", Position: 20})

		if len(l.Base.Kept) < proof.MostBroken {
			l.Base.Kept = append(l.Base.Kept, proof.Kept{ID: fmt.Sprintf("x%d", i), Records: []proof.KeptRecord{
				{Shard: s.Shard, Record: proof.Record{Start: 3, End: 4, Stamp: 7, Kind: proof.Commit, Tags: []string{fmt.Sprintf("x%d/2", i)}}}}})
		}
	}

	for i := range n / 10 {
		l.Masters = append(l.Masters, proof.Master{Shard: targets.ShardID{Target: "carts", Shard: fmt.Sprint(i)}, Paused: true,
			Markers: []proof.Marker{{Timeline: "r", Position: 1, Span: proof.Span{From: clock.Instant(80*ms + i), To: 90 * ms}}}})
	}

	return l
}

// A cut of many shards, its proof and its evidence grow as their number does.
func TestManyShards(t *testing.T) {
	const few, many = 125, 1000
	p := policy()
	p.Window = &proof.Span{From: 60 * ms, To: 95 * ms}
	size := map[int]int{}

	growth.Linear(t, "the search", few, many, func(n int) func() {
		l := crowd(n, true)

		return func() {
			res, err := search.Find(l, p)
			if err != nil || len(res.Cuts) != 1 {
				t.Fatalf("%d cuts, %v", len(res.Cuts), err)
			}

			c := res.Cuts[0]
			if len(c.Shards) != n || len(c.InDoubt) != 3*n || len(c.Redis) != n/10 {
				t.Fatalf("%d shards, %d in doubt", len(c.Shards), len(c.InDoubt))
			}

			b, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			size[n] = len(b)
		}
	})

	if size[many] > size[few]*(many/few)*5/4 {
		t.Errorf("the evidence has %d bytes for %d shards and %d for %d", size[few], few, size[many], many)
	}

	growth.Linear(t, "the proof", few, many, func(n int) func() {
		l := crowd(n, false)
		c := found(t, l, p)

		return func() {
			if r := prove.Check(c, &l, &p); !r.Accepted {
				t.Fatal(r.Faults[0])
			}
		}
	})

	growth.Linear(t, "a search in vain", few, many, func(n int) func() {
		l := crowd(n, false)
		for i := range l.Masters {
			l.Masters[i].Markers[0].Span = proof.Span{From: clock.Instant(1000 * i), To: clock.Instant(1000*i + 10)}
		}

		return func() {
			if res, err := search.Find(l, p); err != nil || len(res.Cuts) > 0 {
				t.Fatalf("%d cuts, %v", len(res.Cuts), err)
			}
		}
	})
}
