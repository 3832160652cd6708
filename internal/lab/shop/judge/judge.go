package judge

import (
	"fmt"
	"slices"
	"time"

	"drctl/internal/lab/shop/journal"
)

// Presence is whether a step is in a cut.
type Presence uint8

// The presences.
const (
	Unknown Presence = iota
	Out
	Prepared // its transaction is in doubt
	In
)

// State says of the n-th step of an operation whether its effects are there.
type State func(op *journal.Record, n int) Presence

// What a fault is about.
const (
	Missing  = "missing"  // acknowledged before the cut, and not there
	Later    = "later"    // sent after the cut, and there
	Never    = "never"    // never committed, and there
	Cause    = "cause"    // it is there, and what its client had seen before is not
	Half     = "half"     // a global transaction is there in part
	Sound    = "sound"    // it is called broken, and was not
	Doubt    = "doubt"    // what is in doubt is not resolved by the rule
	Compared = "compared" // nothing was compared
)

// Fault is one thing that is not as the grade promises.
type Fault struct {
	About   string `json:"about"`
	Subject string `json:"subject"`
	Detail  string `json:"detail"`
}

// maxFaults bounds the faults that a verdict lists.
const maxFaults = 50

// Verdict is what was found.
type Verdict struct {
	Faults []Fault `json:"faults,omitempty"` // the first 50
	Total  int     `json:"total"`
	// What was compared: steps by the instant, causes, global transactions
	// that had to be whole, and transactions in doubt.
	Steps  int `json:"steps"`
	Causes int `json:"causes"`
	Whole  int `json:"whole"`
	Doubts int `json:"doubts"`
	// Unknown counts steps of which the state says nothing.
	Unknown int `json:"unknown"`
	// Broken are those that the cut lists and that are there in part; Left are in
	// doubt and left so.
	Broken []string `json:"broken,omitempty"`
	Left   int      `json:"left,omitempty"`
}

// OK says that something was compared and nothing is at fault.
func (v *Verdict) OK() bool { return v.Total == 0 }

// About counts the listed faults of a kind.
func (v *Verdict) About(kind string) (n int) {
	for _, f := range v.Faults {
		if f.About == kind {
			n++
		}
	}

	return n
}

func (v *Verdict) fault(about string, subject fmt.Stringer, format string, args ...any) {
	if v.Total++; len(v.Faults) < maxFaults {
		v.Faults = append(v.Faults, Fault{about, subject.String(), fmt.Sprintf(format, args...)})
	}
}

type text string

func (t text) String() string { return string(t) }

// Judge holds a cut's claims against what is in it and what its clients know.
func Judge(h *History, state State, c Claim) Verdict {
	j := &judgement{History: h, c: &c, is: make([]Presence, len(h.steps))}
	for i := range h.steps {
		j.is[i] = state(h.steps[i].op, h.steps[i].n)
	}

	at := 0
	for _, op := range h.ops {
		is := j.is[at : at+len(op.Steps)]
		j.resolve(op, is)
		j.whole(op, is)
		at += len(op.Steps)
	}

	for i := range h.steps {
		j.inTime(i)
		j.closed(i)
	}

	for _, id := range c.Broken {
		if !slices.Contains(j.listed, id) {
			j.v.fault(Sound, text(id), "it is called broken, and no journal has it")
		}
	}

	if j.v.Steps == 0 {
		j.v.fault(Compared, text("the journal"), "it holds nothing that was acknowledged before the cut")
	}

	return j.v
}

type judgement struct {
	*History
	c      *Claim
	is     []Presence
	listed []string // broken ones that the journal has
	v      Verdict
}

