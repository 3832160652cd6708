package regional_test

import (
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	"drctl/internal/lab/rounds"
	"drctl/internal/lab/shop"
	"drctl/internal/lab/shop/journal"
	"drctl/restore/machine"
	"drctl/targets"
)

var (
	operation = regexp.MustCompile("[0-9a-f]{8}-[0-9a-f-]{27}")
	cartAt    = regexp.MustCompile("cart:([0-9]+) .*it is at change ([0-9]+), and change ([0-9]+) was acknowledged")
)

// mayBeLost are the violations that are not of what a failover may have lost: every acknowledged operation that
// is gone was acknowledged behind the instant until when, by the statement of loss, nothing is lost, and before the failover
// had ended. What was lost once stays forgiven.
func (a *arena) mayBeLost(all []shop.Violation, forks map[targets.ShardID]*rounds.Fork) (wrong []shop.Violation) {
	may := func(r *shop.Record, id targets.ShardID) bool {
		f, at := forks[id], time.Unix(0, r.Acked())
		return f != nil && at.After(f.Since) && at.Before(f.To)
	}

	names, lost := make([][]string, len(all)), map[string]targets.ShardID{}
	for i, v := range all {
		var of targets.ShardID
		names[i], of = gone(v)

		for _, name := range names[i] {
			if !a.forgiven[name] {
				lost[name] = of
			}
		}
	}

	if len(lost) > 0 {
		for r, err := range journal.Read(a.journal) {
			if err != nil {
				a.Fatal(err)
			}

			for _, name := range []string{r.ID, change(int64(r.Cart), int64(r.Seq))} {
				if id, ok := lost[name]; ok && (r.Acked() == 0 || may(&r, id)) {
					a.forgiven[name] = true
				}
			}
		}
	}

	for i, v := range all {
		if len(names[i]) == 0 || slices.ContainsFunc(names[i], func(name string) bool { return !a.forgiven[name] }) {
			wrong = append(wrong, v)
		}
	}

	return wrong
}

func change(cart, n int64) string { return fmt.Sprintf("cart %d change %d", cart, n) }

// gone names what a violation says is gone; none when it says something else.
func gone(v shop.Violation) (names []string, of targets.ShardID) {
	switch v.Rule {
	case shop.RuleAcked, shop.RuleGrade:
		if id := operation.FindString(v.Subject); id != "" {
			return []string{id}, orders
		}
	case shop.RuleCarts:
		m := cartAt.FindStringSubmatch(v.Subject + " " + v.Detail)
		if m == nil {
			return nil, carts
		}

		var cart, is, was int64

		_, _ = fmt.Sscan(m[1]+" "+m[2]+" "+m[3], &cart, &is, &was)
		for n := is + 1; n <= was; n++ {
			names = append(names, change(cart, n))
		}
	}

	return names, carts
}

// tally counts what all rounds showed.
type tally struct {
	*testing.T
	rounds, planted, asks, ops, unknown, asked, compared int
	verdicts                                             map[machine.Verdict]int
	faults                                               map[string]int
	places                                               map[string]int
	gap, longest                                         time.Duration
}

func newTally(t *testing.T) *tally {
	return &tally{T: t, verdicts: map[machine.Verdict]int{}, faults: map[string]int{}, places: map[string]int{}}
}

func (c *tally) add(name string, x *round, took time.Duration) {
	c.rounds++
	c.asks += x.asks
	c.verdicts[x.out.Verdict]++
	c.longest = max(c.longest, took)

	if x.at != "" {
		c.planted++
		c.faults[name]++
		c.places[x.at]++
	}
}

func (c *tally) watched(s rounds.Seen) {
	c.asked += s.Asked
	c.gap = max(c.gap, s.Gap)
}

func (c *tally) checked(j rounds.Judgement) {
	c.ops += j.Reads + j.Writes
	c.unknown += j.Unknown
}

func (c *tally) journaled(rep shop.Report) { c.compared = int(rep.Checked[shop.RuleAcked]) }

func (c *tally) say() {
	c.Logf("%d rounds, %d with a fault in the middle, ended %v, longest %s, %d questions answered", c.rounds, c.planted, c.verdicts, c.longest.Round(time.Second), c.asks)
	c.Logf("servers were asked %d times, longest time between two questions %s; %d operations on registers, %d of unknown outcome; %d operations in the journal at the end", c.asked, c.gap.Round(time.Millisecond), c.ops, c.unknown, c.compared)
	c.Logf("faults: %v", c.faults)
	c.Logf("places: %v", c.places)
}
