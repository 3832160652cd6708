package gameday

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"drctl/drills"
	"drctl/internal/approval"
	"drctl/internal/report/evidence"
	"drctl/restore/losses"
	"drctl/targets"
)

var now = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// person is somebody with a key.
func person(t *testing.T, name string) (approval.Person, ssh.Signer) {
	t.Helper()

	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}

	return approval.Person{Name: name, Keys: []string{string(ssh.MarshalAuthorizedKey(key.PublicKey()))}}, key
}

func production() Definition {
	return Definition{Name: "loss", Platform: "shop", Group: "orders", Run: "failover", Permit: "shop", Limit: time.Minute, Vault: "west",
		Faults: []Fault{{ID: "1-stop", At: Before, Do: Stop, Shard: targets.ShardID{Target: "orders", Shard: "0"}, Region: "east"}}}
}

// Each gate refuses by itself, and only a lab's servers need none.
func TestGates(t *testing.T) {
	ann, annKey := person(t, "ann")
	bob, bobKey := person(t, "bob")
	plan := strings.Repeat("ab", 32)

	sign := func(d Definition, hash, by string, key ssh.Signer, at time.Time) approval.Approval {
		t.Helper()

		x, err := approval.Sign(approval.Approval{Subject: d.Subject(hash), By: by, At: at, Expires: at.Add(time.Hour)}, key)
		if err != nil {
			t.Fatal(err)
		}

		return x
	}

	d := production()
	two := []approval.Approval{sign(d, plan, "ann", annKey, now), sign(d, plan, "bob", bobKey, now)}
	good := Standing{Lab: errors.New("it is none"), Plan: plan, Verified: Verified{Run: "r", At: now}, Approvals: two, People: []approval.Person{ann, bob}, Now: now}

	for _, c := range []struct {
		name, shut string
		change     func(*Definition, *Standing)
	}{
		{"all is well", "", func(*Definition, *Standing) {}},
		{"a lab", "", func(d *Definition, s *Standing) { *s, d.Permit = Standing{Now: now}, "" }},
		{"a recovery runs", "alone", func(_ *Definition, s *Standing) { s.Busy = errors.New("a recovery runs") }},
		{"a recovery runs in a lab", "alone", func(d *Definition, s *Standing) {
			*s, d.Permit = Standing{Now: now, Busy: errors.New("a recovery runs")}, ""
		}},
		{"the platform is not named", "bounds two-approvals", func(d *Definition, _ *Standing) { d.Permit = "" }},
		{"another platform is named", "bounds two-approvals", func(d *Definition, _ *Standing) { d.Permit = "shop2" }},
		{"the plan never ran", "plan-verified", func(_ *Definition, s *Standing) { s.Verified = Verified{} }},
		{"nobody knows whether it did", "plan-verified", func(_ *Definition, s *Standing) { s.Verified = Verified{Why: "no vault has told"} }},
		{"no recovery is run", "two-approvals", func(d *Definition, s *Standing) { d.Run, s.Verified, s.Plan = None, Verified{}, "" }},
		{"one has approved", "two-approvals", func(_ *Definition, s *Standing) { s.Approvals = two[:1] }},
		{"one has approved twice", "two-approvals", func(_ *Definition, s *Standing) { s.Approvals = []approval.Approval{two[0], two[0]} }},
		{"one signs for both", "two-approvals", func(d *Definition, s *Standing) {
			s.Approvals = []approval.Approval{two[0], sign(*d, plan, "bob", annKey, now)}
		}},
		{"nobody may approve", "two-approvals", func(_ *Definition, s *Standing) { s.People = nil }},
		{"the drill was changed since", "two-approvals", func(d *Definition, _ *Standing) { d.Faults[0].Do = Kill }},
		{"the plan was changed since", "two-approvals", func(_ *Definition, s *Standing) { s.Plan = strings.Repeat("cd", 32) }},
		{"they have expired", "two-approvals", func(_ *Definition, s *Standing) { s.Now = now.Add(2 * time.Hour) }},
	} {
		d, s := production(), good
		c.change(&d, &s)

		var shut []string
		for _, g := range Shut(Gates(d, s)) {
			shut = append(shut, g.Name)
		}

		if got := strings.Join(shut, " "); got != c.shut {
			t.Errorf("%s: %q is shut, want %q", c.name, got, c.shut)
		}
	}
}

