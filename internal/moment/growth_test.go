package moment

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"drctl/internal/growth"
	"drctl/internal/moment/evidence"
	"drctl/internal/moment/logtail"
	"drctl/internal/observation"
	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/internal/proof/shardlog"
	"drctl/targets"
)

// crowd is what was seen of a group of many shards for half a minute, and closely in the end; a tenth are
// Redis masters, and a tenth object stores.
func crowd(n int) (req Request, batches []observation.Batch, window proof.Span) {
	const ms = clock.Instant(time.Millisecond)
	req = Request{Group: "shop", Policy: Policy{Limit: time.Second, Modes: []string{targets.ModeTagged}}}
	window = proof.Span{From: 30_000 * ms, To: 30_100 * ms}
	req.Wish = Wish{Observer: "o", Span: window}
	start := time.Unix(1_800_000_000, 0).UTC()

	var seen []observation.Seen

	for i := range n {
		s := Shard{ID: targets.ShardID{Target: "t", Shard: fmt.Sprintf("%04d", i)}, Kind: targets.Postgres, Region: "east"}

		switch i % 10 {
		case 8:
			s.Kind = targets.Redis
		case 9:
			s.Kind = targets.S3
		}
		req.Shards = append(req.Shards, s)

		timeline := "7000000000000000001-00000001"
		if s.Kind == targets.Redis {
			timeline = strings.Repeat("a", 40)
		}

		var all []observation.Observation
		for at := clock.Instant(0); at < 30_120*ms; {
			x := clock.Stamp(start.UnixNano() + int64(at))
			o := observation.Observation{Sample: clock.Sample{T0: at, T1: at + ms/10, Stamp: x, Wall: x}, Timeline: timeline, Flushed: 1000 + uint64(at/ms), Inserted: 1000 + uint64(at/ms)}

			if s.Kind == targets.Redis && at >= 30_040*ms && at < 30_060*ms {
				o.Paused, o.T0, o.T1 = true, 30_040*ms+ms/2, 30_060*ms
			}
			all = append(all, o)

			if at += 500 * ms; at > window.From {
				at += 4*ms - 500*ms
			}
		}

		if s.Kind != targets.S3 {
			seen = append(seen, observation.Seen{Shard: s.ID, Kind: s.Kind, Server: "s", Observations: all})
		}
	}

	batches = []observation.Batch{{Group: "shop", Observer: "o", Since: 0, Until: 30_200 * ms, Began: start, Ended: start.Add(30_200 * time.Millisecond), Shards: seen}}

	return req, batches, window
}

// sightOf is what a finder makes of that, with logs in which each shard commits every two milliseconds in a
// global transaction, and has some prepared ones.
func sightOf(t *testing.T, req *Request, batches []observation.Batch, window proof.Span) *sight {
	t.Helper()

	s := sorted(batches)[0]
	out := &sight{seen: s, look: proof.Look{Observer: "o"}, since: map[targets.ShardID]time.Time{}}
	began := clock.Instant(0)

	for i, shard := range req.Shards {
		switch shard.Kind {
		case targets.Redis:
			still, moving := s.markers(shard.ID, window)
			out.look.Masters, out.moving = append(out.look.Masters, still), append(out.moving, moving)
		case targets.Postgres:
			p, o := plan(shard.ID, s, want{window: window, back: req.Policy.back(), hints: []*seen{s}, warm: true}, req.Policy.Limit)
			if o != nil {
				t.Fatal(o)
			}

			x := proof.Stretch{Shard: shard.ID, Timeline: p.wanted.Timeline, From: 1, Known: 1, Reached: &began, KnownFrom: &began}
			for _, o := range p.run.all {
				x.Samples = append(x.Samples, o.Sample)
			}

			for k := range clock.Instant(50) {
				at := window.From + 2*k*clock.Instant(time.Millisecond)
				r := proof.Record{Start: x.To + 8, End: x.To + 16, Stamp: clock.Stamp(s.wall(at).UnixNano()), Kind: proof.Commit, Tags: []string{fmt.Sprintf("t%d-%d/1", i, k)}}

				if k == 3 {
					r.Kind, r.GID, r.Tags = proof.Prepare, fmt.Sprintf("g%d", i), nil
				}
				x.Records, x.To = append(x.Records, r), r.End
			}
			ended := window.To + clock.Instant(time.Millisecond)
			x.Ended = &ended

			out.look.Stretches = append(out.look.Stretches, x)
			out.logs = append(out.logs, evidence.Log{Span: logtail.Span{Shard: shard.ID, Start: 1, To: x.To, Timelines: []shardlog.Timeline{{Name: p.wanted.Timeline}}}, Server: "s"})
			out.since[shard.ID] = preparedSince(p.run.all, 1000)
		}
	}

	return out
}

// What a finder and a prover do with what they have read grows as the number of shards does.
func TestManyShards(t *testing.T) {
	const few, many = 100, 800
	size := map[int]int{}

	var cut targets.Cut

	growth.Linear(t, "putting together what was seen", few, many, func(n int) func() {
		req, batches, window := crowd(n)
		return func() { sightOf(t, &req, batches, window) }
	})

	growth.Linear(t, "a cut with its evidence", few, many, func(n int) func() {
		req, batches, window := crowd(n)
		l := sightOf(t, &req, batches, window)

		return func() {
			policy, modes := req.Policy.decide(&l.look)
			policy.Window, policy.Grades = &window, req.grades()

			res, err := l.find(policy)
			if err != nil || len(res.Cuts) != 1 || res.Cuts[0].Grade != proof.Proven {
				t.Fatalf("%+v, %v", res.Obstacles, err)
			}

			all, err := l.found(&req, &policy, modes, res)
			if err != nil {
				t.Fatal(err)
			}

			var content []byte
			if cut, content, err = all[0].Cut("20260314T025948.120Z-3fa9", "drctl"); err != nil || len(cut.Shards) != n {
				t.Fatalf("%d shards, %v", len(cut.Shards), err)
			}
			size[n] = len(content)
		}
	})

	if size[many] > size[few]*(many/few)*5/4 {
		t.Errorf("the evidence has %d bytes for %d shards and %d for %d", size[few], few, size[many], many)
	}

	growth.Linear(t, "the proof of the record", few, many, func(n int) func() {
		req, batches, window := crowd(n)
		l := sightOf(t, &req, batches, window)
		policy, modes := req.Policy.decide(&l.look)
		policy.Window, policy.Grades = &window, req.grades()

		res, err := l.find(policy)
		if err != nil {
			t.Fatal(err)
		}

		all, err := l.found(&req, &policy, modes, res)
		if err != nil {
			t.Fatal(err)
		}

		cut, _, err := all[0].Cut("20260314T025948.120Z-3fa9", "drctl")
		if err != nil {
			t.Fatal(err)
		}

		return func() {
			p := &prover{ctx: t.Context(), cut: &cut, e: &all[0].evidence, seen: l.seen, look: proof.Look{Observer: "o", Stretches: l.look.Stretches}}
			for _, step := range []func() error{p.masters, p.base, p.check, p.record} {
				if err := step(); err != nil || len(p.Faults) > 0 {
					t.Fatal(p.Faults, err)
				}
			}
		}
	})
}
