package gameday

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"drctl/internal/human"
	"drctl/restore/losses"
)

// Check is a question that is so or is not. Exactly one thing is asked.
type Check struct {
	Problem   string   `json:"problem,omitempty"`
	On        string   `json:"on,omitempty"`
	Lint      string   `json:"lint,omitempty"`
	Verify    string   `json:"verify,omitempty"`
	Prove     string   `json:"prove,omitempty"`
	Detection string   `json:"detection,omitempty"`
	Exec      []string `json:"exec,omitempty"`

	Verdict string        `json:"verdict,omitempty"`
	Step    string        `json:"step,omitempty"`
	Status  string        `json:"status,omitempty"`
	Says    string        `json:"says,omitempty"`
	Loss    string        `json:"loss,omitempty"`
	Outage  time.Duration `json:"outage_ns,omitempty"`

	Not    bool          `json:"not,omitempty"`
	After  bool          `json:"after,omitempty"`
	Within time.Duration `json:"within_ns,omitempty"`
}

// OfRun reports whether the recovery's own journal is asked.
func (c Check) OfRun() bool {
	return c.Verdict != "" || c.Step != "" || c.Loss != "" || c.Outage > 0
}

// Late reports whether it is asked when everything planted was taken away.
func (c Check) Late() bool { return c.After || c.Not || c.OfRun() }

// Words say what is asked.
func (c Check) Words() string {
	var s string

	switch {
	case c.Problem != "":
		s = "status shows " + c.Problem
		if c.On != "" {
			s += " of " + c.On
		}
	case c.Lint != "":
		s = fmt.Sprintf("the lint of the plan says %q", c.Lint)
	case c.Verify != "":
		s = "a check of the vault of " + c.Verify + " finds something"
	case c.Prove != "":
		s = "the newest cut in the vault of " + c.Prove + " is not proven"
	case c.Detection != "":
		s = c.On + " is " + c.Detection + " as a vantage point sees it"
	case len(c.Exec) > 0:
		s = strings.Join(c.Exec, " ") + " succeeds"
	case c.Verdict != "":
		s = "the recovery is " + c.Verdict
	case c.Step != "":
		s = c.Step + " is " + cmp.Or(c.Status, "done")
		if c.Says != "" {
			s += fmt.Sprintf(" and says %q", c.Says)
		}
	case c.Loss != "":
		s = "loss: " + c.Loss
	case c.Outage > 0:
		s = "no write was possible for at most " + human.Duration(c.Outage)
	}

	if c.Not {
		s = "not so: " + s
	}

	return s
}

// Answer is what came of a question.
type Answer struct {
	// So says that it was so: Check.Not is not taken into account.
	So    bool      `json:"so"`
	At    time.Time `json:"at,omitzero"`
	Words string    `json:"words,omitempty"`
	// Error is why it could not be asked.
	Error string `json:"error,omitempty"`
}

// Recovered is what is read of how a recovery ended.
type Recovered struct {
	Run      string            `json:"run"`
	Mode     string            `json:"mode"`
	From     string            `json:"from"`
	To       string            `json:"to"`
	Plan     string            `json:"plan"`
	Epoch    uint64            `json:"epoch"`
	Verdict  string            `json:"verdict"`
	Started  time.Time         `json:"started"`
	Finished time.Time         `json:"finished"`
	Steps    []Step            `json:"steps"`
	Loss     *losses.Statement `json:"loss,omitempty"`
}

// Step is one of its steps, or a section with those inside.
type Step struct {
	ID       string    `json:"id"`
	Op       string    `json:"op,omitempty"`
	Status   string    `json:"status"`
	Error    string    `json:"error,omitempty"`
	Said     string    `json:"said,omitempty"`
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	Inside   []Inside  `json:"inside,omitempty"`
}

// Inside is a step of a section.
type Inside struct {
	ID     string        `json:"id"`
	Status string        `json:"status"`
	Error  string        `json:"error,omitempty"`
	Took   time.Duration `json:"took_ns,omitempty"`
	At     time.Duration `json:"at_ns,omitempty"`
}

// all are the steps with those inside of sections, each with when it began and ended.
func (r *Recovered) all() (out []Step) {
	for _, s := range r.Steps {
		out = append(out, s)

		for _, x := range s.Inside {
			in := Step{ID: x.ID, Status: x.Status, Error: x.Error}
			if x.At > 0 && !s.Started.IsZero() {
				in.Started, in.Finished = s.Started.Add(max(0, x.At-x.Took)), s.Started.Add(x.At)
			}
			out = append(out, in)
		}
	}

	return out
}

// ask answers a check of a recovery's journal, but for that of the outage.
func (r *Recovered) ask(c Check) Answer {
	if r == nil {
		return Answer{Error: "no recovery has ended"}
	}
	a := Answer{At: r.Finished}

	switch {
	case c.Verdict != "":
		a.So, a.Words = r.Verdict == c.Verdict, "the recovery is "+r.Verdict
	case c.Loss != "":
		a.So, a.Words = r.lost(c.Loss)
	default:
		a.So, a.Words = r.steps(c)
	}

	return a
}

func (r *Recovered) steps(c Check) (so bool, words string) {
	n := 0

	for _, s := range r.all() {
		if !Matches(c.Step, s.ID) {
			continue
		}

		n++

		if want := cmp.Or(c.Status, "done"); s.Status != want {
			return false, fmt.Sprintf("%s is %s: %s", s.ID, cmp.Or(s.Status, "waiting"), s.Error)
		}

		if said := s.Said + " " + s.Error; !strings.Contains(said, c.Says) {
			return false, s.ID + " says: " + strings.TrimSpace(said)
		}
	}

	return n > 0, human.Plural(n, "step")
}

func (r *Recovered) lost(want string) (so bool, words string) {
	if r.Loss == nil {
		return want == "nothing" && r.Mode != "failover" && r.Verdict == "reached", "no statement of loss"
	}

	for _, s := range r.Loss.Shards {
		if s.Verdict == losses.Nothing || want == "known" && s.Verdict == losses.Lost {
			continue
		}

		return false, s.Shard.String() + ": " + string(s.Verdict)
	}

	return len(r.Loss.Shards) > 0, human.Plural(len(r.Loss.Shards), "shard")
}