// The record names those whose approvals count, each once.
func TestApprovers(t *testing.T) {
	ann, annKey := person(t, "ann")
	bob, bobKey := person(t, "bob")
	_, eveKey := person(t, "eve")
	d, plan := production(), strings.Repeat("ab", 32)

	var all []approval.Approval
	for _, x := range []struct {
		by  string
		key ssh.Signer
		at  time.Time
	}{{"ann", annKey, now}, {"ann", annKey, now}, {"bob", bobKey, now.Add(-2 * time.Hour)}, {"bob", eveKey, now}, {"eve", eveKey, now}} {
		a, err := approval.Sign(approval.Approval{Subject: d.Subject(plan), By: x.by, At: x.at, Expires: x.at.Add(time.Hour)}, x.key)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}

	if got := Approvers(d, Standing{Plan: plan, Approvals: all, People: []approval.Person{ann, bob}, Now: now}); !slices.Equal(got, []string{"ann"}) {
		t.Errorf("%q have approved", got)
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, step string
		want          bool
	}{{"claim", "claim", true}, {"claim", "claims", false}, {"fence-*", "fence-orders/0", true}, {"*", "x", true}, {"*-orders/0", "fence-orders/0", true},
		{"f*e-*/0", "fence-orders/0", true}, {"f*e-*/1", "fence-orders/0", false}, {"fence-*", "unfence-orders/0", false}, {"a*a", "a", false}} {
		if Matches(c.pattern, c.step) != c.want {
			t.Errorf("%s, %s: not %v", c.pattern, c.step, c.want)
		}
	}
}

// day is a drill that passes.
func day() Seen {
	d := production()
	d.Expect = []Check{{Verdict: "reached"}}
	f := d.Faults[0]

	return Seen{Drill: d, Run: "run", By: "ann", Plan: "hash", Gates: []evidence.Precheck{{Name: GateBounds, Passed: true, Detail: "lab"}}, Started: now, Ended: now.Add(time.Minute), Finished: now.Add(2 * time.Minute),
		Planted: []Planted{{Fault: f, Intended: now, Planted: now.Add(time.Second), Removed: now.Add(40 * time.Second)}},
		Answers: []Answered{{Kind: Expected, Check: d.Expect[0], Answer: Answer{So: true, At: now.Add(70 * time.Second)}}},
		Recovered: &Recovered{Run: "r", Mode: "failover", Verdict: "reached", Started: now.Add(2 * time.Second), Finished: now.Add(30 * time.Second),
			Loss: &losses.Statement{Silent: now.Add(10 * time.Second), Shards: []losses.Shard{{Shard: f.Shard, Verdict: losses.Lost, Since: now.Add(8 * time.Second)}}},
			Steps: []Step{{ID: "fence-orders/0", Status: "done", Started: now.Add(5 * time.Second), Finished: now.Add(10 * time.Second)},
				{ID: "takeover", Op: "section", Status: "done", Started: now.Add(11 * time.Second), Finished: now.Add(15 * time.Second), Inside: []Inside{
					{ID: "promote-orders/0", Status: "done", Took: time.Second, At: 2 * time.Second}, {ID: "release-orders-0", Status: "done", Took: time.Second, At: 4 * time.Second}}}}}}
}