// resolve decides what is in doubt as recovery does, and whether that is right: it
// is committed where another part is, and else rolled back.
func (j *judgement) resolve(op *journal.Record, is []Presence) {
	want := RollBack
	if slices.Contains(is, In) {
		want = Commit
	}
	sure := want == Commit || !slices.Contains(is, Unknown)

	for n, p := range is {
		s := op.Steps[n]
		action, claimed := j.c.Actions[Doubtful{s.Shard, s.GID}]
		claimed = claimed && s.GID != ""

		if p != Prepared {
			if claimed && (p == In || p == Out) {
				j.v.fault(Doubt, text(s.GID), "it is said to be in doubt on shard %d, and is not", s.Shard)
			}

			continue
		}

		switch {
		case !claimed || action == Leave:
			j.v.Left++
			is[n] = Out
		case action == Commit:
			is[n] = In
		default:
			is[n] = Out
		}

		if sure {
			j.v.Doubts++

			if claimed && action != Leave && action != want {
				j.v.fault(Doubt, text(s.GID), "it is in doubt on shard %d, and recovery does %q and not %q", s.Shard, action, want)
			}
		}
	}
}

// has says whether the claim's grade promises that an operation is whole.
func (j *judgement) has(op *journal.Record) bool {
	c := j.c

	switch {
	case !op.Global() || len(op.Steps) == 0:
		return false
	case c.Grade == Locked || c.Grade == Barrier: // between tables that are locked
		return op.Transfer()
	case c.Grade != Proven:
		return false
	case !c.Tagged && !c.TwoPhase && !c.Gated:
		return true
	}
	twoPhase := slices.ContainsFunc(op.Steps, func(s journal.Step) bool { return s.GID != "" })

	// A client that died between two commits let go of the gate: only a tag would tell.
	return c.Tagged && op.Tagged() || c.TwoPhase && twoPhase || c.Gated && op.Gate && !op.Broken
}

func (j *judgement) whole(op *journal.Record, is []Presence) {
	in, out := count(is, In), count(is, Out)
	half := in > 0 && (out > 0 || !finished(op))
	listed := slices.Contains(j.c.Broken, op.ID)
	subject := text("the " + op.Kind + " " + op.ID)

	if listed {
		j.listed = append(j.listed, op.ID)

		if !late(op, j.c) {
			j.v.fault(Sound, subject, "it is called broken, and was not half done for %s", j.c.Limit)
		}
	}

	if !j.has(op) || in+out == 0 {
		return
	}

	j.v.Whole++

	switch {
	case half && (listed || before(op, j.c)):
		j.v.Broken = append(j.v.Broken, op.ID)
	case half:
		j.v.fault(Half, subject, "%d of its %d local transactions are there", in, len(is))
	}
}

// before says whether an operation is broken, and was half done before the cut says that it lists all.
func before(op *journal.Record, c *Claim) bool {
	return c.Complete > 0 && late(op, c) && slices.ContainsFunc(op.Steps, func(s journal.Step) bool {
		return s.SentNS > 0 && s.SentNS < c.Complete
	})
}

func count(is []Presence, p Presence) (n int) {
	for _, q := range is {
		if q == p {
			n++
		}
	}

	return n
}

// inTime holds a step against the cut's instant.
func (j *judgement) inTime(i int) {
	s, p := &j.steps[i], j.is[i]
	if p == Unknown {
		j.v.Unknown++
		return
	}
	at := s.Step()
	span := j.c.span(at.Redis, at.Shard)

	sent := at.SentNS
	if at.GID != "" {
		sent = s.op.CommitNS // recovery commits its part when another's is committed
	}

	if sent == 0 && p == In {
		j.v.fault(Never, s, "it is there, and its commit was never sent")
		return
	}

	if s.acked > 0 && s.acked < span.Since {
		j.v.Steps++

		if p == Out {
			j.v.fault(Missing, s, "it was acknowledged %s before the cut, and is not there", time.Duration(span.Since-s.acked))
		}
	}

	if sent > span.Until && p == In {
		j.v.fault(Later, s, "its commit was sent %s after the cut, and it is there", time.Duration(sent-span.Until))
	}
}

// closed holds a step against what its client had seen.
func (j *judgement) closed(i int) {
	if j.is[i] != In || j.c.Grade == Barrier {
		return
	}

	for _, cause := range j.steps[i].saw {
		if j.is[cause] == Unknown {
			continue
		}

		j.v.Causes++

		if j.is[cause] == Out {
			j.v.fault(Cause, &j.steps[i], "it is there, and %s is not, which its client had seen", &j.steps[cause])
		}
	}
}
