package meter_test

import (
	"testing"
	"time"

	"drctl/internal/lab/shop/journal"
	"drctl/internal/lab/shop/meter"
)

// A store's outage is the longest time between two acknowledgements, from when the
// run began until the customers leave, and each store has its own.
func TestOutages(t *testing.T) {
	const ms = time.Millisecond

	m, begin := meter.New(), time.Now()
	m.Watch(meter.Stores{Postgres: []string{"orders/0", "orders/1"}, Redis: []string{"carts/0"}}, 50*ms)
	m.Start(begin)

	wrote := func(redis bool, shard int, at time.Duration) {
		s := &journal.Step{Redis: redis, Shard: shard, BeginNS: begin.Add(at - 10*ms).UnixNano()}
		m.Wrote(s, begin.Add(at))
	}

	for _, at := range []time.Duration{20 * ms, 40 * ms, 140 * ms, 130 * ms, 160 * ms, 240 * ms} { // 130 is told late
		wrote(false, 0, at)
	}

	wrote(true, 0, 50*ms)
	wrote(true, 7, 60*ms) // nobody's
	m.Leave(begin.Add(300 * ms))
	m.Leave(begin.Add(400 * ms))
	wrote(true, 0, 900*ms) // by one who had begun before

	all := m.Summary().Stores
	if len(all) != 3 || all[0].Store != "orders/0" || all[2].Store != "carts/0" {
		t.Fatalf("%+v", all)
	}

	length := func(o meter.Outage) time.Duration {
		if got := o.End.Sub(o.Begin); got.Round(ms) != o.Length.Round(ms) {
			t.Errorf("from %s to %s are not %s", o.Begin, o.End, o.Length)
		}

		return o.Length.Round(ms)
	}

	a := all[0]
	if length(a.Longest) != 100*ms || a.Longest.Begin.Sub(begin).Round(ms) != 40*ms || a.Acked != 6 || a.Max.Round(ms) != 10*ms {
		t.Errorf("%+v", a)
	}

	var over []time.Duration
	for _, o := range a.Outages {
		over = append(over, length(o))
	}

	if len(over) != 3 || over[0] != 100*ms || over[1] != 80*ms || over[2] != 60*ms {
		t.Errorf("outages over 50 ms: %v, want 100, 80 and the last 60 ms", over)
	}

	if length(all[1].Longest) != 300*ms || all[1].Acked != 0 {
		t.Errorf("a store that took nothing: %+v", all[1])
	}

	if length(all[2].Longest) != 250*ms || all[2].Acked != 2 {
		t.Errorf("%+v", all[2])
	}
}

// An operation that failed is a fault of every store whose part was not acknowledged; one
// whose client was made to die is nobody's.
func TestClientErrors(t *testing.T) {
	m := meter.New()
	m.Watch(meter.Stores{Postgres: []string{"orders/0", "orders/1"}, Redis: []string{"carts/0"}}, 0)

	m.Add(&journal.Record{Status: journal.Unknown, Steps: []journal.Step{{Shard: 0, AckNS: 1}, {Shard: 1}}}, 0)
	m.Add(&journal.Record{Status: journal.Failed, Shards: []int{0}}, 0)
	m.Count(&journal.Record{Status: journal.Failed, Cart: 3}) // of the only master
	m.Count(&journal.Record{Status: journal.Unknown, Reason: journal.Died, Shards: []int{0}})
	m.Add(acked(), 0)

	s := m.Summary()
	if s.Errors != 3 || s.Unknown != 2 || s.Failed != 2 {
		t.Errorf("%+v", s)
	}

	for i, want := range []int64{1, 1, 1} {
		if got := s.Stores[i]; got.Errors != want {
			t.Errorf("%s: %d client errors, want %d", got.Store, got.Errors, want)
		}
	}
}