// Whatever is not as it should be fails a drill, and leaves a finding.
func TestADrillFailsForEverythingThatIsNotAsItShouldBe(t *testing.T) {
	red := Check{Problem: "standby-stopped", Within: time.Minute}

	for _, c := range []struct {
		name, failure string
		change        func(*Seen)
	}{
		{"it passes", "", func(*Seen) {}},
		{"a gate is shut", "gate bounds", func(s *Seen) { s.Gates[0].Passed = false }},
		{"a fault was not planted", "not planted", func(s *Seen) { s.Planted[0].Planted, s.Planted[0].Error = time.Time{}, "no server" }},
		{"a fault was never begun", "it was never planted", func(s *Seen) { s.Planted = nil }},
		{"a fault is left over", "left over", func(s *Seen) { s.Planted[0].Removed = time.Time{} }},
		{"a fault of which its host has no record any more", "left over", func(s *Seen) { s.Planted[0].Intended, s.Planted[0].Removed = time.Time{}, time.Time{} }},
		{"somebody took a fault away", "it was taken away before", func(s *Seen) { s.Planted[0].Why = "its drill has ended" }},
		{"a fault had ended by itself", "it had ended by itself", func(s *Seen) {
			s.Drill.Run, s.Drill.Expect, s.Answers, s.Recovered = None, nil, nil, nil
			s.Planted[0].Over = "somebody has started the server"
		}},
		{"a fault could not be taken away", "left over", func(s *Seen) { s.Planted[0].Left = "denied" }},
		{"an expectation is not met", "expected", func(s *Seen) { s.Answers[0].So = false }},
		{"an expectation could not be asked", "could not be asked", func(s *Seen) { s.Answers[0].Error = "no vault" }},
		{"an expectation was not asked", "never asked", func(s *Seen) { s.Answers = nil }},
		{"the recovery has not ended", "the recovery ended", func(s *Seen) { s.Recovered = nil }},
		{"the recovery was taken back, and nobody expects that", "it is taken-back", func(s *Seen) {
			s.Drill.Expect, s.Answers, s.Recovered.Verdict = nil, nil, "taken-back"
		}},
		{"it was stopped", "no reason to stop", func(s *Seen) {
			s.Answers = append(s.Answers, Answered{Kind: Stopped, Check: Check{Problem: "two-primaries"}, Answer: Answer{So: true}})
		}},
		{"it was cancelled", drills.CancelledText, func(s *Seen) { s.Cancelled = true }},
		{"it had an error", "too long", func(s *Seen) { s.Errors = []string{"too long"} }},
		{"the check was never asked", "never asked", func(s *Seen) { s.Drill.Red = &red }},
		{"the check is blind", "red: goes off", func(s *Seen) {
			s.Drill.Red, s.Answers = &red, append(s.Answers, Answered{Kind: RedWentOff, Check: red})
		}},
		{"the check went off before", "red: quiet before", func(s *Seen) {
			s.Drill.Red = &red
			s.Answers = append(s.Answers, Answered{Kind: RedQuiet, Check: red, Answer: Answer{So: true}}, Answered{Kind: RedWentOff, Check: red, Answer: Answer{So: true}})
		}},
		{"nobody asked before whether the check was quiet", "before anything was planted", func(s *Seen) {
			s.Drill.Red, s.Answers = &red, append(s.Answers, Answered{Kind: RedWentOff, Check: red, Answer: Answer{So: true, At: now.Add(2 * time.Second)}})
		}},
		{"the check went off when nothing was planted any more", "nothing was planted any more", func(s *Seen) {
			s.Drill.Red = &red
			s.Answers = append(s.Answers, Answered{Kind: RedQuiet, Check: red}, Answered{Kind: RedWentOff, Check: red, Answer: Answer{So: true, At: now.Add(41 * time.Second)}})
		}},
		{"an objective was not measured", "RPO was not measured", func(s *Seen) { s.Drill.Objectives.RPO, s.Recovered.Loss = time.Hour, nil }},
		{"it took longer than its objective", "RTO was", func(s *Seen) { s.Drill.Objectives.RTO = time.Second }},
		{"it lost more than its objective", "RPO was", func(s *Seen) { s.Drill.Objectives.RPO = time.Second }},
	} {
		s := day()
		s.Drill.Owner, s.Drill.Due = "dba", 24*time.Hour
		c.change(&s)

		rec, _, err := evidence.Finalize(Record(s, Made{At: now}))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}

		if c.failure == "" {
			if !rec.Verdict.Passed {
				t.Errorf("%s: %q", c.name, rec.Verdict.Failures)
			}

			continue
		}

		if rec.Verdict.Passed || !slices.ContainsFunc(rec.Verdict.Failures, func(f string) bool { return strings.Contains(f, c.failure) }) {
			t.Errorf("%s: %q", c.name, rec.Verdict.Failures)
		}

		if len(rec.Findings) == 0 || rec.Findings[0].Due.Value == nil {
			t.Errorf("%s: it left no finding with a date: %+v", c.name, rec.Findings)
		}
	}
}

