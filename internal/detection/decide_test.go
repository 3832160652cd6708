package detection

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// ready are facts by which a failover begins.
func ready() Facts {
	return Facts{Verdict: Verdict{Region: "east", State: Lost}, Automatic: true, Orders: true, Runs: true, Now: base, Moved: base.Add(-time.Hour), Block: 10 * time.Minute,
		Witness: true, Holder: "east", Needed: []string{"orders/0@east"}, Covered: []string{"carts/0@east", "orders/0@east"}}
}

// conditions are what can be missing, each with words that have to be among the reasons.
var conditions = []struct {
	name, words string
	spoil       func(*Facts)
}{
	{"lost", "not lost", func(f *Facts) { f.Verdict.State = Suspected }},
	{"automatic", "people decide", func(f *Facts) { f.Automatic = false }},
	{"orders", "cannot be read", func(f *Facts) { f.Orders = false }},
	{"off", "switched off", func(f *Facts) { f.Off = "ann: maintenance" }},
	{"acknowledged", "in hand", func(f *Facts) { f.Acknowledged = "ann: I look at it" }},
	{"runs", "which recoveries", func(f *Facts) { f.Runs = false }},
	{"open", "has not ended", func(f *Facts) { f.Open = "r1" }},
	{"moved", "nothing begins by itself", func(f *Facts) { f.Moved = base.Add(-time.Minute) }},
	{"moved", "nothing begins by itself", func(f *Facts) { f.Moved = base.Add(time.Minute) }},
	{"witness", "no witness", func(f *Facts) { f.Witness = false }},
	{"holder", "the epoch is west's", func(f *Facts) { f.Holder = "west" }},
	{"contested", "is claiming", func(f *Facts) { f.Contested = true }},
	{"used", "already", func(f *Facts) { f.Used = true }},
	{"proof", "no guard has answered for orders/0@east", func(f *Facts) { f.Covered = nil }},
	{"proof", "no guard has answered", func(f *Facts) { f.Needed = nil }},
}

// TestDecide: each condition alone keeps a failover from beginning by itself, and each is
// needed for that.
func TestDecide(t *testing.T) {
	if why := Decide(ready()); len(why) > 0 {
		t.Fatalf("nothing speaks against it: %v", why)
	}

	for _, c := range conditions {
		f := ready()
		c.spoil(&f)

		if why := strings.Join(Decide(f), "; "); !strings.Contains(why, c.words) {
			t.Errorf("%s: %q", c.name, why)
		}

		if why := decide(f, c.name); len(why) > 0 {
			t.Errorf("%s is not the one: %v", c.name, why)
		}
	}

	f := ready()
	f.Covered, f.Hook = nil, true

	if why := Decide(f); len(why) > 0 {
		t.Errorf("a program shows the silence: %v", why)
	}
}

// TestDecideAnyHow: whatever comes together, one thing that is missing is enough.
func TestDecideAnyHow(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))

	for range 10000 {
		f, spoiled := ready(), 0

		for _, c := range conditions {
			if rnd.IntN(8) == 0 {
				c.spoil(&f)

				spoiled++
			}
		}

		if why := Decide(f); (len(why) == 0) != (spoiled == 0) {
			t.Fatalf("%d things are missing: %v", spoiled, why)
		}
	}
}
