package gameday

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"drctl/drills"
	"drctl/internal/approval"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/report/evidence"
	"drctl/targets"
)

// Standing is what the gates are held against.
type Standing struct {
	// Busy is why the group is not free for a drill, such as a recovery that runs; nil when it is.
	Busy error
	// Lab is why the servers are not those of a lab; nil when they are.
	Lab error
	// Plan is the hash of the plan; "" where none is run.
	Plan string
	// Verified is the newest run by which that plan has been shown to work.
	Verified Verified
	// Approvals are those that were given, and People those whose approvals count.
	Approvals []approval.Approval
	People    []approval.Person
	Now       time.Time
}

// Verified is a run or a drill by which a plan has been shown to work. Without one Run is "", and Why says
// why.
type Verified struct {
	Run string
	At  time.Time
	Why string
}

// needed is how many people approve a drill in production.
const needed = 2

// The gates.
const (
	GateAlone     = "alone"
	GatePlan      = "plan"
	GateBounds    = "bounds"
	GateVerified  = "plan-verified"
	GateApprovals = "two-approvals"
)

// Gates are evaluated before anything is planted, all of them. Each has to pass.
func Gates(d Definition, s Standing) []evidence.Precheck {
	gate := func(name string, passed bool, format string, args ...any) evidence.Precheck {
		return evidence.Precheck{Name: name, At: s.Now, Passed: passed, Detail: human.Clean(fmt.Sprintf(format, args...))}
	}

	out := []evidence.Precheck{gate(GateAlone, true, "no recovery of %s runs, and no other drill has planted anything", d.Group)}
	if s.Busy != nil {
		out[0] = gate(GateAlone, false, "%s", fail.Cause(s.Busy))
	}

	if s.Lab == nil {
		const lab = "all servers of the configuration are those of a lab"
		return append(out, gate(GateBounds, true, lab), gate(GateVerified, true, lab), gate(GateApprovals, true, lab))
	}

	if d.Permit != "" && d.Permit == d.Platform {
		out = append(out, gate(GateBounds, true, "the drill names %s", d.Platform))
	} else {
		out = append(out, gate(GateBounds, false, "the servers are no lab's (%s), and the drill does not say: production: %s", fail.Cause(s.Lab), d.Platform))
	}

	switch {
	case !d.Runs():
		out = append(out, gate(GateVerified, true, "no plan is run"))
	case s.Verified.Run == "":
		out = append(out, gate(GateVerified, false, "the plan %.12s is not verified: %s", s.Plan, cmp.Or(s.Verified.Why, "nothing has run")))
	default:
		out = append(out, gate(GateVerified, true, "%s has shown at %s that the plan works", s.Verified.Run, s.Verified.At.UTC().Format(time.RFC3339)))
	}

	if len(s.People) < needed {
		return append(out, gate(GateApprovals, false, "recovery.%s.approvers names %s, two have to approve", d.Group, human.Plural(len(s.People), "person")))
	}

	err := approval.Check(approval.Rule{Need: needed, Of: s.People}, d.Subject(s.Plan), s.Approvals, s.Now)
	if err != nil {
		return append(out, gate(GateApprovals, false, "%s", fail.Cause(err)))
	}

	return append(out, gate(GateApprovals, true, "two people have approved the drill %.12s and the plan %.12s", d.Hash(), s.Plan))
}

// Approvers are the people whose approvals of a drill and its plan count.
func Approvers(d Definition, s Standing) []string {
	return approval.Counted(approval.Rule{Need: needed, Of: s.People}, d.Subject(s.Plan), s.Approvals, s.Now)
}

// Shut are the gates that did not pass.
func Shut(gates []evidence.Precheck) (out []evidence.Precheck) {
	for _, g := range gates {
		if !g.Passed {
			out = append(out, g)
		}
	}

	return out
}

// Planted is what became of a fault.
type Planted struct {
	Fault    Fault     `json:"fault"`
	Intended time.Time `json:"intended,omitzero"`
	Planted  time.Time `json:"planted,omitzero"`
	Removed  time.Time `json:"removed,omitzero"`
	// Heard is when the engine knew that it was planted, by the engine's clock.
	Heard time.Time `json:"heard,omitzero"`
	Words string    `json:"words,omitempty"`
	// Why says why it was taken away, and Over by what it was seen then that it had ended by itself.
	Why  string `json:"why,omitempty"`
	Over string `json:"over,omitempty"`
	// Error is why it was not planted, and Left what is left of it.
	Error string `json:"error,omitempty"`
	Left  string `json:"left,omitempty"`
	// Stays is what nobody may take away: a killed server whose group has moved.
	Stays string `json:"stays,omitempty"`
}

// Why a drill takes a fault away: it is over, or the fault's own time is up.
const (
	DrillOver = "the drill is over"
	TimeUp    = "its time was up"
)

