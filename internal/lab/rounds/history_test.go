package rounds_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"drctl/internal/lab/rounds"
)

// when is an instant of a made up history.
func when(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }

func write(v int64, call, ret int) rounds.Op {
	return rounds.Op{Write: true, Value: v, Call: when(call), Return: when(ret)}
}

func read(v int64, call, ret int) rounds.Op {
	return rounds.Op{Value: v, Call: when(call), Return: when(ret)}
}

// unknown is a write of which nobody knows what became.
func unknown(v int64, call int) rounds.Op {
	return rounds.Op{Write: true, Value: v, Call: when(call)}
}

// TestHistories: a register may do what an order explains, and a fork may undo the end of it, as far as the
// statement of loss goes back, once.
func TestHistories(t *testing.T) {
	fork := &rounds.Fork{Since: when(100), From: when(150), To: when(300)}

	for name, c := range map[string]struct {
		ops  []rounds.Op
		fork *rounds.Fork
		ok   bool
	}{
		"in order":                                 {[]rounds.Op{write(2, 0, 10), read(2, 20, 30), write(3, 40, 50), read(3, 60, 70)}, nil, true},
		"at the same time, either":                 {[]rounds.Op{write(2, 0, 100), write(3, 0, 100), read(3, 20, 30), read(2, 110, 120)}, nil, true},
		"an acknowledged write is gone":            {[]rounds.Op{write(2, 0, 10), read(1, 20, 30)}, nil, false},
		"an old value comes back":                  {[]rounds.Op{write(2, 0, 10), write(3, 20, 30), read(3, 40, 50), read(2, 60, 70)}, nil, false},
		"two sides are read in turn":               {[]rounds.Op{write(2, 0, 10), write(3, 20, 30), read(2, 40, 50), read(3, 60, 70), read(2, 80, 90)}, nil, false},
		"nobody wrote it":                          {[]rounds.Op{read(9, 0, 10)}, nil, false},
		"it is read before it is written":          {[]rounds.Op{read(2, 0, 10), write(2, 20, 30)}, nil, false},
		"unknown, and seen later":                  {[]rounds.Op{unknown(2, 0), read(1, 20, 30), read(2, 40, 50), read(2, 60, 70)}, nil, true},
		"unknown, and never seen":                  {[]rounds.Op{unknown(2, 0), read(1, 20, 30), write(3, 40, 50), read(3, 60, 70)}, nil, true},
		"unknown, seen and gone again":             {[]rounds.Op{unknown(2, 0), read(2, 20, 30), read(1, 40, 50)}, nil, false},
		"unknown, seen before it was sent":         {[]rounds.Op{read(2, 0, 10), unknown(2, 20)}, nil, false},
		"a fork loses nothing":                     {[]rounds.Op{write(2, 110, 120), read(2, 310, 320)}, fork, true},
		"a fork loses the last write":              {[]rounds.Op{write(2, 50, 60), write(3, 110, 120), read(2, 310, 320)}, fork, true},
		"a fork loses the last two":                {[]rounds.Op{write(2, 50, 60), write(3, 110, 120), write(4, 130, 140), read(2, 310, 320)}, fork, true},
		"a fork loses what was seen":               {[]rounds.Op{write(2, 50, 60), write(3, 110, 120), read(3, 130, 140), read(2, 310, 320), write(5, 330, 340), read(5, 350, 360)}, fork, true},
		"a fork loses a seen one of no outcome":    {[]rounds.Op{write(2, 50, 60), unknown(3, 110), read(3, 130, 140), read(2, 310, 320)}, fork, true},
		"a fork loses what the statement does not": {[]rounds.Op{write(2, 50, 60), write(3, 70, 80), write(4, 110, 120), read(2, 310, 320)}, fork, false},
		"a fork loses one in the middle":           {[]rounds.Op{write(2, 50, 60), write(3, 110, 120), read(2, 310, 320), read(3, 330, 340)}, fork, false},
		"a fork loses what came after it":          {[]rounds.Op{write(2, 110, 120), write(3, 310, 320), read(2, 330, 340)}, fork, false},
		"a fork loses before it":                   {[]rounds.Op{write(2, 110, 120), read(1, 130, 140), read(2, 141, 145), read(2, 310, 320)}, fork, false},
		"what was lost comes back":                 {[]rounds.Op{write(2, 110, 120), read(1, 310, 320), read(2, 330, 340)}, fork, false},
		"nothing is known, all may be lost":        {[]rounds.Op{write(2, 10, 20), read(1, 310, 320)}, &rounds.Fork{From: when(150), To: when(300)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := rounds.Check(1, c.ops, c.fork); (got.Wrong == "") != c.ok {
				t.Errorf("wrong: %q, want ok %t", got.Wrong, c.ok)
			}
		})
	}
}

// simulated makes the history of a true register with several clients, some of whom hear no answer. Behind a fork
// it goes on with the value that it had at one of the writes that may be lost.
func simulated(rnd *rand.Rand, forked bool) (ops []rounds.Op, fork *rounds.Fork) {
	const clients, n = 4, 400
	type effect struct {
		at    int
		op    int
		write bool
	}

	var all []effect

	for c := range clients {
		at := rnd.IntN(10)
		for range n / clients {
			o := rounds.Op{Client: c, Write: rnd.IntN(2) == 0, Call: when(at)}
			length := 2 + rnd.IntN(20)
			all = append(all, effect{at + 1 + rnd.IntN(length-1), len(ops), o.Write})
			at += length
			o.Return = when(at)
			ops = append(ops, o)
			at += 1 + rnd.IntN(10)
		}
	}

	slices.SortStableFunc(all, func(a, b effect) int { return a.at - b.at })

	v, next := int64(1), int64(1)
	past := []int64{1}
	half := len(all) / 2

	for i, e := range all {
		if forked && i == half {
			v = past[max(0, len(past)-1-rnd.IntN(20))]
			fork = &rounds.Fork{From: when(e.at - 1), To: when(e.at)}
		}

		if e.write {
			next++
			v = next
			past = append(past, v)
			ops[e.op].Value = v

			if rnd.IntN(20) == 0 {
				ops[e.op].Return = time.Time{}
			}
		} else {
			ops[e.op].Value = v
		}
	}

	return ops, fork
}

// TestTrueHistoriesPass and one changed value does not.
func TestTrueHistoriesPass(t *testing.T) {
	t.Parallel()

	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		ops, fork := simulated(rnd, seed%2 == 0)

		if j := rounds.Check(1, ops, fork); j.Wrong != "" {
			t.Fatalf("seed %d: %s", seed, j.Wrong)
		}

		// The last read of what an earlier client wrote long before is no register's.
		reads := 0
		for i := len(ops) - 1; i >= 0; i-- {
			if !ops[i].Write {
				ops[i].Value, reads = 1, i
				break
			}
		}

		if j := rounds.Check(1, ops, nil); !strings.Contains(j.Wrong, "no order explains") {
			t.Errorf("seed %d: operation %d is changed, and: %q", seed, reads, j.Wrong)
		}
	}
}
