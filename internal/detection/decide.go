package detection

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Facts are what a decision rests on, all of it read just now.
type Facts struct {
	Verdict Verdict
	// Automatic says that the policy lets a failover begin without people.
	Automatic bool
	// Orders says that a majority of the voters has told what people have ordered. Off and
	// Acknowledged are those orders in words; "" is none.
	Orders            bool
	Off, Acknowledged string
	// Runs says that it is known which recoveries there are. Open is one of the group that
	// has begun and not ended, "" is none, and Moved is when the last one began.
	Runs  bool
	Open  string
	Moved time.Time
	Now   time.Time
	// Block is for how long after a recovery has begun nothing begins by itself.
	Block time.Duration
	// Witness says that there are voters enough, Holder is the region of the present epoch,
	// Contested that a claim is being made, and Used that a failover has begun by itself in
	// this epoch already.
	Witness         bool
	Holder          string
	Contested, Used bool
	// Needed are the servers whose silence has to be shown, Covered those for which a guard
	// has answered in the present epoch, and Hook says that a program shows it for all.
	Needed, Covered []string
	Hook            bool
}

// Decide reports whether a failover is to begin now. why names every condition that does not
// hold, in words; it is empty when it is to begin.
func Decide(f Facts) (why []string) { return decide(f, "") }

// decide leaves one condition out, for tests.
func decide(f Facts, omit string) (why []string) {
	need := func(name string, ok bool, format string, args ...any) {
		if !ok && name != omit {
			why = append(why, fmt.Sprintf(format, args...))
		}
	}

	need("lost", f.Verdict.State == Lost, "the region is %s, not lost", f.Verdict.State)
	need("automatic", f.Automatic, "people decide: the policy is not automatic")
	need("orders", f.Orders, "what people have ordered cannot be read from a majority of the voters")
	need("off", f.Off == "", "it is switched off: %s", f.Off)
	need("acknowledged", f.Acknowledged == "", "somebody has taken it in hand: %s", f.Acknowledged)
	need("runs", f.Runs, "it cannot be read which recoveries have begun")
	need("open", f.Open == "", "recovery %s of the group has not ended", f.Open)

	// One of the future is recent too: its clock, or this one, is off.
	recent := !f.Moved.IsZero() && f.Now.Sub(f.Moved) < f.Block
	need("moved", !recent, "a recovery began at %s, and for %s after one nothing begins by itself", f.Moved.UTC().Format(time.RFC3339), f.Block)

	need("witness", f.Witness, "there is no witness: nothing would keep another engine from a recovery at the same time")
	need("holder", f.Holder == f.Verdict.Region, "the epoch is %s's", orNobody(f.Holder))
	need("contested", !f.Contested, "somebody is claiming the group's next epoch")
	need("used", !f.Used, "a failover has begun by itself in this epoch already")

	var open []string
	for _, s := range f.Needed {
		if !slices.Contains(f.Covered, s) {
			open = append(open, s)
		}
	}

	need("proof", f.Hook || len(open) == 0 && len(f.Needed) > 0, "no guard has answered for %s in this epoch, and no program is named that could show its silence", strings.Join(open, ", "))

	return why
}

func orNobody(region string) string {
	if region == "" {
		return "nobody"
	}

	return region
}