// early says that somebody else than its drill took a fault away, or before its time.
func (p Planted) early() bool {
	return !p.Removed.IsZero() && p.Why != "" && p.Why != DrillOver && (p.Why != TimeUp || p.Fault.For <= 0)
}

// at is when it was planted; by the engine's clock where that of the host is ahead of it.
func (p Planted) at() time.Time {
	if !p.Heard.IsZero() && p.Heard.Before(p.Planted) {
		return p.Heard
	}

	return p.Planted
}

// What an answer was asked for.
const (
	RedQuiet   = "red-quiet" // before anything was planted
	RedWentOff = "red"
	Expected   = "expect"
	Stopped    = "stop"
)

// Answered is a check with its answer.
type Answered struct {
	Kind  string `json:"kind"`
	Check Check  `json:"check"`
	Answer
	// Heard is when the engine knew it, by the engine's clock.
	Heard time.Time `json:"heard,omitzero"`
}

// at is when it was answered, by the engine's clock where that is known.
func (a Answered) at() time.Time {
	if !a.Heard.IsZero() && !a.Check.OfRun() {
		return a.Heard
	}

	return a.At
}

// Met reports whether it was as the drill wants it.
func (a Answered) Met() bool {
	if a.Error != "" {
		return false
	}

	switch a.Kind {
	case RedQuiet, Stopped:
		return !a.So
	case RedWentOff:
		return a.So
	}

	return a.So != a.Check.Not
}

// Seen is everything that a game day did, as its workflow saw it.
type Seen struct {
	Drill   Definition `json:"drill"`
	Run     string     `json:"run"`
	By      string     `json:"by"`
	Trigger string     `json:"trigger"`
	Plan    string     `json:"plan,omitempty"` // hash
	// Approved are who has approved.
	Approved  []string            `json:"approved,omitempty"`
	Gates     []evidence.Precheck `json:"gates"`
	Planted   []Planted           `json:"planted,omitempty"`
	Answers   []Answered          `json:"answers,omitempty"`
	Recovered *Recovered          `json:"recovered,omitempty"`
	// Errors ended the drill as a whole.
	Errors []string `json:"errors,omitempty"`
	// Untold says that people were not told.
	Untold    []string  `json:"untold,omitempty"`
	Cancelled bool      `json:"cancelled,omitempty"`
	Started   time.Time `json:"started"`
	// Ended is when the recovery and all faults were over, Finished when all was asked.
	Ended    time.Time `json:"ended"`
	Finished time.Time `json:"finished"`
}

// findings are everything that was compared.
func (s Seen) findings() (out []targets.Finding) {
	add := func(ok bool, check, subject, want, got, detail string) {
		sev := targets.Failed
		if ok {
			sev = targets.Passed
		}
		out = append(out, targets.Finding{Check: check, Subject: subject, Severity: sev, Expected: want, Got: human.Clean(got), Detail: human.Clean(detail)})
	}

	for _, g := range Shut(s.Gates) {
		add(false, "gate "+g.Name, s.Drill.Name, "passed", "not passed: nothing was planted", g.Detail)
	}

	for _, p := range s.Planted {
		got := "planted at " + p.Planted.UTC().Format(time.RFC3339Nano)
		if p.Planted.IsZero() {
			got = "not planted"
		}

		add(!p.Planted.IsZero() && p.Error == "", "planted", p.Fault.Words(), "planted", got, cmp.Or(p.Error, p.Words))

		out = append(out, s.takenAway(p)...)
	}

	for _, a := range s.Answers {
		got := map[bool]string{true: "it is so", false: "it is not so"}[a.So]
		if a.Error != "" {
			got = "it could not be asked: " + a.Error
		}

		name, want := "expected", "it is so"
		switch a.Kind {
		case RedQuiet:
			name, want = "red: quiet before", "it is not so"
		case RedWentOff:
			name, want = "red: goes off", "it is so within "+human.Duration(a.Check.Within)

			if a.So && a.Error == "" && s.gone(a.At) {
				add(false, "red: goes off while something is planted", a.Check.Words(), "it is so while something is planted", "it went off when nothing was planted any more", a.Words)
			}
		case Stopped:
			name, want = "no reason to stop", "it is not so"
		}

		if a.Kind == Expected && a.Check.Not {
			want = "it is not so"
		}

		add(a.Met(), name, a.Check.Words(), want, got, a.Words)
	}

	out = append(out, s.ran()...)

	for _, u := range s.Untold {
		out = append(out, targets.Finding{Check: "people were told", Subject: s.Drill.Name, Severity: targets.Warned, Detail: human.Clean(u)})
	}

	return out
}

