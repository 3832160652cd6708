package judge

import "time"

// Grade is how much is claimed of a cut.
type Grade string

// The grades, by the names that cuts carry.
const (
	Proven  Grade = "proven"
	Locked  Grade = "locked"
	Ordered Grade = "ordered"
	// Barrier is a cut by table locks alone, without a proof: it is judged by its span,
	// by what moved between locked tables, and not by causes.
	Barrier Grade = ""
)

// Action is what recovery does with a transaction in doubt.
type Action string

// The actions. What is not named is left.
const (
	Commit   Action = "commit"
	RollBack Action = "roll-back"
	Leave    Action = "leave"
)

// Doubtful names a prepared transaction.
type Doubtful struct {
	Shard int
	GID   string
}

// Span is a time in nanoseconds of the journal's wall clock.
type Span struct{ Since, Until int64 }

// At is the span around an instant that is known to so much on either side.
func At(t time.Time, within time.Duration) Span {
	return Span{t.Add(-within).UnixNano(), t.Add(within).UnixNano()}
}

// Claim is what is said of a cut.
type Claim struct {
	Grade Grade
	// Whatever was acknowledged before Since is in the cut, and nothing whose commit
	// was sent after Until. They are the ends of what is known of its instant, or of the time
	// in which locks were held.
	Span
	// Masters has a span for each Redis master, its marker's; none means that Span
	// holds for them too.
	Masters []Span
	// Tagged, TwoPhase, Gated: by which of them global transactions are whole in a
	// proven cut. None means that all are.
	Tagged, TwoPhase, Gated bool
	// Limit is how long a global transaction has to be half done to be broken, Broken are
	// the ids of those that the cut calls so.
	Limit  time.Duration
	Broken []string
	// Complete is since when the cut says that it lists all; 0 means always. One that was half done
	// before need not be listed.
	Complete int64
	// Actions are what recovery does, or has done, with what is in doubt.
	Actions map[Doubtful]Action
}

func (c *Claim) span(redis bool, shard int) Span {
	if redis && shard < len(c.Masters) {
		return c.Masters[shard]
	}

	return c.Span
}