// A cancelled drill is known as such in the list of drills.
func TestACancelledDrillGivesNoVerdict(t *testing.T) {
	s := day()
	s.Cancelled = true

	if !drills.Cancelled(Record(s, Made{At: now})) {
		t.Error("it is not known as cancelled")
	}
}

func TestWhatIsMeasured(t *testing.T) {
	s := day()
	s.Answers = append(s.Answers, Answered{Kind: Expected, Check: Check{Detection: "lost", On: "east"}, Answer: Answer{So: true, At: now.Add(1500 * time.Millisecond)}})
	rec := Record(s, Made{At: now})

	var got []string
	for _, p := range rec.Measured.Phases {
		d, _ := p.Took.Get()
		got = append(got, fmt.Sprint(p.Name, " ", d))
	}

	want := "detect 500ms, decide 500ms, silence 5s, promote 1s, reroute 1s, verify 40s"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("%s\nwant %s", s, want)
	}

	if d, _ := rec.GameDay.Outage.Get(); d != 10*time.Second {
		t.Errorf("outage: %s", d)
	}

	if d, _ := rec.Measured.RTO.Get(); d != 29*time.Second {
		t.Errorf("RTO: %s", d)
	}

	if d, _ := rec.Measured.RPO.Get(); d != 2*time.Second {
		t.Errorf("RPO: %s", d)
	}
}

// A host whose clock is ahead makes no time shorter: the engine's own clock bounds it.
func TestAClockThatIsAheadMakesNothingShorter(t *testing.T) {
	s := day()
	s.Planted[0].Planted, s.Planted[0].Heard = now.Add(time.Hour), now.Add(1100*time.Millisecond)
	s.Answers = append(s.Answers, Answered{Kind: Expected, Check: Check{Detection: "lost", On: "east"}, Answer: Answer{So: true, At: now.Add(-time.Hour)}, Heard: now.Add(1600 * time.Millisecond)})
	rec := Record(s, Made{At: now})

	if d, _ := rec.Measured.RTO.Get(); d != 28900*time.Millisecond {
		t.Errorf("RTO: %s", d)
	}

	if d, _ := rec.Measured.Phases[0].Took.Get(); d != 500*time.Millisecond {
		t.Errorf("detect: %s", d)
	}
}

// No write was possible from when the server was killed, not from when the recovery took it away.
func TestAnOutageBeginsWithItsFault(t *testing.T) {
	s := day()

	for _, c := range []struct {
		do, region string
		want       time.Duration
	}{{Kill, "east", 14 * time.Second}, {Stop, "east", 14 * time.Second}, {Stop, "west", 10 * time.Second}, {Mute, "east", 10 * time.Second}} {
		s.Recovered.From, s.Planted[0].Fault.Do, s.Planted[0].Fault.Region = "east", c.do, c.region

		if d, ok := s.outage(); !ok || d != c.want {
			t.Errorf("%s in %s: %s, want %s", c.do, c.region, d, c.want)
		}

		if a := s.Ask(Check{Outage: c.want - 1}); a.So || a.Error != "" {
			t.Errorf("%s in %s: %+v", c.do, c.region, a)
		}
	}
}

func TestTheJournalIsAsked(t *testing.T) {
	s := day()

	for _, c := range []struct {
		c    Check
		want bool
	}{
		{Check{Verdict: "reached"}, true}, {Check{Verdict: "taken-back"}, false},
		{Check{Step: "fence-*"}, true}, {Check{Step: "promote-*"}, true}, {Check{Step: "nothing-*"}, false}, {Check{Step: "fence-*", Status: "failed"}, false},
		{Check{Step: "fence-*", Says: "power"}, false},
		{Check{Loss: "nothing"}, false}, {Check{Loss: "known"}, true},
		{Check{Outage: 10 * time.Second}, true}, {Check{Outage: 9 * time.Second}, false},
	} {
		if a := s.Ask(c.c); a.So != c.want || a.Error != "" {
			t.Errorf("%s: %+v", c.c.Words(), a)
		}
	}

	for _, c := range []Check{{Verdict: "reached"}, {Outage: time.Hour}} {
		if a := (Seen{}).Ask(c); a.So || a.Error == "" {
			t.Errorf("%+v", a)
		}
	}
}