// takenAway says what became of a fault in the end.
func (s Seen) takenAway(p Planted) (out []targets.Finding) {
	add := func(sev targets.Severity, check, want, got, detail string) {
		out = append(out, targets.Finding{Check: check, Subject: p.Fault.Words(), Severity: sev, Expected: want, Got: human.Clean(got), Detail: human.Clean(detail)})
	}

	if p.Intended.IsZero() && p.Planted.IsZero() {
		return nil
	}

	switch {
	case p.Left != "" || p.Removed.IsZero():
		add(targets.Failed, "taken away", "nothing left", "left over", cmp.Or(p.Left, "nobody has said that it is gone"))
	case p.Stays != "":
		add(targets.Warned, "taken away", "nothing left", "it stays down", p.Stays)
	default:
		add(targets.Passed, "taken away", "nothing left", "gone at "+p.Removed.UTC().Format(time.RFC3339Nano), "")
	}

	if p.early() {
		add(targets.Failed, "planted to the end", "it ends with the drill or when its time is up", "it was taken away before", p.Why)
	}

	if p.Over != "" {
		sev := targets.Failed
		if s.Drill.Runs() { // a recovery ends what it fences, and starts what it brings back
			sev = targets.Warned
		}

		add(sev, "planted to the end", "it is there until it is taken away", "it had ended by itself", p.Over)
	}

	return out
}

// gone reports whether at an instant all faults that were planted had been taken away.
func (s Seen) gone(at time.Time) bool {
	n := 0

	for _, p := range s.Planted {
		if p.Planted.IsZero() {
			continue
		}

		if n++; p.Removed.IsZero() || !at.After(p.Removed) {
			return false
		}
	}

	return n > 0
}

// ran says whether recovery and drill came to their end.
func (s Seen) ran() (out []targets.Finding) {
	failed := func(check, detail string) {
		out = append(out, targets.Finding{Check: check, Subject: s.Drill.Name, Severity: targets.Failed, Detail: human.Clean(detail)})
	}

	if s.Drill.Runs() && len(Shut(s.Gates)) == 0 {
		asked := false
		for _, c := range s.Drill.Expect {
			asked = asked || c.Verdict != ""
		}

		switch {
		case s.Recovered == nil:
			failed("the recovery ended", "it did not")
		case !asked && s.Recovered.Verdict != "reached":
			failed("the recovery ended", "it is "+s.Recovered.Verdict)
		}
	}

	if len(Shut(s.Gates)) == 0 {
		for _, x := range s.missing() {
			failed("everything was done", x)
		}
	}

	if s.Cancelled {
		failed(drills.RanToItsEnd, drills.CancelledText)
	}

	for _, e := range s.Errors {
		failed(drills.RanToItsEnd, e)
	}

	return out
}

// missing are faults that were not planted, and checks that were not asked: a drill that ended
// early has not passed.
func (s Seen) missing() (out []string) {
	for _, f := range s.Drill.Faults {
		if !slices.ContainsFunc(s.Planted, func(p Planted) bool { return p.Fault.ID == f.ID }) {
			out = append(out, "it was never planted: "+f.Words())
		}
	}

	count := func(kind string) (n int) {
		for _, a := range s.Answers {
			if a.Kind == kind {
				n++
			}
		}

		return n
	}

	if s.Drill.Red != nil && count(RedQuiet) == 0 {
		out = append(out, "it was never asked before anything was planted: "+s.Drill.Red.Words())
	}

	if s.Drill.Red != nil && count(RedWentOff) == 0 {
		out = append(out, "it was never asked: "+s.Drill.Red.Words())
	}

	if n := len(s.Drill.Expect) - count(Expected); n > 0 {
		out = append(out, human.Plural(n, "expectation")+" never asked")
	}

	return out
}

// verdict sums findings up. ended says that the recovery reached its end: then its objectives have to be measured.
func verdict(fs []targets.Finding, d Definition, m evidence.Measured, ended bool) evidence.Verdict {
	v := evidence.Verdict{}

	for _, f := range fs {
		text := f.Check + ": " + f.Subject
		if f.Got != "" {
			text += ": " + f.Got
		}

		if f.Detail != "" {
			text += " (" + f.Detail + ")"
		}

		switch f.Severity {
		case targets.Failed:
			v.Failures = append(v.Failures, text)
		case targets.Warned:
			v.Warnings = append(v.Warnings, text)
		}
	}

	if d.Runs() {
		for _, x := range []struct {
			name string
			got  evidence.Span
			want time.Duration
		}{{"RTO", m.RTO, d.Objectives.RTO}, {"RPO", m.RPO, d.Objectives.RPO}} {
			got, ok := x.got.Get()

			switch {
			case x.want <= 0:
			case !ok && ended: // it was to be met
				v.Failures = append(v.Failures, fmt.Sprintf("%s was not measured: %s", x.name, x.got.Reason()))
			case !ok:
				v.Warnings = append(v.Warnings, fmt.Sprintf("%s was not measured: %s", x.name, x.got.Reason()))
			case got > x.want:
				v.Failures = append(v.Failures, fmt.Sprintf("%s was %s, the objective is %s", x.name, human.Duration(got), human.Duration(x.want)))
			}
		}
	}
	v.Passed = len(v.Failures) == 0

	return v
}
